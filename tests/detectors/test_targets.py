"""Ignore boxes, on anchors and proposals drawn by hand."""

from __future__ import annotations

import copy

import pytest
import torch

from smoothiou.detectors import set_box_loss, torchvision_smooth_l1
from smoothiou.detectors.targets import spare_ignored
from smoothiou.errors import DataError


def label_after(box, ignore, *, label=0.0):
    """Return the label of one anchor after the ignore boxes of its image were looked at."""
    labels = [torch.tensor([label])]
    target = {"ignore": torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4)}
    return spare_ignored(labels, [torch.tensor([box], dtype=torch.float32)], [target])[0].item()


CASES = {
    "a negative inside an ignore box is spared": ([2, 2, 4, 4], [[0, 0, 10, 10]], 0, -1),
    "a negative exactly half on it is spared": ([0, 0, 10, 10], [[5, 0, 30, 10]], 0, -1),
    "a negative a little less than half on it stays": ([0, 0, 10, 10], [[5.1, 0, 30, 10]], 0, 0),
    "two ignore boxes with 40 % each do not add up": ([0, 0, 10, 10], [[0, 0, 4, 10], [6, 0, 10, 10]], 0, 0),
    "the share is of the anchor's area, not of the ignore box's": ([0, 0, 100, 100], [[0, 0, 10, 10]], 0, 0),
    "touching edges are no overlap": ([0, 0, 10, 10], [[10, 0, 20, 10]], 0, 0),
    "one of several ignore boxes is enough": ([0, 0, 10, 10], [[50, 50, 60, 60], [0, 0, 9, 9]], 0, -1),
    "a positive stays positive": ([2, 2, 4, 4], [[0, 0, 10, 10]], 1, 1),
    "what is neither stays neither": ([2, 2, 4, 4], [[0, 0, 10, 10]], -1, -1),
    "an anchor without area lies on nothing": ([5, 5, 5, 5], [[0, 0, 10, 10]], 0, 0),
    "no ignore boxes, no change": ([2, 2, 4, 4], [], 0, 0),
}


@pytest.mark.parametrize(("box", "ignore", "label", "expected"), CASES.values(), ids=CASES.keys())
def test_known_answers(box, ignore, label, expected):
    assert label_after(box, ignore, label=float(label)) == expected


def test_each_image_has_its_own_ignore_boxes_and_labels_keep_their_type():
    boxes = [torch.tensor([[0.0, 0, 10, 10]])] * 3
    labels = [torch.zeros(1, dtype=torch.int64)] * 3
    targets = [{"ignore": torch.tensor([[0.0, 0, 10, 10]])}, {}, {"ignore": torch.zeros(0, 4)}]
    spared = spare_ignored(labels, boxes, targets)
    assert [label.item() for label in spared] == [-1, 0, 0]
    assert all(label.dtype == torch.int64 for label in spared)


def everything_ignored(images):
    return [
        {
            "boxes": torch.zeros(0, 4),
            "labels": torch.zeros(0, dtype=torch.int64),
            "ignore": torch.tensor([[-500.0, -500, 600, 600]]),
        }
        for _ in images
    ]


def test_images_on_which_everything_is_ignored_give_zero_losses_with_gradients(stock, batch):
    images, _ = batch
    model = set_box_loss(stock, "smooth-iou")
    losses = model(images, everything_ignored(images))
    assert {key: value.item() for key, value in losses.items()} == dict.fromkeys(losses, 0.0)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_one_ignored_image_beside_a_normal_one_trains(stock, batch):
    images, targets = batch
    losses = set_box_loss(stock, "smooth-iou")(images, [targets[0], everything_ignored(images)[1]])
    assert all(value.isfinite() and value > 0 for value in losses.values())


@pytest.mark.parametrize("with_truth", [True, False], ids=["beside a box", "without boxes"])
def test_no_sampled_negative_lies_on_an_ignore_box_in_either_stage(stock, batch, with_truth, monkeypatch):
    # The image of 80x100 pixels becomes 64x80, so an ignore box that was not resized would be far off.
    image = batch[0][0]
    target = {
        "boxes": torch.tensor([[4.0, 4, 30, 30]]) if with_truth else torch.zeros(0, 4),
        "labels": torch.ones(int(with_truth), dtype=torch.int64),
        "ignore": torch.tensor([[50.0, 0, 100, 80]]),
    }
    model = set_box_loss(stock, "huber")
    sampled = {}

    def spy(stage, sampler):
        def sample(labels):
            picked = sampler(labels)
            sampled[stage] = picked[1][0].bool()
            return picked

        return sample

    for stage, module in (("rpn", model.rpn), ("roi", model.roi_heads)):
        monkeypatch.setattr(module, "fg_bg_sampler", spy(stage, module.fg_bg_sampler))
    boxes = {}
    inner_rpn, inner_roi = model.rpn.assign_targets_to_anchors, model.roi_heads.assign_targets_to_proposals
    monkeypatch.setattr(
        model.rpn,
        "assign_targets_to_anchors",
        lambda anchors, targets: (boxes.update(rpn=anchors[0]), inner_rpn(anchors, targets))[1],
    )
    monkeypatch.setattr(
        model.roi_heads,
        "assign_targets_to_proposals",
        lambda own, *rest: (boxes.update(roi=own[0]), inner_roi(own, *rest))[1],
    )
    model([image], [target])
    for stage, all_boxes in boxes.items():
        negatives = all_boxes[sampled[stage]]
        # x from 50 of 100 pixels becomes 40 of 80: the share of a box right of x = 40, inside the image.
        width = (negatives[:, 2].clamp(max=80) - negatives[:, 0].clamp(min=40)).clamp(min=0)
        height = (negatives[:, 3].clamp(max=64) - negatives[:, 1].clamp(min=0)).clamp(min=0)
        share = width * height / (negatives[:, 2:] - negatives[:, :2]).prod(dim=1)
        assert len(negatives) > 0
        assert share.max() < 0.5, stage
        on_ignore = (all_boxes[:, 0] >= 40) & (all_boxes[:, 2] <= 80) & (all_boxes[:, 1] >= 0)
        assert (on_ignore & (all_boxes[:, 3] <= 64)).any(), f"{stage}: nothing to spare, the test proves nothing"


def test_ignore_boxes_leave_the_callers_targets_as_they_were(stock, batch):
    images, targets = batch
    targets[0]["ignore"] = torch.tensor([[50.0, 0, 100, 80]])
    before = copy.deepcopy(targets)
    set_box_loss(stock, torchvision_smooth_l1)(images, targets)
    for mine, theirs in zip(targets, before, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_ignore_boxes_of_another_shape_are_refused(stock, batch):
    images, targets = batch
    targets[1]["ignore"] = torch.tensor([1.0, 2, 3, 4])
    with pytest.raises(DataError, match=r"targets\[1\]\['ignore'\]"):
        set_box_loss(stock, "huber")(images, targets)
