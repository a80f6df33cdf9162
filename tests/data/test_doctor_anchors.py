"""The doctor's anchors against those of the detectors themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from smoothiou.cli.anchors import ANCHORS
from smoothiou.data.doctor.checks_training import best_iou
from smoothiou.detectors import DETECTORS, build_detector


def test_every_detector_has_its_anchors_here():
    assert set(ANCHORS) == set(DETECTORS)


@pytest.mark.parametrize("name", sorted(ANCHORS))
def test_the_best_anchor_is_the_detectors_best(name):
    width, height = 320, 192
    model = build_detector(name, num_classes=2).eval()
    images = torch.rand(1, 3, height, width)
    with torch.no_grad():
        features = model.backbone(images)
    maps = list(features.values()) if isinstance(features, dict) else [features]
    generator = model.rpn.anchor_generator.train()  # TensorFlow's are clipped in inference
    (anchors,) = generator(ImageList(images, [(height, width)]), maps)
    random = np.random.default_rng(0)
    corner = random.uniform((0, 0), (width - 60, height - 60), (200, 2))
    boxes = np.concatenate([corner, corner + random.uniform(4, 60, (200, 2))], axis=1)
    boxes[:3] = [(0, 0, 320, 192), (300, 2, 320, 190), (3, 3, 6, 6)]
    found = best_iou(boxes, np.tile([float(width), height], (200, 1)), ANCHORS[name])
    expected = box_iou(torch.from_numpy(boxes), anchors.double()).max(dim=1).values.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
