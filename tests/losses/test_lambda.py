"""The other lambdas: of each image, a moving average, a fixed one (`mix`)."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from smoothiou import boxes
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, SmoothIoU, load_loss, mix_loss, smooth_iou_loss
from smoothiou.losses.mix import Mix
from tests.losses.cases import random_pair

HUBER, IOU = LOSSES["huber"](), LOSSES["iou"]()


def run(loss, pred: Tensor, target: Tensor, **more: Tensor) -> tuple[Tensor, Tensor]:
    """Return (loss (K,), gradient of its sum to the predictions)."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, target, **more)
    value.sum().backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


class TestOfEachImage:
    # Five boxes of three images, in no order; the second image has none.
    images = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1]])

    def test_is_the_mean_over_the_boxes_of_the_image(self):
        pred, target = random_pair(5)
        loss = SmoothIoU(lam="image")
        assert loss.needs_images
        value, gradient = run(loss, pred, target, images=self.images)
        iou = boxes.deltas_iou(pred, target)
        first, third = (iou[0] + iou[3]) / 2, (iou[1] + iou[2] + iou[4]) / 3
        lam = torch.stack((first, third, third, first, third))
        torch.testing.assert_close(value, lam * IOU(pred, target) + (1 - lam) * HUBER(pred, target))
        _, of_iou = run(IOU, pred, target)
        _, of_huber = run(HUBER, pred, target)
        torch.testing.assert_close(gradient, lam[:, None] * of_iou + (1 - lam[:, None]) * of_huber)
        torch.testing.assert_close(loss.last_lambda, lam.mean())
        assert loss.last_lambda.shape == ()

    def test_by_hand(self):
        # Corners in pixels: half (1/2) and equal (1) in image 0, apart (0) in image 1; so lambda 3/4, 3/4 and 0.
        pred = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]], dtype=torch.float64)
        target = torch.tensor([[0, 0, 5, 10], [0, 0, 10, 10], [20, 0, 30, 10]], dtype=torch.float64)
        images = torch.tensor([[True, True, False], [False, False, True]])
        value = SmoothIoU(lam="image").on_boxes(pred, target, images=images)
        # Huber 5 - 1/2; 0; 2 (20 - 1/2).
        expected = torch.tensor([0.75 * 0.5 + 0.25 * 4.5, 0.0, 39.0], dtype=torch.float64)
        torch.testing.assert_close(value, expected)

    def test_one_image_is_lambda_of_the_batch(self):
        pred, target = random_pair(9)
        of_image = run(SmoothIoU(lam="image"), pred, target, images=torch.ones(1, 9))
        for ours, other in zip(of_image, run(SmoothIoU(lam="batch"), pred, target), strict=True):
            torch.testing.assert_close(ours, other)

    def test_an_image_for_each_box_is_lambda_of_the_box(self):
        pred, target = random_pair(9)
        of_image = run(SmoothIoU(lam="image"), pred, target, images=torch.eye(9))
        for ours, other in zip(of_image, run(SmoothIoU(lam="box"), pred, target), strict=True):
            torch.testing.assert_close(ours, other)

    def test_no_boxes(self):
        loss = SmoothIoU(lam="image")
        value, gradient = run(loss, torch.zeros(0, 4), torch.zeros(0, 4), images=torch.zeros(2, 0))
        assert value.shape == (0,)
        assert gradient.shape == (0, 4)
        assert loss.last_lambda == 0

    def test_images_are_required(self):
        for call in (SmoothIoU(lam="image"), SmoothIoU(lam="image").on_boxes):
            with pytest.raises(ConfigError, match="images"):
                call(*random_pair(3))

    def test_the_others_need_none(self):
        for lam in ("batch", "box", "ema", 0.5):
            loss = SmoothIoU(lam=lam)
            assert not loss.needs_images
            loss(*random_pair(3))


class TestMovingAverage:
    """After means m1 ... mn lambda is the sum of .9^(n - i) mi over that of .9^(n - i): no start value lingers."""

    def test_three_batches_by_hand_one_of_them_empty(self):
        loss = SmoothIoU(lam="ema")
        first, third = random_pair(6), random_pair(4, seed=1)
        means = [boxes.deltas_iou(*pair).mean() for pair in (first, third)]
        loss(*first)
        torch.testing.assert_close(loss.last_lambda, means[0], check_dtype=False, rtol=1e-6, atol=1e-6)
        loss(torch.zeros(0, 4), torch.zeros(0, 4))
        torch.testing.assert_close(loss.last_lambda, means[0], check_dtype=False, rtol=1e-6, atol=1e-6)
        value, gradient = run(loss, *third)
        lam = (0.9 * means[0] + means[1]) / 1.9
        torch.testing.assert_close(loss.last_lambda, lam, check_dtype=False, rtol=1e-6, atol=1e-6)
        assert abs(means[0] - means[1]) > 0.02  # else nothing was seen
        held_value, held_gradient = run(SmoothIoU(lam=float(lam)), *third)
        torch.testing.assert_close(value, held_value, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient, held_gradient, rtol=1e-6, atol=1e-6)

    def test_memory_is_the_share_that_stays(self):
        loss = SmoothIoU(lam="ema", memory=0.25)
        pairs = [random_pair(5, seed=seed) for seed in range(3)]
        for pair in pairs:
            loss(*pair)
        means = [boxes.deltas_iou(*pair).mean().item() for pair in pairs]
        expected = (0.0625 * means[0] + 0.25 * means[1] + means[2]) / 1.3125
        assert loss.last_lambda.item() == pytest.approx(expected, rel=1e-6)

    def test_without_memory_it_is_the_batch(self):
        loss = SmoothIoU(lam="ema", memory=0)
        for seed in range(2):
            pair = random_pair(5, seed=seed)
            torch.testing.assert_close(loss(*pair), SmoothIoU()(*pair), rtol=1e-6, atol=1e-6)

    def test_without_any_box_yet_lambda_is_0(self):
        loss = SmoothIoU(lam="ema")
        loss(torch.zeros(0, 4), torch.zeros(0, 4))
        assert loss.last_lambda == 0
        assert torch.equal(loss.eval()(*random_pair(3)), HUBER(*random_pair(3)))

    def test_evaluation_does_not_move_it(self):
        loss = SmoothIoU(lam="ema")
        loss(*random_pair(6))
        before = copy.deepcopy(loss.state_dict())
        held = float(loss.last_lambda)
        loss.eval()
        pair = random_pair(4, seed=1)
        torch.testing.assert_close(loss(*pair), SmoothIoU(lam=held)(*pair), rtol=1e-6, atol=1e-6)
        assert torch.equal(loss.state_dict()["rule.average"], before["rule.average"])
        loss.train()
        loss(*pair)
        assert not torch.equal(loss.state_dict()["rule.average"], before["rule.average"])

    def test_a_checkpoint_continues_to_the_bit(self):
        whole = SmoothIoU(lam="ema")
        whole(*random_pair(6))
        state = whole.state_dict()
        assert list(state) == ["rule.average"]
        assert state["rule.average"].shape == (2,)
        again = SmoothIoU(lam="ema")
        again.load_state_dict(copy.deepcopy(state))
        pickled = pickle.loads(pickle.dumps(whole))
        for seed in (1, 2):
            pair = random_pair(5, seed=seed)
            value = whole(*pair)
            assert torch.equal(again(*pair), value)
            assert torch.equal(pickled(*pair), value)
        assert not torch.equal(SmoothIoU(lam="ema")(*pair), value)  # a fresh one is not the same

    def test_the_others_have_no_state(self):
        for lam in ("batch", "box", "image", 0.5):
            assert SmoothIoU(lam=lam).state_dict() == {}

    def test_on_boxes_it_moves_as_well(self):
        loss = SmoothIoU(lam="ema")
        pred = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        loss.on_boxes(pred, torch.tensor([[0.0, 0.0, 5.0, 10.0]]))
        loss.on_boxes(pred, torch.tensor([[20.0, 0.0, 30.0, 10.0]]))
        assert loss.last_lambda.item() == pytest.approx(0.45 / 1.9)

    def test_no_gradient_and_no_graph_is_kept(self):
        loss = SmoothIoU(lam="ema")
        for seed in range(3):
            run(loss, *random_pair(5, seed=seed))
        assert not loss.rule.average.requires_grad
        assert loss.rule.average.grad_fn is None


class TestMix:
    @pytest.mark.parametrize("lam", [0, 0.0, 0.25, 0.5, 1, 1.0])
    def test_is_smooth_iou_with_this_lambda_exactly(self, lam):
        pair = random_pair(20)
        for ours, other in zip(run(Mix(lam=lam), *pair), run(SmoothIoU(lam=lam), *pair), strict=True):
            assert torch.equal(ours, other)
        assert torch.equal(Mix(lam=lam).on_boxes(*pair), SmoothIoU(lam=lam).on_boxes(*pair))
        assert torch.equal(mix_loss(*pair, lam=lam), smooth_iou_loss(*pair, lam=lam))

    def test_the_default_is_one_half_of_both(self):
        pair = random_pair(20)
        torch.testing.assert_close(Mix()(*pair), (HUBER(*pair) + IOU(*pair)) / 2)

    def test_the_ends_are_huber_and_iou(self):
        pair = random_pair(20)
        assert torch.equal(Mix(lam=0)(*pair), HUBER(*pair))
        assert torch.equal(Mix(lam=1)(*pair), IOU(*pair))

    def test_its_options_are_smooth_ious(self):
        pair = random_pair(20)
        ours = load_loss("mix", lam=0.25, delta=0.5, iou_weight=10)
        assert torch.equal(ours(*pair), load_loss("smooth-iou", lam=0.25, delta=0.5, iou_weight=10)(*pair))
        assert not torch.equal(ours(*pair), Mix(lam=0.25)(*pair))
        assert repr(ours) == "Mix(lam=0.25, delta=0.5, iou_weight=10)"


class TestByName:
    def test_options_reach_the_loss(self):
        loss = load_loss("smooth-iou", lam="ema", memory=0.5)
        assert isinstance(loss, SmoothIoU)
        assert (loss.lam, loss.rule.memory) == ("ema", 0.5)
        assert load_loss("smooth-iou", lam="image").needs_images  # type: ignore[attr-defined]

    @pytest.mark.parametrize("lam", [-0.1, 1.1, float("nan"), "often", True, None])
    def test_lambda_is_a_name_or_a_number_from_0_to_1(self, lam):
        with pytest.raises(ConfigError, match="lam"):
            load_loss("smooth-iou", lam=lam)

    @pytest.mark.parametrize("lam", [-0.1, 1.1, float("nan"), "batch", True, None])
    def test_so_is_that_of_mix_but_for_the_names(self, lam):
        for make in (Mix, lambda **options: mix_loss(*random_pair(2), **options)):
            with pytest.raises(ConfigError, match="lam"):
                make(lam=lam)
        with pytest.raises(ConfigError, match="memory"):
            load_loss("mix", memory=0.5)

    @pytest.mark.parametrize("memory", [-0.1, 1, 1.5, float("nan"), True, "0.9"])
    def test_memory_is_a_share_below_one(self, memory):
        with pytest.raises(ConfigError, match="memory"):
            load_loss("smooth-iou", lam="ema", memory=memory)

    def test_a_moving_average_has_no_graph_to_keep(self):
        with pytest.raises(ConfigError, match="detach=True"):
            load_loss("smooth-iou", lam="ema", detach=False)


class TestTheAverageStaysSound:
    def test_one_broken_batch_is_visible_and_leaves_no_trace(self):
        loss = SmoothIoU(lam="ema")
        pred, target = random_pair(4)
        loss(pred, target)
        before = loss.rule.average.clone()
        broken = pred.clone()
        broken[1, 2] = float("nan")
        assert loss(broken, target).isnan().any()
        assert (loss.rule.average[0] / loss.rule.average[1]).item() == pytest.approx((before[0] / before[1]).item())
        assert loss(pred, target).isfinite().all()

    def test_a_call_without_gradients_moves_nothing(self):
        loss = SmoothIoU(lam="ema")
        pred, target = random_pair(4)
        loss(pred, target)
        before = loss.rule.average.clone()
        with torch.no_grad():
            loss(pred + 3, target)
        assert torch.equal(loss.rule.average, before)

    def test_lambda_per_image_is_the_same_under_autocast(self):
        pred, target = random_pair(6)
        pred, target = pred.float(), target.float()
        images = torch.tensor([[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1]])
        loss = SmoothIoU(lam="image")
        plain = loss(pred, target, images=images)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(loss(pred, target, images=images), plain)
