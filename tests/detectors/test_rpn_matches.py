"""Which gt box each anchor is for."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou, generalized_box_iou

from smoothiou.boxes import pairwise_iou
from smoothiou.detectors import build_detector
from smoothiou.detectors.hosts import rpn as rpn_module
from smoothiou.detectors.tensor_cache import TensorCache


def boxes_of(count, *, seed=0, size=200):
    corners = size * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    sides = 5 + size * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1))
    return torch.cat([corners, corners + sides], 1)


@pytest.fixture(scope="module")
def rpn():
    return build_detector("nano", num_classes=2).rpn


@pytest.mark.parametrize("counts", [(1, 7), (0, 3), (0, 0)])
def test_labels_and_boxes_are_torchvisions_also_the_second_time(rpn, counts):
    anchors = [boxes_of(500, seed=9)] * len(counts)
    targets = [{"boxes": boxes_of(count, seed=count)} for count in counts]
    expected = RegionProposalNetwork.assign_targets_to_anchors(rpn, anchors, targets)
    for _ in range(2):
        found = rpn.assign_targets_to_anchors(anchors, targets)
        for ours, theirs in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))
    if all(counts):
        assert set(torch.cat(expected[0]).unique().tolist()) == {-1, 0, 1}, "all kinds of anchors"


def test_a_photo_that_comes_again_is_not_matched_again(rpn, monkeypatch):
    monkeypatch.setattr(rpn, "match_cache", TensorCache(memory_mb=1))
    asked = []
    monkeypatch.setattr(rpn_module, "pairwise_iou", lambda a, b: asked.append(1) or pairwise_iou(a, b))
    anchors, boxes = boxes_of(50), boxes_of(3, seed=5)
    for _ in range(3):
        rpn.assign_targets_to_anchors([anchors], [{"boxes": boxes}])
    assert len(asked) == 1
    rpn.assign_targets_to_anchors([anchors], [{"boxes": boxes + 1}])  # moved, as by another augmentation
    rpn.assign_targets_to_anchors([anchors[:40]], [{"boxes": boxes}])  # an image of another size
    assert len(asked) == 3


def test_another_matcher_or_another_overlap_is_asked_anew(rpn, monkeypatch):
    anchors, targets = [boxes_of(500, seed=9)], [{"boxes": boxes_of(4, seed=3)}]
    ours = [rpn.assign_targets_to_anchors(anchors, targets)[0][0]]
    monkeypatch.setattr(rpn, "proposal_matcher", Matcher(0.3, 0.1, allow_low_quality_matches=True))
    ours.append(rpn.assign_targets_to_anchors(anchors, targets)[0][0])
    monkeypatch.setattr(rpn, "box_similarity", generalized_box_iou)
    ours.append(rpn.assign_targets_to_anchors(anchors, targets)[0][0])
    theirs = RegionProposalNetwork.assign_targets_to_anchors(rpn, anchors, targets)[0][0]
    assert torch.equal(ours[2], theirs)
    assert not torch.equal(ours[0], ours[1])
    assert not torch.equal(ours[1], ours[2])


def test_anchors_in_half_precision_match_a_large_box(rpn):
    # An area of 280 x 280 pixels is infinite in float16, and its IoU was 0.
    anchors, boxes = boxes_of(500, seed=9, size=300).half(), torch.tensor([[20.0, 20.0, 300.0, 300.0]])
    (ours,), _ = rpn.assign_targets_to_anchors([anchors], [{"boxes": boxes}])
    theirs = rpn.proposal_matcher(box_iou(boxes, anchors.float()))
    assert torch.equal(ours > 0, theirs >= 0)


def test_a_trained_model_can_be_saved_whole_and_copied():
    model = build_detector("nano", num_classes=2)
    target = {"boxes": torch.tensor([[5.0, 5, 60, 60]]), "labels": torch.tensor([1])}
    model([torch.rand(3, 80, 96)], [target])
    assert model.rpn.match_cache._kept
    stream = io.BytesIO()
    torch.save(model, stream)
    assert stream.tell() < 20e6, "what was kept is not part of it"
    assert not copy.deepcopy(model).rpn.match_cache._kept
