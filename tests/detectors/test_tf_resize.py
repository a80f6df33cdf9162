"""TensorFlow's resizing: sizes, boxes and filter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from smoothiou.detectors.tf_resize import resize_bilinear, resized_sides
from tests.detectors.inception import assert_near, tiny


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (600, 800)), ((500, 1000), (512, 1024)), ((333, 500), (600, 901)), ((9, 9), (600, 600))],
)
def test_sides_are_rounded(size, expected):
    assert resized_sides(*size, shortest=600, longest=1024) == expected


def test_boxes_follow_their_image():
    model = tiny(min_size=60, max_size=100).train()
    boxes = torch.tensor([[10.0, 20, 50, 80]])
    images, targets = model.transform([torch.rand(3, 100, 200)], [{"boxes": boxes, "labels": torch.tensor([1])}])
    assert images.image_sizes == [(50, 100)]
    torch.testing.assert_close(targets[0]["boxes"], boxes / 2)
    assert tuple(images.tensors.shape) == (1, 3, 50, 100), "no padding to a multiple"


def test_resized_images_are_tensorflows(tensorflow):
    values = {key: torch.from_numpy(value) for key, value in np.load(tensorflow / "ops_reference.npz").items()}
    image = values["resize_in_37x53"].permute(2, 0, 1)
    for key in ("resize_up_60x86", "resize_down_20x29"):
        expected = values[key].permute(2, 0, 1)
        assert_near(resize_bilinear(image, height=expected.shape[1], width=expected.shape[2]), expected)
        other = F.interpolate(image[None], tuple(expected.shape[1:]), mode="bilinear", align_corners=False)[0]
        assert (other - expected).abs().max() > 0.05 * expected.abs().max(), "torch's filter is another"
