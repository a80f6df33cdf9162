"""Each of torchvision's detectors with another box loss: bit parity with its own, and what a loss is given."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from smoothiou.boxes import aligned_iou, decode_deltas
from smoothiou.detectors import box_statistics, set_box_loss
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, load_loss
from tests.detectors.hosts import KINDS, assert_same, batch_for, build, train_step, without_boxes

ONE_STAGE = ("retinanet", "fcos", "ssd")
each_kind = pytest.mark.parametrize("kind", KINDS)


def box_terms(losses):
    return {key: value for key, value in losses.items() if "box_reg" in key or "bbox_reg" in key}


@pytest.mark.parametrize("case", ["boxes on all images", "an image without boxes", "no boxes at all"])
@each_kind
def test_its_own_loss_gives_its_own_numbers_to_the_last_bit(kind, case, batch):
    images, targets = batch_for(kind, batch)
    if case != "boxes on all images":
        targets = [without_boxes(targets[0]), targets[1]]
    if case == "no boxes at all":
        targets = [without_boxes(target) for target in targets]
    stock = build(kind)
    ours = set_box_loss(copy.deepcopy(stock), KINDS[kind][1])
    losses, grads = train_step(ours, (images, targets))
    stock_losses, stock_grads = train_step(stock, (images, targets))
    assert_same(losses, stock_losses)
    # torchvision's unused layers have no gradient at all where ours have zeros, and the other way round.
    zero = {name: torch.zeros_like(p) for name, p in stock.named_parameters()}
    assert_same({**zero, **grads}, {**zero, **stock_grads})
    if case == "boxes on all images":
        assert all(value > 0 for value in box_terms(losses).values())


@each_kind
def test_inference_and_state_dict_are_untouched(kind, batch):
    stock = build(kind)
    ours = set_box_loss(copy.deepcopy(stock), "smooth-iou")
    assert list(ours.state_dict()) == list(stock.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in stock.named_modules()]
    with torch.no_grad():
        for mine, theirs in zip(ours.eval()(batch[0]), stock.eval()(batch[0]), strict=True):
            assert_same(mine, theirs)


@each_kind
def test_another_loss_changes_the_box_losses_alone(kind, batch):
    data = batch_for(kind, batch)
    stock = build(kind)
    own, _ = train_step(copy.deepcopy(stock), data)
    other, _ = train_step(set_box_loss(stock, "smooth-iou", weight=2.0), data)
    for key in own:
        assert torch.equal(own[key], other[key]) == (key not in box_terms(own)), key


@each_kind
def test_none_restores_torchvisions_code(kind, batch):
    data = batch_for(kind, batch)
    stock = build(kind)
    model = set_box_loss(set_box_loss(copy.deepcopy(stock), "smooth-iou"), None)
    assert [type(m) for m in model.modules()] == [type(m) for m in stock.modules()]
    assert_same(train_step(model, data)[0], train_step(stock, data)[0])


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_every_loss_by_name_trains_a_one_stage_detector(kind, batch):
    model = build(kind)
    for name in LOSSES:
        if getattr(LOSSES[name](), "needs_image_sizes", False) and kind != "ssd":
            continue
        losses, grads = train_step(set_box_loss(model, name), batch)
        assert all(value.isfinite() for value in losses.values()), name
        assert all(grad.isfinite().all() for grad in grads.values()), name
        assert all(value > 0 for value in box_terms(losses).values()), name


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_statistics_of_a_one_stage_detector(kind, batch):
    model = set_box_loss(build(kind), "smooth-iou")
    train_step(model, batch)
    statistics = box_statistics(model)
    assert set(statistics) == {"head_mean_iou", "head_positives", "head_lambda"}
    assert statistics["head_positives"] > 0
    torch.testing.assert_close(statistics["head_lambda"], statistics["head_mean_iou"])


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_lambda_of_each_image_is_the_mean_over_its_own_boxes(kind, batch):
    model = set_box_loss(build(kind), "smooth-iou[lam=image]")
    images, targets = batch
    train_step(model, (images, [without_boxes(targets[0]), targets[1]]))
    one_image = box_statistics(model)
    # The boxes of all images are those of the second, so its mean is the mean.
    torch.testing.assert_close(one_image["head_lambda"], one_image["head_mean_iou"])
    module = model if kind == "ssd" else model.head if kind == "fcos" else model.head.regression_head
    given = []
    module.box_loss.loss = recorded(given, load_loss("smooth-iou", lam="image"), needs_images=True)
    train_step(model, batch)
    masks = given[0]["images"]
    assert masks.shape == (2, masks.shape[1])
    assert masks.sum(0).eq(1).all()
    assert masks.any(1).all()


def recorded(calls, loss, **attributes):
    """A loss that notes what it is called with, by deltas or by boxes."""

    def by_deltas(pred, target, **named):
        calls.append({"pred": pred, "target": target, **named})
        return loss(pred, target, **named)

    def on_boxes(pred, target, **named):
        calls.append({"pred": pred, "target": target, **named})
        return loss.on_boxes(pred, target, **named)

    by_deltas.on_boxes = on_boxes
    for name, value in attributes.items():
        setattr(by_deltas, name, value)
    return by_deltas


@pytest.mark.parametrize(("kind", "weights"), [("retinanet", (1.0,) * 4), ("ssd", (10.0, 10.0, 5.0, 5.0))])
def test_deltas_decode_at_their_anchors_to_the_boxes(kind, weights, batch):
    calls = []
    model = set_box_loss(build(kind), recorded(calls, load_loss("huber")))
    train_step(model, batch)
    _, resized = model.transform(*batch)
    gt_boxes = torch.cat([target["boxes"] for target in resized])
    (call,) = calls
    assert tuple(call["weights"]) == weights
    decoded = decode_deltas(call["target"], call["anchors"], weights=weights)
    assert (decoded[:, None] - gt_boxes).abs().amax(2).amin(1).max() < 1e-3


def test_fcos_gives_pixels_to_losses_of_overlap_and_sides_of_the_anchor_to_others(batch):
    # Huber of pixels would be hundreds; the head's outputs are distances in sides of the anchor.
    model = build("fcos")
    _, resized = model.transform(*batch)
    gt_boxes = torch.cat([target["boxes"] for target in resized])
    seen = {}
    for name in ("giou", "smooth-iou"):
        calls = []
        loss = load_loss(name)
        train_step(set_box_loss(model, recorded(calls, loss, info=loss.info)), batch)
        (seen[name],) = calls
    nearest = (seen["giou"]["target"][:, None] - gt_boxes).abs().amax(2).amin(1)
    assert nearest.max() < 1e-4
    # The same boxes in both units; a square's IoU does not notice.
    ratio = seen["giou"]["target"] / seen["smooth-iou"]["target"]
    assert ratio.isclose(torch.tensor(8.0)).logical_or(ratio.isclose(torch.tensor(16.0))).all()
    iou = [aligned_iou(seen[name]["pred"], seen[name]["target"]) for name in seen]
    torch.testing.assert_close(*iou)


def test_retinanet_averages_images_and_fcos_and_ssd_average_boxes(batch):
    class One(nn.Module):
        def forward(self, pred, target, *, weights, anchors):
            return pred.sum(1) * 0 + 1

        def on_boxes(self, pred, target):
            return pred.sum(1) * 0 + 1

    for kind in ONE_STAGE:
        losses, _ = train_step(set_box_loss(build(kind), One(), weight=3.0), batch)
        assert losses["bbox_regression"] == 3.0, kind
    images, targets = batch
    losses, _ = train_step(set_box_loss(build("retinanet"), One()), (images, [targets[0], without_boxes(targets[1])]))
    assert losses["bbox_regression"] == 0.5  # the mean of 1 and of nothing


class NeedsSizes(nn.Module):
    needs_image_sizes = True

    def forward(self, pred, target, *, weights, anchors, image_sizes):
        self.sizes = image_sizes
        return (pred - target).abs().sum(1)

    def on_boxes(self, pred, target, *, image_sizes):
        raise AssertionError("not reached")


@pytest.mark.parametrize("kind", ["faster", "mask", "keypoint", "ssd"])
def test_a_loss_may_ask_for_the_size_of_the_resized_image(kind, batch):
    loss = NeedsSizes()
    train_step(set_box_loss(build(kind), loss), batch_for(kind, batch))
    sizes = {tuple(row) for row in loss.sizes.tolist()}
    # 80 x 100 pixels become 64 x 80, 64 x 64 stay; SSD resizes all to 80 wide and 64 high.
    assert sizes == ({(64.0, 80.0)} if kind == "ssd" else {(64.0, 80.0), (64.0, 64.0)})


@pytest.mark.parametrize("kind", ["retinanet", "fcos"])
def test_a_loss_that_needs_more_than_a_host_gives_is_refused(kind):
    model = build(kind)
    with pytest.raises(ConfigError, match="image sizes"):
        set_box_loss(model, NeedsSizes())
    assert not hasattr(model.head, "box_loss")


def test_fcos_refuses_a_loss_of_deltas_alone_and_a_compiled_one():
    with pytest.raises(ConfigError, match="on_boxes"):
        set_box_loss(build("fcos"), lambda pred, target, *, weights, anchors: pred.sum(1))
    with pytest.raises(ConfigError, match="compile"):
        set_box_loss(build("fcos"), "giou", compile=True)


def test_wrapped_and_compiled_models_are_refused_with_the_way_in():
    model = build("retinanet")
    with pytest.raises(ConfigError, match=r"model\.module"):
        set_box_loss(nn.DataParallel(model), "giou")
    with pytest.raises(ConfigError, match=r"model\._orig_mod"):
        set_box_loss(torch.compile(model), "giou")


def test_stages_and_heads_that_a_host_does_not_have():
    model = build("retinanet")
    with pytest.raises(ConfigError, match="rpn"):
        set_box_loss(model, "giou", stages=("rpn",))
    model.head = nn.Identity()
    with pytest.raises(ConfigError, match=r"model\.head\.regression_head"):
        set_box_loss(model, "giou")
    assert box_statistics(model) == {}

    class OwnSSD(type(build("ssd"))):
        pass

    own = build("ssd")
    own.__class__ = OwnSSD
    with pytest.raises(ConfigError, match="OwnSSD"):
        set_box_loss(own, "giou")
