"""Which gt box each anchor is for."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.rpn import RegionProposalNetwork

from smoothiou.detectors import build_detector
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
    assert {-1.0, 0.0, 1.0} >= set(torch.cat(expected[0]).unique().tolist())


def test_a_photo_that_comes_again_is_not_matched_again(rpn, monkeypatch):
    monkeypatch.setattr(rpn, "match_cache", TensorCache(memory_mb=1))
    asked = []
    monkeypatch.setattr(
        rpn, "proposal_matcher", lambda quality: asked.append(1) or torch.zeros(quality.shape[1]).long()
    )
    anchors, boxes = boxes_of(50), boxes_of(3, seed=5)
    for _ in range(3):
        rpn.assign_targets_to_anchors([anchors], [{"boxes": boxes}])
    assert len(asked) == 1
    rpn.assign_targets_to_anchors([anchors], [{"boxes": boxes + 1}])  # moved, as by another augmentation
    rpn.assign_targets_to_anchors([anchors[:40]], [{"boxes": boxes}])  # an image of another size
    assert len(asked) == 3
