"""TensorFlow's anchors: where they lie, and which of them count."""

from __future__ import annotations

import math

import numpy as np
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork

from smoothiou.detectors import DETECTORS, set_box_loss
from smoothiou.detectors.anchors import GridAnchors
from tests.detectors.inception import XYXY, assert_near, tiny

(LEVEL,) = DETECTORS["inception-v2"].anchors


def lay(height, width, *, image, border="keep", training=True):
    anchors = GridAnchors(LEVEL, border=border).train(training)
    (found,) = anchors(ImageList(torch.zeros(1, 3, *image), [image]), [torch.zeros(1, 1, height, width)])
    return anchors, found


def test_anchors_follow_their_formula():
    _, found = lay(2, 3, image=(20, 40))
    rows = [
        (16 * x - w / 2, 16 * y - h / 2, 16 * x + w / 2, 16 * y + h / 2)
        for y in range(2)
        for x in range(3)
        for ratio in (0.5, 1, 2)
        for scale in (0.25, 0.5, 1, 2)
        for w, h in [(256 * scale * math.sqrt(ratio), 256 * scale / math.sqrt(ratio))]
    ]
    torch.testing.assert_close(found, torch.tensor(rows))


def test_removed_anchors_are_marked_in_training_and_clipped_in_inference():
    anchors, found = lay(10, 20, image=(160, 320), border="remove")
    inside = (found[:, :2] >= 0).all(1) & (found[:, 2] <= 320) & (found[:, 3] <= 160)
    assert 0 < inside.sum() < len(found)
    assert torch.equal(anchors.usable[0], inside)
    anchors, clipped = lay(10, 20, image=(160, 320), border="remove", training=False)
    expected = found.clone()
    expected[:, 0::2].clamp_(0, 320)
    expected[:, 1::2].clamp_(0, 160)
    assert torch.equal(clipped, expected)
    assert anchors.usable[0].all()


def test_anchors_beyond_a_smaller_image_of_the_batch_propose_nothing():
    anchors = GridAnchors(LEVEL, border="remove").eval()
    images = ImageList(torch.zeros(2, 3, 160, 320), [(160, 320), (160, 100)])
    anchors(images, [torch.zeros(2, 1, 10, 20)])
    assert anchors.usable[0].all()
    # The last column of the map lies at 304, beyond 100; the widest anchor reaches 362 to its left, the narrowest 23.
    last = anchors.usable[1].view(10, 20, 12)[:, -1]
    assert last.any()
    assert not last.all()


def test_removed_anchors_do_not_train_and_a_gt_box_is_matched_to_the_best_of_the_others():
    model = set_box_loss(tiny(border="remove"), "huber").train()
    # The best anchor of this flat box at the upper border, 90 x 45 around (64, 16), leaves the image.
    boxes = torch.tensor([[10.0, 0, 110, 40]])
    images, _ = model.transform([torch.zeros(3, 160, 160)])
    anchors = model.rpn.anchor_generator(images, [torch.zeros(1, 1, 10, 10)])
    (labels,), _ = model.rpn.assign_targets_to_anchors(anchors, [{"boxes": boxes}])
    usable = model.rpn.anchor_generator.usable[0]
    assert (labels[~usable] == -1).all()
    positive = torch.where(labels == 1)[0]
    assert len(positive) > 0
    everywhere, _ = RegionProposalNetwork.assign_targets_to_anchors(model.rpn, anchors, [{"boxes": boxes}])
    best = torch.where(everywhere[0] == 1)[0]
    assert not usable[best].any()
    assert usable[positive].all()


def test_anchors_are_tensorflows(tensorflow):
    values = np.load(tensorflow / "ops_reference.npz")
    _, found = lay(3, 4, image=(48, 64))
    assert_near(found, values["anchors_grid3x4"][:, XYXY])
