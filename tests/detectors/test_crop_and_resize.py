"""TensorFlow's RoI op, against its definition sample by sample and against TensorFlow's own crops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from smoothiou.detectors.crop_and_resize import BOX_CHUNK, CropAndResize, CropAndResizeByRoIAlign, crop_and_resize


def by_definition(feature, box, cells):
    """One crop, one sample at a time, of a map (H, W)."""
    height, width = feature.shape
    x1, y1, x2, y2 = box
    crop = np.zeros((cells, cells))
    for i, j in np.ndindex(cells, cells):
        y = y1 * (height - 1) + i * (y2 - y1) * (height - 1) / (cells - 1)
        x = x1 * (width - 1) + j * (x2 - x1) * (width - 1) / (cells - 1)
        if not (-1e-9 <= y <= height - 1 + 1e-9 and -1e-9 <= x <= width - 1 + 1e-9):
            continue
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = math.floor(y), math.floor(x)
        bottom, right = math.ceil(y), math.ceil(x)
        upper = feature[top, left] + (feature[top, right] - feature[top, left]) * (x - left)
        lower = feature[bottom, left] + (feature[bottom, right] - feature[bottom, left]) * (x - left)
        crop[i, j] = upper + (lower - upper) * (y - top)
    return crop


SHARE = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.integers(-40, 140).map(lambda hundredths: hundredths / 100))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    box=st.tuples(SHARE, SHARE, SHARE, SHARE),
    cells=st.integers(2, 6),
)
def test_crops_equal_the_definition_for_any_box(seed, height, width, box, cells):
    # Inverted boxes and such that leave the image included.
    feature = torch.randn(1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = crop_and_resize(feature, torch.tensor([box], dtype=torch.float64), cells=cells)
    slack = by_definition(feature[0].numpy(), box, cells)
    np.testing.assert_allclose(found[0, 0].numpy(), slack, atol=1e-9)


def test_a_box_that_ends_on_the_image_border_is_not_emptied_by_rounding():
    # In float32 y1 (H - 1) + 13 (y2 - y1) (H - 1) / 13 falls beyond H - 1 for some y1; the map is 1 everywhere.
    low = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) * 0.9
    boxes = torch.cat((low, torch.ones(500, 2)), dim=1)
    assert crop_and_resize(torch.ones(1, 38, 64), boxes, cells=14).min() > 0.999


def test_gradients_reach_the_map():
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.1, 0.2, 0.9, 0.7], [0.5, -0.3, 1.2, 0.4]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: crop_and_resize(f, boxes, cells=3), (feature,))


def test_many_boxes_equal_each_alone():
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(3, 6, 7, generator=generator)
    boxes = torch.rand(BOX_CHUNK + 3, 4, generator=generator)
    alone = torch.cat([crop_and_resize(feature, box[None], cells=4) for box in boxes])
    torch.testing.assert_close(crop_and_resize(feature, boxes, cells=4), alone)


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (2, 0)])
def test_images_without_boxes(counts):
    boxes = [torch.tensor([[0.0, 0, 32, 32]]).repeat(count, 1) for count in counts]
    crops = CropAndResize()({"0": torch.randn(2, 3, 4, 4)}, boxes, [(64, 64)] * 2)
    assert crops.shape == (sum(counts), 3, 7, 7)


def test_pixels_are_shares_of_the_largest_image():
    # The map covers the batch, which is as large as its largest image in each direction.
    feature = torch.randn(2, 3, 4, 6)
    boxes = torch.tensor([[0.0, 0, 96, 64], [12.0, 10, 40, 30]])
    crops = CropAndResize()({"0": feature}, [boxes, boxes], [(40, 96), (64, 50)])
    shares = boxes / torch.tensor([96.0, 64, 96, 64])
    for index in range(2):
        expected = F.max_pool2d(crop_and_resize(feature[index], shares, cells=14), 2)
        torch.testing.assert_close(crops[2 * index : 2 * index + 2], expected)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (17, 9)])
def test_roi_align_gives_the_same_crops(size):
    generator = torch.Generator().manual_seed(0)
    feature = {"0": torch.randn(2, 3, *size, generator=generator)}
    corners = torch.rand(2, 40, 2, generator=generator) * 90 - 20  # some leave the image
    boxes = torch.cat((corners, corners + 60 * torch.rand(2, 40, 2, generator=generator)), dim=2)
    boxes[0, 0], boxes[1, 0] = torch.tensor([0.0, 0, 70, 90]), torch.tensor([10.0, 10, 10, 10])
    arguments = (feature, [boxes[0], boxes[1, :7]], [(90, 40), (64, 70)])
    torch.testing.assert_close(CropAndResizeByRoIAlign()(*arguments), CropAndResize()(*arguments), rtol=0, atol=1e-4)


def test_autocast_does_not_round_the_weights():
    feature, boxes = {"0": torch.randn(1, 3, 8, 8)}, [torch.tensor([[10.0, 20, 90, 77]])]
    plain = CropAndResize()(feature, boxes, [(128, 128)])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(CropAndResize()(feature, boxes, [(128, 128)]), plain)


@pytest.mark.parametrize("size", ["odd_97x131", "even_112x144"])
def test_crops_are_tensorflows(tensorflow, size):
    values = {key: torch.from_numpy(value) for key, value in np.load(tensorflow / f"activations_{size}.npz").items()}
    feature = values["Mixed_4e"].permute(0, 3, 1, 2)
    shares = values["boxes_normalised_y1x1y2x2"][:, [1, 0, 3, 2]]
    expected = values["crops_14x14"].permute(0, 3, 1, 2)
    assert (crop_and_resize(feature[0], shares, cells=14) - expected).abs().max() <= 1e-5 * expected.abs().max()
    height, width = values["input_image_0_255"].shape[1:3]
    boxes = shares * torch.tensor([width, height, width, height])
    expected = values["crops_maxpool_7x7"].permute(0, 3, 1, 2)
    pooled = CropAndResize()({"0": feature}, [boxes], [(height, width)])
    assert (pooled - expected).abs().max() <= 1e-5 * expected.abs().max()
