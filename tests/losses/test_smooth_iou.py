"""The paper's loss: Algorithm 1 worked by hand, its limits, its gradient, its options."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smoothiou import boxes
from smoothiou.errors import ConfigError
from smoothiou.losses import SmoothIoU, smooth_iou_loss
from smoothiou.losses.huber import Huber
from smoothiou.losses.iou import IoU
from tests.losses.cases import random_pair


def gradient(function, pred: Tensor) -> Tensor:
    pred = pred.clone().requires_grad_()
    function(pred).sum().backward()
    assert pred.grad is not None
    return pred.grad


class TestAlgorithm1:
    """Three boxes {y1, x1, h, w}, delta = 1, all numbers worked on paper.

    Lines 2-3, Transform to (xmin, ymin, xmax, ymax):
        box 1   P = (0, 0, 10, 10) -> (0, 0, 10, 10)      T = (0, 5, 10, 10)  -> (5, 0, 15, 10)
        box 2   P = (0, 0, 10, 10) -> (0, 0, 10, 10)      T = (0, 0, 10, 10.5) -> (0, 0, 10.5, 10)
        box 3   P = (0, 0, 2, 4)   -> (0, 0, 4, 2)        T = (20, 30, 2, 4)  -> (30, 20, 34, 22)
    Line 4, Huber (Eq. 2) summed over the corners:
        box 1   z = 5, 0, 5, 0      2 (5 - 1/2)               = 9
        box 2   z = 0, 0, 0.5, 0    0.5 * 0.5^2               = 0.125
        box 3   z = 30, 20, 30, 20  2 (30 - 1/2) + 2 (20 - 1/2) = 98
    Line 5, IoU (Eq. 4):
        box 1   5 * 10 / (100 + 100 - 50)    = 1/3
        box 2   10 * 10 / (100 + 105 - 100)  = 20/21
        box 3   0
    Line 8, lambda = (1/3 + 20/21 + 0) / 3   = (27/21) / 3 = 3/7
    Line 10, lambda (1 - IoU) + (1 - lambda) Huber:
        box 1   3/7 * 2/3  + 4/7 * 9       = 2/7 + 36/7       = 38/7
        box 2   3/7 * 1/21 + 4/7 * 1/8     = 1/49 + 1/14      = 9/98
        box 3   3/7 * 1    + 4/7 * 98      = 3/7 + 392/7      = 395/7
    """

    pred = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 2, 4]], dtype=torch.float64)
    target = torch.tensor([[0, 5, 10, 10], [0, 0, 10, 10.5], [20, 30, 2, 4]], dtype=torch.float64)
    expected = torch.tensor([38 / 7, 9 / 98, 395 / 7], dtype=torch.float64)

    def test_worked_by_hand(self):
        torch.testing.assert_close(smooth_iou_loss(self.pred, self.target, box_format="yxhw"), self.expected)

    def test_whole_numbers_are_refused_with_the_way_out(self):
        # Box 3 alone: lambda = 0, so the loss is Huber's 98.
        value = smooth_iou_loss(self.pred[2:].float(), self.target[2:].float(), box_format="yxhw")
        assert value.tolist() == [98.0]
        assert value.dtype == torch.float32
        with pytest.raises(ConfigError, match=r"boxes\.float"):
            smooth_iou_loss(self.pred[2:].long(), self.target[2:].long(), box_format="yxhw")

    def test_in_all_formats(self):
        pred, target = (boxes.to_xyxy(rows, box_format="yxhw") for rows in (self.pred, self.target))
        torch.testing.assert_close(smooth_iou_loss(pred, target), self.expected)
        y, x, h, w = self.pred.unbind(1)
        ty, tx, th, tw = self.target.unbind(1)
        pred, target = torch.stack((x, y, w, h), 1), torch.stack((tx, ty, tw, th), 1)
        torch.testing.assert_close(smooth_iou_loss(pred, target, box_format="xywh"), self.expected)
        pred = torch.stack((x + w / 2, y + h / 2, w, h), 1)
        target = torch.stack((tx + tw / 2, ty + th / 2, tw, th), 1)
        torch.testing.assert_close(smooth_iou_loss(pred, target, box_format="cxcywh"), self.expected)

    def test_reductions(self):
        for reduction, expected in (("sum", self.expected.sum()), ("mean", self.expected.mean())):
            value = smooth_iou_loss(self.pred, self.target, box_format="yxhw", reduction=reduction)
            torch.testing.assert_close(value, expected)

    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    def test_no_boxes(self, reduction):
        pred = torch.zeros(0, 4, requires_grad=True)
        value = smooth_iou_loss(pred, torch.zeros(0, 4), reduction=reduction)
        value.sum().backward()
        assert value.sum() == 0
        assert pred.grad is not None

    def test_delta_moves_the_threshold(self):
        # Box 1 with delta 2: Huber = 2 (2 * 5 - 2) = 16; alone lambda = 1/3: 1/3 * 2/3 + 2/3 * 16 = 98/9.
        value = smooth_iou_loss(self.pred[:1], self.target[:1], box_format="yxhw", delta=2)
        torch.testing.assert_close(value, torch.tensor([98 / 9], dtype=torch.float64))

    def test_lambda_of_each_box(self):
        # Own IoU instead of 3/7: 1/3 * 2/3 + 2/3 * 9;  20/21 * 1/21 + 1/21 * 1/8;  98.
        value = smooth_iou_loss(self.pred, self.target, box_format="yxhw", lam="box")
        expected = torch.tensor([2 / 9 + 6, 20 / 441 + 1 / 168, 98], dtype=torch.float64)
        torch.testing.assert_close(value, expected)

    def test_a_fixed_lambda(self):
        value = smooth_iou_loss(self.pred, self.target, box_format="yxhw", lam=0.25)
        expected = torch.tensor([0.25 * 2 / 3 + 0.75 * 9, 0.25 / 21 + 0.75 / 8, 0.25 + 0.75 * 98])
        torch.testing.assert_close(value, expected.double())


class TestLimits:
    def test_lambda_0_is_huber_to_the_bit(self):  # Eq. 8
        pred, target = random_pair(100)
        assert torch.equal(SmoothIoU(lam=0.0)(pred, target), Huber()(pred, target))

    def test_lambda_1_is_the_iou_loss_to_the_bit(self):  # Eq. 9
        pred, target = random_pair(100)
        assert torch.equal(SmoothIoU(lam=1.0)(pred, target), IoU()(pred, target))

    def test_a_batch_without_any_overlap_is_trained_by_huber_alone(self):  # Eq. 8, as it happens in training
        pred, target = random_pair(100)
        pred[:, 0] += 1000
        loss = SmoothIoU()
        assert torch.equal(loss(pred, target), Huber()(pred, target))
        assert loss.last_lambda == 0
        assert torch.equal(gradient(lambda p: loss(p, target), pred), gradient(lambda p: Huber()(p, target), pred))

    def test_approaches_them_in_between(self):
        pred, target = random_pair(100)
        near = SmoothIoU(lam=1e-9)(pred, target)
        torch.testing.assert_close(near, Huber()(pred, target), rtol=1e-8, atol=1e-8)


class TestGradient:
    def test_is_the_mix_of_both_gradients_when_lambda_is_a_constant(self):
        pred, target = random_pair(50)
        loss = SmoothIoU()
        got = gradient(lambda p: loss(p, target), pred)
        lam = loss.last_lambda
        of_iou = gradient(lambda p: boxes.deltas_iou(p, target), pred)
        of_huber = gradient(lambda p: Huber()(p, target), pred)
        torch.testing.assert_close(got, -lam * of_iou + (1 - lam) * of_huber)
        assert 0.1 < lam < 0.9

    def test_through_lambda_has_the_coefficient_that_the_docstring_warns_of(self):
        pred, target = random_pair(50)
        with pytest.warns(UserWarning, match="apart"):
            loss = SmoothIoU(detach=False)
        got = gradient(lambda p: loss(p, target), pred)
        lam = loss.last_lambda
        assert not lam.requires_grad
        of_iou = gradient(lambda p: boxes.deltas_iou(p, target), pred)
        of_huber = gradient(lambda p: Huber()(p, target), pred)
        pull = 2 * lam - 1 + Huber()(pred, target).mean()
        torch.testing.assert_close(got, -pull * of_iou + (1 - lam) * of_huber)

    def test_through_lambda_is_the_gradient_of_algorithm_1_taken_literally(self):
        pred, target = random_pair(10)
        target = boxes.decode_unit(target)
        pred = boxes.decode_unit(pred).requires_grad_()
        assert torch.autograd.gradcheck(lambda p: smooth_iou_loss(p, target, detach=False), pred)

    def test_through_lambda_pushes_poor_boxes_apart_where_huber_is_small(self):
        # In units of 1000 px a box of 10 px has Huber terms of 1e-5; it covers a quarter of its target.
        pred, target = torch.tensor([[0.0, 0, 0.010, 0.010]]), torch.tensor([[0.006, 0, 0.016, 0.010]])
        kept = gradient(lambda p: smooth_iou_loss(p, target), pred)
        literal = gradient(lambda p: smooth_iou_loss(p, target, detach=False), pred)
        assert kept[0, 2] < 0  # descent moves the right side to the right, to the target
        assert literal[0, 2] > 0  # and here away from it

    def test_targets_that_need_a_gradient_get_one(self):
        pred, target = random_pair(5)
        assert gradient(lambda t: SmoothIoU()(pred, t), target).abs().sum() > 0

    def test_only_the_dangerous_setting_warns(self):
        SmoothIoU()  # a warning is an error in this test suite
        SmoothIoU(detach=False, lam=0.5)  # a constant has no gradient to leave in
        with pytest.warns(UserWarning, match="lambda") as warned:
            SmoothIoU(detach=False, lam="box")
        assert len(warned) == 1
        assert warned[0].filename == __file__


class TestOptions:
    anchors = torch.tensor([[10.0, 20, 60, 100], [0, 0, 30, 20], [5, 5, 105, 55]], dtype=torch.float64)

    def test_on_pixel_corners_it_is_algorithm_1_on_the_decoded_boxes(self):
        pred, target = random_pair(3, seed=1)
        value = SmoothIoU(huber_on="corners")(pred, target, anchors=self.anchors)
        decoded = (boxes.decode_deltas(deltas, self.anchors) for deltas in (pred, target))
        torch.testing.assert_close(value, smooth_iou_loss(*decoded))

    def test_on_unit_corners_it_is_algorithm_1_in_sides_of_the_anchor(self):
        pred, target = random_pair(3, seed=1)
        value = SmoothIoU(huber_on="unit-corners", delta=0.5)(pred, target)
        decoded = (boxes.decode_unit(deltas) for deltas in (pred, target))
        torch.testing.assert_close(value, smooth_iou_loss(*decoded, delta=0.5))

    def test_pixel_corners_need_anchors(self):
        with pytest.raises(ConfigError, match="anchors"):
            SmoothIoU(huber_on="corners")(*random_pair(3))

    @pytest.mark.parametrize("huber_on", ["corners", "unit-corners"])
    def test_corners_keep_the_contract(self, huber_on):
        loss = SmoothIoU(huber_on=huber_on)
        rows = torch.tensor([[0.0, 0, 0, 0], [1e30, -1e30, 1e30, -1e30], [-1e30, 0, -1e30, 700]])
        anchors = self.anchors.float()
        for target in (rows, rows.flip(0), rows.half().nan_to_num(posinf=6e4, neginf=-6e4)):
            pred = rows.clone().requires_grad_()
            value = loss(pred, target, anchors=anchors)
            value.sum().backward()
            assert value.isfinite().all()
            assert pred.grad is not None
            assert pred.grad.isfinite().all()
        assert torch.equal(loss(rows, rows, anchors=anchors), torch.zeros(3))
        assert torch.equal(gradient(lambda p: loss(p, rows, anchors=anchors), rows), torch.zeros(3, 4))
        assert loss(torch.zeros(0, 4), torch.zeros(0, 4), anchors=torch.zeros(0, 4)).shape == (0,)

    def test_lambda_is_the_mean_iou_and_is_kept(self):
        pred, target = random_pair(50)
        loss = SmoothIoU()
        assert loss.last_lambda == 0
        loss(pred.requires_grad_(), target)
        torch.testing.assert_close(loss.last_lambda, boxes.deltas_iou(pred, target).mean().detach())
        assert loss.last_lambda.shape == ()
        assert not loss.last_lambda.requires_grad

    @pytest.mark.parametrize(("lam", "of_none"), [("batch", 0.0), ("box", 0.0), (0.5, 0.5)])
    def test_lambda_of_no_boxes_is_a_number(self, lam, of_none):
        loss = SmoothIoU(lam=lam)
        loss(torch.zeros(0, 4), torch.zeros(0, 4))
        assert loss.last_lambda == of_none

    def test_lambda_of_each_box_is_kept_as_their_mean(self):
        pred, target = random_pair(50)
        loss = SmoothIoU(lam="box")
        value = loss(pred, target)
        iou = boxes.deltas_iou(pred, target)
        torch.testing.assert_close(value, iou * (1 - iou) + (1 - iou) * Huber()(pred, target))
        torch.testing.assert_close(loss.last_lambda, iou.mean())

    def test_iou_weight_multiplies_the_iou_term_only(self):
        pred, target = random_pair(50)
        loss = SmoothIoU(iou_weight=10)
        value = loss(pred, target)
        lam = loss.last_lambda
        torch.testing.assert_close(value, 10 * lam * IoU()(pred, target) + (1 - lam) * Huber()(pred, target))
        torch.testing.assert_close(lam, boxes.deltas_iou(pred, target).mean())

    def test_weights_are_those_of_the_codes(self):
        anchors = self.anchors
        found = anchors + torch.tensor([3.0, -2, 5, 4], dtype=torch.float64)
        for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)):
            pred = boxes.encode_boxes(found, anchors, weights=weights)
            loss = SmoothIoU()
            loss(pred, torch.zeros_like(pred), weights=weights)
            torch.testing.assert_close(loss.last_lambda, boxes.aligned_iou(found, anchors).mean())

    @pytest.mark.parametrize(
        "options",
        [
            {"lam": "bacth"}, {"lam": 1.5}, {"lam": True}, {"lam": float("nan")}, {"lam": None}, {"delta": 0},
            {"huber_on": "pixels"}, {"memory": 1, "lam": "ema"}, {"detach": False, "lam": "ema"}, {"iou_weight": -1},
        ],
    )  # fmt: skip
    def test_wrong_options_are_named(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            SmoothIoU(**options)

    @pytest.mark.parametrize("options", [{"lam": "image"}, {"lam": "ema"}, {"box_format": "xyhw"}])
    def test_the_function_has_fewer_of_them(self, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            smooth_iou_loss(torch.zeros(1, 4), torch.zeros(1, 4), **options)

    def test_options_are_printed(self):
        assert repr(SmoothIoU()).startswith("SmoothIoU(delta=1.0, lam='batch', detach=True, huber_on='deltas'")


@pytest.mark.parametrize("delta", [1e-3, 0.01, 1e3])
def test_a_gradient_is_differentiated_again_for_every_delta_in_float32(delta):
    # 1e37 / delta, from where on Huber stops, is beyond float32 for small ones.
    pred, target = (rows.float() for rows in random_pair(9))
    seconds = []
    for dtype in (torch.float32, torch.float64):
        p = pred.to(dtype).requires_grad_()
        loss = smooth_iou_loss(p, target.to(dtype), delta=delta)
        (once,) = torch.autograd.grad(loss.sum(), p, create_graph=True)
        seconds.append(torch.autograd.grad((once**2).sum(), p)[0].double())
    assert seconds[0].isfinite().all()
    torch.testing.assert_close(*seconds, rtol=1e-3, atol=1e-4)


class TestIoUOnCodes:
    """Algorithm 1 on rows that are encoded already: (ty, tx, th, tw) is taken for {y1, x1, h, w}."""

    def test_worked_by_hand(self):
        # dx, dy, dw, dh: as boxes (x1, y1, x2, y2) these are (1, 2, 4, 6) and (2, 2, 5, 6): intersection 8 of 16.
        pred, target = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([[2.0, 2, 3, 4]])
        loss = SmoothIoU(iou_on="codes")
        # Huber of z = 1 is 1/2; lambda = IoU = 1/2.
        assert loss(pred, target).tolist() == pytest.approx([0.5 * 0.5 + 0.5 * 0.5])
        assert loss.last_lambda == 0.5

    def test_codes_with_a_negative_size_overlap_nothing_so_that_it_is_huber(self):
        pred, target = torch.tensor([[1.0, 2, -3, 4]]), torch.tensor([[1.5, 2, 3, 4]])
        loss = SmoothIoU(iou_on="codes")
        assert torch.equal(loss(pred, target), Huber()(pred, target))
        assert loss.last_lambda == 0

    def test_on_boxes_only_equal_ones_have_a_lambda(self):
        same = torch.tensor([[0.0, 0, 4, 4]])
        loss = SmoothIoU(iou_on="codes", lam="box")
        assert loss.on_boxes(same, same).item() == 0
        assert loss.on_boxes(same + 1, same).item() == pytest.approx(4 * 0.5)

    def test_another_word_is_refused(self):
        with pytest.raises(ConfigError, match=r"^iou_on: .*boxes or codes"):
            SmoothIoU(iou_on="deltas")  # type: ignore[arg-type]
