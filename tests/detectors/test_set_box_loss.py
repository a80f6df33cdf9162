"""A torchvision Faster R-CNN with another box loss stays itself in everything else."""

from __future__ import annotations

import copy
import io
import pickle
from collections import Counter
from math import nan

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import smoothiou.detectors.targets
from smoothiou.detectors import (
    box_loss_state,
    box_statistics,
    reduce_statistics,
    set_box_loss,
    torchvision_smooth_l1,
)
from smoothiou.errors import ConfigError, DataError
from smoothiou.losses import SmoothIoU, load_loss
from tests.detectors.hosts import train_step

LOSS_KEYS = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


def assert_same(a, b):
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    assert not different, f"not bit-identical: {different[:5]}"


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


def test_the_normaliser_is_the_number_of_sampled_boxes(stock, batch):
    ones = set_box_loss(stock, lambda pred, target, *, weights, anchors: pred.sum(dim=1) * 0 + 1)
    losses = train_step(ones, batch)[0]
    statistics = box_statistics(ones)
    # 2 images with 128 sampled proposals each, unless there are fewer: all proposals lie on the images here.
    share = losses["loss_box_reg"] * 256
    torch.testing.assert_close(share, statistics["roi_positives"])


def test_statistics_are_the_overlap_of_the_positives_and_the_losss_lambda(stock, batch):
    assert box_statistics(stock) == {}
    model = set_box_loss(stock, "smooth-iou")
    assert box_statistics(model) == {}
    train_step(model, batch)
    statistics = box_statistics(model)
    assert set(statistics) == {
        f"{stage}_{key}" for stage in ("rpn", "roi") for key in ("mean_iou", "positives", "lambda")
    }
    for stage in ("rpn", "roi"):
        assert statistics[f"{stage}_positives"] > 0
        # lambda of a batch is the mean IoU of its positives (Algorithm 1, line 8)
        torch.testing.assert_close(statistics[f"{stage}_lambda"], statistics[f"{stage}_mean_iou"])
    assert all(value.dim() == 0 and not value.requires_grad for value in statistics.values())
    set_box_loss(model, "huber")
    train_step(model, batch)
    assert "roi_lambda" not in box_statistics(model)


def test_mean_iou_of_deltas_is_mean_iou_in_pixels(stock, batch):
    kept = []

    def keep(pred_deltas, target_deltas, *, weights, anchors):
        kept.append((pred_deltas.detach(), target_deltas, anchors))
        return (pred_deltas - target_deltas).square().sum(dim=1)

    train_step(set_box_loss(stock, keep, stages=("roi",)), batch)
    pred, target, anchors = kept[0]
    coder = stock.roi_heads.box_coder
    a, b = coder.decode_single(pred, anchors), coder.decode_single(target, anchors)
    inter = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - inter
    torch.testing.assert_close(box_statistics(stock)["roi_mean_iou"], (inter / union).mean())


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


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("stage", ["rpn", "roi"])
def test_non_finite_predictions_are_never_hidden(stock, batch, bad, stage):
    # Decoding clamps dw and dh, so an infinite delta has a finite IoU; the loss must tell all the same.
    model = set_box_loss(stock, "iou")
    layer = model.rpn.head.bbox_pred if stage == "rpn" else model.roi_heads.box_predictor.bbox_pred
    with torch.no_grad():
        layer.bias.fill_(bad)
    losses = model(*batch)
    assert not losses["loss_rpn_box_reg" if stage == "rpn" else "loss_box_reg"].isfinite()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_target_boxes_are_named(stock, batch, bad):
    images, targets = batch
    targets[1]["boxes"][1, 2] = bad
    with pytest.raises(DataError, match=r"targets\[1\]\['boxes'\]\[1\]"):
        set_box_loss(stock, "huber")(images, targets)


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


class SyncCounter(TorchDispatchMode):
    """Count the operations that make the CPU wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique")

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.WAITING:
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["huber", "smooth-iou"])
def test_no_wait_for_the_device_beyond_torchvisions(stock, batch, name, monkeypatch):
    # The look for NaN in targets is left out on a GPU.
    monkeypatch.setattr(smoothiou.detectors.targets, "_check_finite", lambda boxes, name: None)
    ours = set_box_loss(copy.deepcopy(stock), name)
    images, targets = batch
    ignore = [{**target, "ignore": torch.tensor([[0.0, 0, 20, 20]])} for target in targets]
    counts = []
    for model, given in ((stock, targets), (ours, targets), (ours, ignore)):
        torch.manual_seed(0)
        with SyncCounter() as counter:
            model(images, given)
            box_statistics(model)
        counts.append(counter.count)
    assert counts[0].total() > 0
    assert counts[1] == counts[0]
    assert counts[2] == counts[0]


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="Linear"):
        set_box_loss(nn.Linear(1, 1), "huber")


def test_a_stage_with_training_code_of_its_own_is_refused(stock):
    class OtherRPN(type(stock.rpn)):
        pass

    stock.rpn.__class__ = OtherRPN
    with pytest.raises(ConfigError, match="OtherRPN"):
        set_box_loss(stock, "huber")
    assert type(stock.roi_heads).__name__ == "RoIHeads", "half of the model was changed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "hubber"}, "huber"),
        ({"loss": "huber[delta=0.5"}, "huber"),
        ({"loss": 3}, "callable"),
        ({"loss": nn.Linear(4, 1)}, "trainable"),
        ({"loss": "huber", "stages": ("rnp",)}, 'mean "rpn"'),
        ({"loss": "huber", "stages": ()}, "stages"),
        ({"loss": "huber", "weight": 0}, "weight"),
        ({"loss": "huber", "weight": float("nan")}, "weight"),
    ],
)
def test_wrong_arguments_are_explained_and_change_nothing(stock, arguments, message):
    with pytest.raises(ConfigError, match=message):
        set_box_loss(stock, arguments.pop("loss"), **arguments)
    assert type(stock.rpn).__name__ == "RegionProposalNetwork"


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


def test_statistics_of_two_processes_are_those_of_all_boxes(monkeypatch):
    one = {"roi_mean_iou": torch.tensor(0.5), "roi_positives": torch.tensor(3.0), "roi_lambda": torch.tensor(0.5)}
    nothing = {"roi_mean_iou": torch.tensor(nan), "roi_positives": torch.tensor(0.0), "roi_lambda": torch.tensor(0.0)}
    other = {"roi_mean_iou": torch.tensor(0.9), "roi_positives": torch.tensor(1.0), "roi_lambda": torch.tensor(0.9)}

    def reduce(first, second):
        sent = []
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sent.append(sums.clone()))
        reduce_statistics(second)
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sums.add_(sent[0]))
        return {key: value.item() for key, value in reduce_statistics(first).items()}

    assert reduce(one, other) == pytest.approx({"roi_mean_iou": 0.6, "roi_positives": 4, "roi_lambda": 0.6})
    assert reduce(one, nothing) == pytest.approx({"roi_mean_iou": 0.5, "roi_positives": 3, "roi_lambda": 0.5})
    assert reduce(nothing, nothing) == pytest.approx(
        {"roi_mean_iou": nan, "roi_positives": 0, "roi_lambda": 0}, nan_ok=True
    )


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


def test_a_reduced_loss_is_refused(stock, batch):
    def reduced(pred_deltas, target_deltas, *, weights, anchors):
        return F.l1_loss(pred_deltas, target_deltas)

    with pytest.raises(ConfigError, match="box loss reduced"):
        set_box_loss(stock, reduced)(*batch)


def test_options_reach_the_loss(stock, batch):
    by_name = train_step(set_box_loss(copy.deepcopy(stock), "huber[delta=0.25]"), batch)[0]
    by_object = train_step(set_box_loss(stock, load_loss("huber", delta=0.25)), batch)[0]
    assert_same(by_name, by_object)
