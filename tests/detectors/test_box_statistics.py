"""What is kept of a batch: the overlap of the positives and lambda, of one process and of several."""

from __future__ import annotations

import copy
from collections import Counter
from math import nan

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import smoothiou.detectors.targets
from smoothiou.detectors import (
    box_statistics,
    reduce_statistics,
    set_box_loss,
)
from tests.detectors.hosts import train_step


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
