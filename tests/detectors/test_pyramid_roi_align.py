"""RoIAlign on a pyramid against torchvision's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import MultiScaleRoIAlign

from smoothiou.detectors import build_detector
from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign

NAMES = ["0", "1", "2", "3"]
SHAPES = [(200, 320), (170, 290)]


def pyramid(seed, *, channels=3):
    generator = torch.Generator().manual_seed(seed)
    # Padded to a multiple of 32, as torchvision's transform does.
    return {
        name: torch.randn(2, channels, 224 // stride, 320 // stride, generator=generator)
        for name, stride in zip([*NAMES, "pool"], (4, 8, 16, 32, 64), strict=True)
    }


def random_boxes(seed, count):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 260 - 20
    size = torch.exp(torch.rand(count, 2, generator=generator) * 6)
    return torch.cat([corner, corner + size], 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), first=st.integers(0, 30), second=st.integers(0, 30), ratio=st.integers(1, 3))
def test_crops_equal_torchvisions_on_every_level(seed, first, second, ratio):
    boxes = [random_boxes(seed, first), random_boxes(seed + 1, second)]
    maps = pyramid(seed)
    ours = PyramidRoIAlign(NAMES, 7, ratio)(maps, boxes, SHAPES)
    theirs = MultiScaleRoIAlign(NAMES, 7, ratio)(maps, boxes, SHAPES)
    torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=1e-4)


def test_gradients_equal_torchvisions_and_come_again_bit_for_bit():
    boxes = [random_boxes(0, 60), random_boxes(1, 40)]
    found = []
    for kind in (PyramidRoIAlign, MultiScaleRoIAlign, PyramidRoIAlign):
        maps = {name: one.requires_grad_() for name, one in pyramid(0).items()}
        kind(NAMES, 7, 2)(maps, boxes, SHAPES).square().sum().backward()
        found.append([maps[name].grad for name in NAMES])
    for ours, theirs, again in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
        assert torch.equal(ours, again)


def test_all_levels_are_met():
    pool = PyramidRoIAlign(NAMES, 7, 2)
    sides = torch.tensor([10.0, 111.9, 112.0, 223.9, 224.0, 448.0, 1e4])
    level = pool._levels(torch.stack([0 * sides, 0 * sides, sides, sides], 1), [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    assert level.tolist() == [0, 0, 1, 1, 2, 3, 3]


def test_a_box_that_is_not_finite_gives_crops_that_are_not_and_no_crash():
    bad = torch.tensor([[torch.nan] * 4, [0.0, 0, torch.inf, 20], [5.0, 5, 40, 60]])
    crops = PyramidRoIAlign(NAMES, 7, 2)(pyramid(0), [bad, bad[:0]], SHAPES)
    assert crops[0].isnan().all()
    assert crops[2].isfinite().all()


@pytest.mark.parametrize("name", ["resnet18-fpn", "mobilenet-v3-fpn"])
def test_detectors_with_a_pyramid_have_it(name):
    assert type(build_detector(name, num_classes=2).roi_heads.box_roi_pool) is PyramidRoIAlign


def test_double_precision_stays():
    boxes = [random_boxes(0, 9).double(), random_boxes(1, 7).double()]
    maps = {name: one.double() for name, one in pyramid(0).items()}
    ours = PyramidRoIAlign(NAMES, 7, 2)(maps, boxes, SHAPES)
    theirs = MultiScaleRoIAlign(NAMES, 7, 2)(maps, boxes, SHAPES)
    torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("name", ["resnet18-fpn", "nano"])
def test_a_detector_in_double_precision_detects(name):
    model = build_detector(name, num_classes=2, min_size=64, max_size=64).double().eval()
    assert model([torch.rand(3, 64, 64, dtype=torch.float64)])[0]["boxes"].dtype == torch.float64
