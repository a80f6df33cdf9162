"""A torchvision Faster R-CNN with another box loss stays itself in everything else."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from smoothiou.detectors import (
    box_loss_state,
    box_statistics,
    set_box_loss,
    torchvision_smooth_l1,
)
from smoothiou.errors import ConfigError
from smoothiou.losses import SmoothIoU, load_loss
from tests.detectors.hosts import assert_same, train_step

LOSS_KEYS = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


def with_empty_ignore(batch):
    images, targets = batch
    return images, [{**target, "ignore": torch.zeros(0, 4)} for target in targets]


@pytest.mark.parametrize("seed", [3, 4])
def test_torchvisions_own_loss_gives_torchvisions_numbers_to_the_last_bit(stock, batch, seed):
    ours = set_box_loss(copy.deepcopy(stock), torchvision_smooth_l1)
    for mine, theirs in zip(train_step(ours, batch, seed=seed), train_step(stock, batch, seed=seed), strict=True):
        assert_same(mine, theirs)


def test_parity_holds_for_a_torchvision_builder_with_a_pyramid(batch):
    torch.manual_seed(0)
    stock = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=96
    )
    ours = set_box_loss(copy.deepcopy(stock), torchvision_smooth_l1)
    for mine, theirs in zip(train_step(ours, batch), train_step(stock, batch), strict=True):
        assert_same(mine, theirs)


def test_the_named_smooth_l1_differs_from_torchvisions_in_the_order_of_sums_only(stock, batch):
    losses, grads = train_step(set_box_loss(copy.deepcopy(stock), "smooth-l1"), batch)
    stock_losses, stock_grads = train_step(stock, batch)
    assert_same(grads, stock_grads)
    for key in LOSS_KEYS:
        torch.testing.assert_close(losses[key], stock_losses[key], rtol=1e-6, atol=0)


def test_an_empty_ignore_key_changes_nothing(stock, batch):
    ours = set_box_loss(copy.deepcopy(stock), torchvision_smooth_l1)
    for mine, theirs in zip(train_step(ours, with_empty_ignore(batch)), train_step(stock, batch), strict=True):
        assert_same(mine, theirs)


def test_inference_and_state_dict_are_untouched(stock, batch):
    ours = set_box_loss(copy.deepcopy(stock), "smooth-iou")
    assert list(ours.state_dict()) == list(stock.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in stock.named_modules()]
    with torch.no_grad():
        for mine, theirs in zip(ours.eval()(batch[0]), stock.eval()(batch[0]), strict=True):
            assert_same(mine, theirs)


def test_a_second_call_replaces_the_first(stock, batch):
    twice = set_box_loss(set_box_loss(copy.deepcopy(stock), "smooth-iou", weight=7.0), "huber")
    once = set_box_loss(stock, "huber")
    for mine, theirs in zip(train_step(twice, batch), train_step(once, batch), strict=True):
        assert_same(mine, theirs)
    assert len(twice.transform._forward_hooks) == 1


def test_stages_not_named_keep_their_loss(stock, batch):
    both = train_step(set_box_loss(copy.deepcopy(stock), "huber"), batch)[0]
    roi = train_step(set_box_loss(copy.deepcopy(stock), "huber", stages=("roi",)), batch)[0]
    rpn = train_step(set_box_loss(copy.deepcopy(stock), "huber", stages=("rpn",)), batch)[0]
    own = train_step(stock, batch)[0]
    assert torch.equal(roi["loss_box_reg"], both["loss_box_reg"])
    assert torch.equal(roi["loss_rpn_box_reg"], own["loss_rpn_box_reg"])
    assert torch.equal(rpn["loss_rpn_box_reg"], both["loss_rpn_box_reg"])
    assert torch.equal(rpn["loss_box_reg"], own["loss_box_reg"])
    assert not torch.equal(own["loss_box_reg"], both["loss_box_reg"])


def test_weight_scales_the_box_losses_and_nothing_else(stock, batch):
    once = train_step(set_box_loss(copy.deepcopy(stock), "huber"), batch)[0]
    thrice = train_step(set_box_loss(stock, "huber", weight=3.0), batch)[0]
    for key in ("loss_box_reg", "loss_rpn_box_reg"):
        torch.testing.assert_close(thrice[key], 3 * once[key])
    assert torch.equal(thrice["loss_classifier"], once["loss_classifier"])


def test_a_loss_receives_positives_with_their_anchors_and_the_coders_weights(stock, batch):
    calls = []

    def recorder(pred_deltas, target_deltas, *, weights, anchors):
        calls.append((pred_deltas, target_deltas, weights, anchors))
        return (pred_deltas - target_deltas).abs().sum(dim=1)

    train_step(set_box_loss(stock, recorder), batch)
    (_, rpn_target, rpn_weights, rpn_anchors), (_, roi_target, roi_weights, roi_anchors) = calls
    assert rpn_weights == (1.0, 1.0, 1.0, 1.0)
    assert roi_weights == (10.0, 10.0, 5.0, 5.0)
    # Decoding a target at its anchor must give a gt box in the resized frame: these are the anchors.
    _, targets = stock.transform(*batch)
    gt_boxes = torch.cat([target["boxes"] for target in targets])
    for coder, target, anchors in (
        (stock.rpn.box_coder, rpn_target, rpn_anchors),
        (stock.roi_heads.box_coder, roi_target, roi_anchors),
    ):
        decoded = coder.decode_single(target, anchors)
        nearest = (decoded[:, None] - gt_boxes).abs().amax(dim=2).amin(dim=1)
        assert len(decoded) > 0
        assert nearest.max() < 1e-3


def test_copies_pickles_and_saved_models_train_alike(stock, batch):
    model = set_box_loss(stock, "smooth-iou")
    train_step(model, batch)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False)]
    losses, grads = train_step(model, batch)
    for other in copies:
        assert box_statistics(other) == {}, "statistics of another model's batch"
        other_losses, other_grads = train_step(other, batch)
        assert_same(other_losses, losses)
        assert_same(other_grads, grads)
    assert copies[0].roi_heads.box_loss.loss is not model.roi_heads.box_loss.loss


def test_a_loss_with_buffers_moves_with_the_model_but_not_into_its_state_dict(stock):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.ones(4))

        def forward(self, pred_deltas, target_deltas, *, weights, anchors):
            return ((pred_deltas - target_deltas).abs() * self.scale).sum(dim=1)

    keys = list(stock.state_dict())
    loss = Scaled()
    model = set_box_loss(stock, loss).to(torch.float64)
    assert loss.scale.dtype == torch.float64
    assert list(model.state_dict()) == keys
    on_another_device = Scaled()
    set_box_loss(model.to("meta"), on_another_device)
    assert on_another_device.scale.is_meta


def test_losses_by_name_are_one_per_stage_and_objects_are_shared(stock):
    set_box_loss(stock, "smooth-iou")
    assert stock.rpn.box_loss.loss is not stock.roi_heads.box_loss.loss
    loss = SmoothIoU()
    set_box_loss(stock, loss)
    assert stock.rpn.box_loss.loss is loss
    assert stock.roi_heads.box_loss.loss is loss


def test_it_trains_inside_distributed_data_parallel(stock, batch, tmp_path):
    model = set_box_loss(stock, "smooth-iou")
    expected = train_step(copy.deepcopy(model), batch)[0]
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert_same(train_step(wrapped, batch)[0], expected)
        with pytest.raises(ConfigError, match=r"model\.module"):
            set_box_loss(wrapped, "huber")
    finally:
        torch.distributed.destroy_process_group()


def test_images_without_boxes_train_without_nan(stock, batch):
    images, targets = batch
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for name in ("huber", "smooth-iou", "iou"):
        model = set_box_loss(copy.deepcopy(stock), name)
        for some in ([targets[0], nothing], [nothing, nothing]):
            losses, grads = train_step(model, (images, some))
            assert set(losses) == LOSS_KEYS
            assert all(value.isfinite() for value in losses.values())
            assert all(grad.isfinite().all() for grad in grads.values())


def test_losses_are_float32_under_autocast(stock, batch):
    seen = []

    def recorder(pred_deltas, target_deltas, *, weights, anchors):
        seen.append((pred_deltas.dtype, target_deltas.dtype, (pred_deltas @ pred_deltas.T).dtype))
        return (pred_deltas - target_deltas).abs().sum(dim=1)

    model = set_box_loss(stock, recorder)
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(*batch)
    assert seen == [(torch.float32,) * 3] * 2
    assert all(value.dtype == torch.float32 for value in losses.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["giou", "smooth-iou", "smooth-iou[lam=image]", "smooth-iou[lam=ema]"])
def test_a_compiled_loss_trains_like_the_eager_one(stock, batch, name):
    eager, compiled = (set_box_loss(copy.deepcopy(stock), name, compile=value) for value in (False, True))
    assert compiled.rpn.box_loss.name == name
    for mine, theirs in zip(train_step(compiled, batch), train_step(eager, batch), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(box_statistics(compiled), box_statistics(eager))
    assert box_loss_state(compiled).keys() == box_loss_state(eager).keys()
    train_step(pickle.loads(pickle.dumps(compiled)), batch)


def test_none_restores_torchvisions_own_stages(stock, batch):
    model = set_box_loss(copy.deepcopy(stock), "smooth-iou")
    set_box_loss(model, None, stages=("rpn",))
    assert type(model.rpn) is type(stock.rpn)
    assert len(model.transform._forward_hooks) == 1, "the second stage still honours ignore boxes"
    set_box_loss(model, None)
    assert type(model.roi_heads) is type(stock.roi_heads)
    assert model.__dict__.keys() == stock.__dict__.keys()
    assert not model.transform._forward_hooks
    for mine, theirs in zip(train_step(model, batch), train_step(stock, batch), strict=True):
        assert_same(mine, theirs)
    assert set_box_loss(stock, None) is stock


def test_options_reach_the_loss(stock, batch):
    by_name = train_step(set_box_loss(copy.deepcopy(stock), "huber[delta=0.25]"), batch)[0]
    by_object = train_step(set_box_loss(stock, load_loss("huber", delta=0.25)), batch)[0]
    assert_same(by_name, by_object)
