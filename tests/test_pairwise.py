"""Every box of one set with every box of another."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from smoothiou.boxes import pairwise_iou


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(0, 5), columns=st.integers(0, 40), spread=st.sampled_from([1, 300]))
def test_it_is_torchvisions_to_the_bit(seed, rows, columns, spread):
    generator = torch.Generator().manual_seed(seed)
    a, b = (spread * torch.randn(count, 4, generator=generator) for count in (rows, columns))  # some inverted
    assert torch.equal(pairwise_iou(a, b), box_iou(a, b))


def test_known_overlaps():
    # A unit square with itself, its half, its neighbour.
    square = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    others = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0]])
    assert pairwise_iou(square, others).tolist() == [[1.0, 0.5, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boxes_stay_as_they_are(dtype):
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0]], dtype=dtype)
    b = a.clone()
    assert pairwise_iou(a, b).dtype == dtype
    assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_areas_that_half_precision_cannot_hold(dtype):
    large = torch.tensor([[0.0, 0.0, 320.0, 320.0]], dtype=dtype)
    assert pairwise_iou(large, large).tolist() == [[1.0]]
    assert pairwise_iou(large.float(), large).tolist() == [[1.0]]
