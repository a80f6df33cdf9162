"""What the tests of the detector inception-v2 share: a small one, boxes, and suppression by its definition."""

from __future__ import annotations

import numpy as np
import torch

from smoothiou.detectors.inception_rcnn import build_inception_v2


def tiny(**options):
    """Two classes, all layers, each 16 channels wide."""
    torch.manual_seed(0)
    settings = {"num_classes": 3, "pretrained": False, "border": "remove", "depth_multiplier": 0.01, "rpn_channels": 8}
    return build_inception_v2(**{**settings, "min_size": 160, "max_size": 200, **options})


def batch():
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 120, 150, generator=generator), torch.rand(3, 100, 100, generator=generator)]
    targets = [
        {"boxes": torch.tensor([[5.0, 6, 60, 70], [40, 20, 130, 105]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.tensor([[20.0, 10, 90, 90]]), "labels": torch.tensor([2])},
    ]
    return images, targets


def greedy(boxes, scores, iou, count):
    """Suppression by its definition, in numpy."""
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        x1, y1, x2, y2 = boxes[index]
        for other in kept:
            u1, v1, u2, v2 = boxes[other]
            width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
            common = max(width, 0) * max(height, 0)
            if common > iou * ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common):
                break
        else:
            kept.append(index)
        if len(kept) == count:
            break
    return kept


def some_boxes(count, *, side=100.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side - 10
    return torch.cat((corner, corner + 5 + 40 * torch.rand(count, 2, generator=generator)), dim=1)


def assert_near(found, expected):
    """Within 1e-4 of the largest magnitude."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


XYXY = [1, 0, 3, 2]
"""Our order of TensorFlow's (y1, x1, y2, x2), and of its codes (ty, tx, th, tw)."""
