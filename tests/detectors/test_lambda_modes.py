"""What a detector tells and keeps for losses whose lambda needs more than a batch: per image, and over time."""

from __future__ import annotations

import copy

import torch

from smoothiou.boxes import deltas_iou
from smoothiou.detectors import box_loss_state, load_box_loss_state, set_box_loss
from smoothiou.detectors.stage_loss import image_masks
from smoothiou.losses import SmoothIoU


def test_which_image_a_row_is_of():
    # Three images with 2, 0 and 3 boxes; rows 0 and 4 of all five are positive.
    assert image_masks(torch.tensor([0, 4]), [2, 0, 3]).tolist() == [[True, False], [False, False], [False, True]]


class Spy(SmoothIoU):
    """Writes down what a stage hands to a loss that needs images."""

    def forward(self, pred_deltas, target_deltas, *, weights, anchors=None, images=None):
        self.seen = (deltas_iou(pred_deltas, target_deltas, weights=weights).detach(), images)
        return super().forward(pred_deltas, target_deltas, weights=weights, anchors=anchors, images=images)


def test_each_stage_says_which_image_a_positive_is_of(stock, batch):
    for stage in ("rpn", "roi"):
        model = set_box_loss(copy.deepcopy(stock), loss := Spy(lam="image"), stages=(stage,))
        model(*batch)
        iou, images = loss.seen
        assert images.shape == (2, len(iou))
        assert (images.sum(0) == 1).all(), "every positive is of one image"
        assert images.any(1).all(), "both images have positives"
        # The positives of an image stand together, first image first.
        assert images[0].int().diff().le(0).all()
        means = [iou[own].mean() for own in images]
        expected = sum(mean * own.sum() for mean, own in zip(means, images, strict=True)) / len(iou)
        torch.testing.assert_close(loss.last_lambda, expected)


def test_one_image_alone_has_the_lambda_of_its_batch(stock, batch):
    images, targets = batch
    losses = []
    for lam in ("image", "batch"):
        model = set_box_loss(copy.deepcopy(stock), f"smooth-iou[lam={lam}]")
        torch.manual_seed(3)
        losses.append(model(images[:1], targets[:1]))
    for key, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][key])


def test_each_stage_remembers_its_own_average_apart_from_the_weights(stock, batch):
    keys = list(stock.state_dict())
    model = set_box_loss(stock, "smooth-iou[lam=ema]")
    model(*batch)
    state = box_loss_state(model)
    assert set(state) == {"rpn", "roi"}
    assert not torch.equal(state["rpn"]["rule.average"], state["roi"]["rule.average"])
    assert list(model.state_dict()) == keys
    kept = {stage: {"rule.average": own["rule.average"].clone()} for stage, own in state.items()}
    model(*batch)
    assert not torch.equal(box_loss_state(model)["roi"]["rule.average"], kept["roi"]["rule.average"])
    load_box_loss_state(model, kept)
    assert torch.equal(box_loss_state(model)["roi"]["rule.average"], kept["roi"]["rule.average"])


def test_losses_without_a_memory_have_nothing_to_keep(stock):
    assert box_loss_state(set_box_loss(stock, "giou")) == {"rpn": {}, "roi": {}}
    assert box_loss_state(set_box_loss(stock, lambda pred, target, **_: (pred - target).abs().sum(1))) == {
        "rpn": {},
        "roi": {},
    }


def test_an_object_with_a_memory_is_copied_for_each_stage_and_another_is_shared(stock, batch):
    model = set_box_loss(stock, given := SmoothIoU(lam="ema"))
    assert model.rpn.box_loss.loss is not model.roi_heads.box_loss.loss
    assert model.rpn.box_loss.loss is not given
    set_box_loss(model, shared := SmoothIoU())
    assert model.rpn.box_loss.loss is model.roi_heads.box_loss.loss is shared
