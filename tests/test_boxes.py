"""Geometry against torchvision, against float64, and against boxes drawn by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_area, box_convert, box_iou

from smoothiou import boxes
from smoothiou.errors import ConfigError

RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


def random_boxes(count: int, *, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes of 2 to 402 pixels somewhere in an image of 1000."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * 600
    return torch.cat((corner, corner + 2 + torch.rand(count, 2, generator=generator, dtype=dtype) * 400), 1)


def random_deltas(count: int, *, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3


def with_gradient(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


IOU_BY_HAND = [
    ("the same box", (0, 0, 10, 10), (0, 0, 10, 10), 1.0),
    ("half of the box is covered: 50 / 100", (0, 0, 10, 10), (0, 0, 5, 10), 0.5),
    ("moved by half a side: 50 / 150", (0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),
    ("two sides touch", (0, 0, 10, 10), (10, 0, 20, 10), 0.0),
    ("only corners touch", (0, 0, 10, 10), (10, 10, 20, 20), 0.0),
    ("far apart", (0, 0, 10, 10), (50, 50, 60, 60), 0.0),
    (
        "apart along both axes: two negative sides must not make a positive area",
        (0, 0, 1, 1),
        (9, 9, 10, 10),
        0.0,
    ),
    ("a small box inside: 4 / 100", (0, 0, 10, 10), (4, 4, 6, 6), 0.04),
    (
        "a cross: 20 / (100 + 100 - 20) with bars of 50 x 2 and 2 x 50 is 4 / 196",
        (0, 24, 50, 26),
        (24, 0, 26, 50),
        4 / 196,
    ),
    ("an inverted box covers nothing", (10, 10, 0, 0), (0, 0, 10, 10), 0.0),
    ("a box without height covers nothing", (0, 5, 10, 5), (0, 0, 10, 10), 0.0),
    ("equal points are equal boxes", (3, 3, 3, 3), (3, 3, 3, 3), 1.0),
    ("equal lines are equal boxes", (0, 3, 9, 3), (0, 3, 9, 3), 1.0),
    ("two different points", (3, 3, 3, 3), (4, 4, 4, 4), 0.0),
    ("equal inverted boxes are equal", (9, 9, 3, 3), (9, 9, 3, 3), 1.0),
    (
        "tiny boxes keep their ratio: moved by half a side",
        (0, 0, 2e-20, 2e-20),
        (1e-20, 0, 3e-20, 2e-20),
        1 / 3,
    ),
    ("huge boxes keep their ratio: areas would be 4e60", (0, 0, 2e30, 2e30), (1e30, 0, 3e30, 2e30), 1 / 3),
    ("the widest box that float32 holds, and half of it", (-3e38, 0, 3e38, 1), (-3e38, 0, 3e38, 2), 0.5),
    (
        "a hair across a hair: IoU is far below what float32 can add to 1",
        (0, 0, 1, 1e-30),
        (0, 0, 1e-30, 1),
        0.0,
    ),
]


class TestAlignedIou:
    @pytest.mark.parametrize(("why", "a", "b", "expected"), IOU_BY_HAND, ids=[row[0] for row in IOU_BY_HAND])
    def test_boxes_drawn_by_hand(self, why, a, b, expected):
        a, b = torch.tensor([a], dtype=torch.float32), torch.tensor([b], dtype=torch.float32)
        torch.testing.assert_close(boxes.aligned_iou(a, b), torch.tensor([expected], dtype=torch.float32))
        assert torch.equal(boxes.aligned_iou(a, b), boxes.aligned_iou(b, a))

    def test_is_the_diagonal_of_torchvision(self):
        a, b = random_boxes(500, seed=0), random_boxes(500, seed=1)
        torch.testing.assert_close(boxes.aligned_iou(a, b), box_iou(a, b).diagonal(), rtol=1e-5, atol=1e-6)
        assert (boxes.aligned_iou(a, b) > 0.3).any()

    def test_gradient_is_that_of_the_plain_formula_in_float64(self):
        a, b = with_gradient(
            random_boxes(300, seed=2, dtype=torch.float64), random_boxes(300, seed=3, dtype=torch.float64)
        )
        c, d = with_gradient(a.detach(), b.detach())
        boxes.aligned_iou(a, b).sum().backward()
        box_iou(c, d).diagonal().sum().backward()
        torch.testing.assert_close(a.grad, c.grad)
        torch.testing.assert_close(b.grad, d.grad)

    def test_gradcheck(self):
        a = random_boxes(20, seed=4, dtype=torch.float64)
        b = a + torch.tensor([3.0, -2.0, 5.0, 4.0], dtype=torch.float64)
        assert torch.autograd.gradcheck(boxes.aligned_iou, with_gradient(a, b))

    def test_gradient_is_exactly_zero_for_equal_boxes_with_and_without_area(self):
        same = torch.tensor([[0.3, 0.7, 9.1, 7.7], [3, 3, 3, 3], [0, 3, 9, 3], [9, 9, 3, 3], [0, 0, 1e30, 1e30]])
        a, b = with_gradient(same, same)
        boxes.aligned_iou(a, b).sum().backward()
        assert torch.equal(a.grad, torch.zeros_like(same))
        assert torch.equal(b.grad, torch.zeros_like(same))

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
    @settings(max_examples=100, deadline=None)
    def test_every_finite_pair_has_a_finite_value_in_0_to_1_and_a_finite_gradient(self, numbers):
        a, b = with_gradient(torch.tensor([numbers[:4]]), torch.tensor([numbers[4:]]))
        iou = boxes.aligned_iou(a, b)
        iou.sum().backward()
        assert 0 <= iou.item() <= 1
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()

    @given(
        st.lists(
            st.sampled_from([0.0, 1e-45, 1e-38, 1e-30, 1e-10, 1.0, 1 + 2**-23, 1e10, 1e30, 3e38, -1.0, -1e30]),
            min_size=8,
            max_size=8,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_so_has_every_pair_made_of_extremes(self, numbers):
        a, b = with_gradient(torch.tensor([numbers[:4]]), torch.tensor([numbers[4:]]))
        iou = boxes.aligned_iou(a, b)
        iou.sum().backward()
        assert 0 <= iou.item() <= 1
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()

    def test_never_above_one_for_boxes_that_differ_by_rounding(self):
        a = random_boxes(20_000, seed=5)
        b = torch.nextafter(
            a,
            torch.full_like(a, 1e9) * torch.randn(20_000, 4, generator=torch.Generator().manual_seed(6)).sign(),
        )
        iou = boxes.aligned_iou(a, b)
        assert iou.max() <= 1
        assert iou.min() > 0.999

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_float32(self, dtype):
        # Areas of 600 px boxes are 360,000, beyond the 65,504 of float16.
        a, b = (torch.tensor([row], dtype=dtype) for row in ((0, 0, 600, 600), (0, 0, 600, 300)))
        assert boxes.aligned_iou(a, b).dtype == torch.float32
        assert boxes.aligned_iou(a, b).item() == 0.5

    def test_float64_stays_float64(self):
        assert boxes.aligned_iou(*(random_boxes(3, seed=0, dtype=torch.float64),) * 2).dtype == torch.float64

    def test_no_boxes(self):
        assert boxes.aligned_iou(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


class TestDeltasIou:
    @given(
        seed=st.integers(0, 2**31),
        weights=st.sampled_from([boxes.DELTA_WEIGHTS, RPN_WEIGHTS, (10.0, 5.0, 2.0, 1.0)]),
    )
    @settings(max_examples=50, deadline=None)
    def test_is_the_iou_in_pixels_whatever_the_anchors(self, seed, weights):
        anchors = random_boxes(50, seed=seed, dtype=torch.float64)
        a, b = (random_deltas(50, seed=seed + k, dtype=torch.float64) for k in (1, 2))
        in_pixels = box_iou(*(boxes.decode_deltas(d, anchors, weights=weights) for d in (a, b))).diagonal()
        torch.testing.assert_close(boxes.deltas_iou(a, b, weights=weights), in_pixels, rtol=1e-9, atol=1e-12)
        in_unit_anchor = boxes.aligned_iou(*(boxes.decode_unit(d, weights=weights) for d in (a, b)))
        torch.testing.assert_close(in_unit_anchor, in_pixels, rtol=1e-9, atol=1e-12)

    def test_float32_stays_near_float64_in_value_and_gradient(self):
        a, b = (random_deltas(500, seed=seed, dtype=torch.float64) for seed in (0, 1))
        exact, rough = with_gradient(a, a.float())
        exact_iou, rough_iou = boxes.deltas_iou(exact, b), boxes.deltas_iou(rough, b.float())
        exact_iou.sum().backward()
        rough_iou.sum().backward()
        torch.testing.assert_close(rough_iou.double(), exact_iou, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(rough.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)
        assert exact.grad.abs().max() > 0.05

    def test_gradient_is_that_of_decoding_to_pixels(self):
        anchors = random_boxes(200, seed=7, dtype=torch.float64)
        target = random_deltas(200, seed=8, dtype=torch.float64)
        a, b = with_gradient(*(random_deltas(200, seed=9, dtype=torch.float64),) * 2)
        boxes.deltas_iou(a, target).sum().backward()
        box_iou(boxes.decode_deltas(b, anchors), boxes.decode_deltas(target, anchors)).diagonal().sum().backward()
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)

    def test_equal_deltas_have_iou_one_and_gradient_zero_also_far_off_and_without_area(self):
        same = torch.tensor([[0.3, 0.1, -0.2, 0.5], [1e30, -1e30, 0, 0], [0, 0, -1e30, -1e30], [0, 0, 1e30, 1e30]])
        a, b = with_gradient(same, same)
        iou = boxes.deltas_iou(a, b)
        iou.sum().backward()
        assert torch.equal(iou, torch.ones(4))
        assert torch.equal(a.grad, torch.zeros_like(same))

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=8, max_size=8))
    @settings(max_examples=100, deadline=None)
    def test_every_finite_pair_has_a_finite_value_in_0_to_1_and_a_finite_gradient(self, numbers):
        a, b = with_gradient(torch.tensor([numbers[:4]]), torch.tensor([numbers[4:]]))
        iou = boxes.deltas_iou(a, b)
        iou.sum().backward()
        assert 0 <= iou.item() <= 1
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()

    def test_sides_stop_at_62_and_a_half_anchors(self):
        # exp(100 / 5) of the anchor would be 5e8 sides; both predictions are cut to the same box.
        a, b = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[0.0, 0, 200, 200]])
        assert boxes.deltas_iou(a, b).item() == 1
        torch.testing.assert_close(box_area(boxes.decode_unit(a)), torch.tensor([62.5**2]))


class TestDeltas:
    @pytest.mark.parametrize("weights", [boxes.DELTA_WEIGHTS, RPN_WEIGHTS])
    def test_decoding_is_torchvisions_to_the_bit(self, weights):
        anchors, deltas = random_boxes(500, seed=0), random_deltas(500, seed=1)
        deltas[0, 2:] = 1e4  # beyond the size clamp
        theirs = BoxCoder(weights).decode_single(deltas, anchors)
        assert torch.equal(boxes.decode_deltas(deltas, anchors, weights=weights), theirs)

    @pytest.mark.parametrize("weights", [boxes.DELTA_WEIGHTS, RPN_WEIGHTS])
    def test_encoding_is_torchvisions_to_the_bit(self, weights):
        rows, anchors = random_boxes(500, seed=0), random_boxes(500, seed=1)
        theirs = BoxCoder(weights).encode_single(rows, anchors)
        assert torch.equal(boxes.encode_boxes(rows, anchors, weights=weights), theirs)

    def test_decoding_inverts_encoding(self):
        # Sides differ by less than 62.5 times here, so that nothing is clamped.
        anchors = random_boxes(200, seed=2, dtype=torch.float64)
        rows = anchors + torch.rand(200, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        torch.testing.assert_close(boxes.decode_deltas(boxes.encode_boxes(rows, anchors), anchors), rows)

    def test_by_hand(self):
        # Anchor (0, 0, 10, 20): centre (5, 10). dx = 10 / 10 moves it by one width to x = 15, and
        # dh = 5 ln 2 / 5 doubles its height.
        deltas = torch.tensor([[10.0, 0.0, 0.0, 5 * math.log(2)]])
        expected = torch.tensor([[10.0, -10.0, 20.0, 30.0]])
        torch.testing.assert_close(boxes.decode_deltas(deltas, torch.tensor([[0.0, 0, 10, 20]])), expected)

    def test_unit_anchor(self):
        deltas = random_deltas(100, seed=4)
        unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(100, 4)
        assert torch.equal(boxes.decode_unit(deltas), boxes.decode_deltas(deltas, unit))

    def test_zero_deltas_are_the_anchor_also_in_half_precision(self):
        anchors = random_boxes(10, seed=5)
        torch.testing.assert_close(boxes.decode_deltas(torch.zeros(10, 4, dtype=torch.float16), anchors), anchors)


class TestFormats:
    @pytest.mark.parametrize("box_format", ["xyxy", "cxcywh", "xywh"])
    def test_agree_with_torchvision(self, box_format):
        corners = random_boxes(50, seed=0)
        other = box_convert(corners, "xyxy", box_format)
        torch.testing.assert_close(boxes.to_xyxy(other, box_format=box_format), corners)

    def test_yxhw_is_first_row_first_column_height_width(self):
        # y1 = 1, x1 = 2, h = 30, w = 400
        corners = boxes.to_xyxy(torch.tensor([[1.0, 2.0, 30.0, 400.0]]), box_format="yxhw")
        assert corners.tolist() == [[2.0, 1.0, 402.0, 31.0]]

    def test_a_wrong_name_gets_a_suggestion(self):
        with pytest.raises(ConfigError, match="cxcywh"):
            boxes.to_xyxy(torch.zeros(1, 4), box_format="cxcyhw")
