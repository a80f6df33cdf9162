"""RoIAlign as a sparse product against torchvision's kernel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from smoothiou.detectors.roi_align import SparseRoIAlign

STRIDE = 16


def both(feature, boxes):
    """Return our crops and torchvision's for boxes on one image."""
    ours = SparseRoIAlign(stride=STRIDE)({"0": feature[None]}, [boxes], [(0, 0)])
    theirs = roi_align(feature[None], [boxes], 7, spatial_scale=1 / STRIDE, sampling_ratio=2)
    return ours, theirs


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    corners=st.lists(st.floats(-80, 280), min_size=4, max_size=4),
)
def test_crops_equal_torchvisions_for_any_box(seed, height, width, corners):
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randn(3, height, width, generator=generator)
    x1, y1, x2, y2 = corners
    boxes = torch.tensor([[min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]])
    ours, theirs = both(feature, boxes)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_gradients_equal_torchvisions():
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(4, 6, 9, generator=generator)
    boxes = torch.tensor([[0.0, 0, 144, 96], [20, 30, 70, 33], [100, 10, 180, 120], [3, 3, 3, 3]])
    gradients = []
    for index in range(2):
        leaf = feature.clone().requires_grad_()
        both(leaf, boxes)[index].square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_a_linear_ramp_is_cropped_to_its_own_values():
    # The feature at column c is c, so a crop cell holds the column of its centre: 4 + (i + 0.5) * 7 / 7.
    ramp = torch.arange(20.0).expand(1, 20, 20)
    crop = SparseRoIAlign(stride=STRIDE)({"0": ramp[None]}, [torch.tensor([[64.0, 64, 176, 176]])], [(0, 0)])
    torch.testing.assert_close(crop[0, 0, 0], torch.arange(7) + 4.5)


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (2, 0)])
def test_images_without_boxes(counts):
    boxes = [torch.tensor([[0.0, 0, 32, 32]]).repeat(count, 1) for count in counts]
    crops = SparseRoIAlign(stride=STRIDE)({"0": torch.randn(2, 3, 4, 4)}, boxes, [(0, 0)] * 2)
    assert crops.shape == (sum(counts), 3, 7, 7)


def test_autocast_does_not_round_the_weights():
    feature, boxes = torch.randn(3, 8, 8), torch.tensor([[10.0, 20, 90, 77]])
    plain, _ = both(feature, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = both(feature, boxes)
    assert torch.equal(plain, cast)


def test_backward_may_be_called_under_autocast_too():
    gradients = []
    for inside in (False, True):
        feature = torch.randn(2, 4, 6, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
        boxes = [torch.tensor([[0.0, 0, 144, 96], [20, 30, 70, 33]])] * 2
        with torch.autocast("cpu", torch.bfloat16):
            loss = SparseRoIAlign(stride=STRIDE)({"0": feature}, boxes, [(0, 0)] * 2).square().sum()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        gradients.append(feature.grad)
    assert torch.equal(*gradients)


def test_a_box_that_is_not_finite_gives_crops_that_are_not_and_no_crash():
    ours = SparseRoIAlign(stride=STRIDE)({"0": torch.randn(1, 3, 4, 4)}, [torch.full((2, 4), torch.nan)], [(0, 0)])
    assert ours.isnan().all()


def test_gradients_of_images_together_equal_those_of_each_alone():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 6, 9, generator=generator)
    boxes = [torch.rand(count, 4, generator=generator).cumsum(1) * 60 for count in (40, 0, 5)]
    together, alone = features.clone().requires_grad_(), features.clone().requires_grad_()
    pool = SparseRoIAlign(stride=STRIDE)
    pool({"0": together}, boxes, [(0, 0)] * 3).square().sum().backward()
    for one, own in zip(alone, boxes, strict=True):
        pool({"0": one[None]}, [own], [(0, 0)]).square().sum().backward()
    torch.testing.assert_close(together.grad, alone.grad, atol=1e-4, rtol=1e-4)


def test_double_precision_stays():
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(3, 8, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[3.3, 8.1, 100.7, 90.2], [20, 30, 70, 33]], dtype=torch.float64)
    ours, theirs = both(feature, boxes)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    gradients = [torch.autograd.grad(crops.square().sum(), feature)[0] for crops in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-11, rtol=1e-11)
