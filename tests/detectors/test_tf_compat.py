"""Training as TensorFlow does it: sampling, resizing, dropout."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from smoothiou.detectors import build_detector, set_box_loss
from smoothiou.detectors.dropout import DropoutPredictor
from smoothiou.detectors.tf_compat import train_as_tensorflow
from smoothiou.detectors.tf_resize import TensorFlowTransform
from smoothiou.errors import ConfigError
from tests.detectors.inception import batch, tiny


def nano(**options):
    torch.manual_seed(0)
    return build_detector("nano", num_classes=2, min_size=96, max_size=128, **options)


def sampled(model, images, targets):
    """Run one training step and return what the second stage sampled: proposals and labels of each image."""
    seen = []
    select = model.roi_heads.select_training_samples

    def spy(proposals, targets):
        found = select(proposals, targets)
        seen.append((proposals, found))
        return found

    model.roi_heads.select_training_samples = spy
    losses = model.train()(images, targets)
    (((proposals, (chosen, _, labels, _)),)) = seen
    return losses, proposals, chosen, labels


@pytest.mark.parametrize("tf_compat", [False, True])
def test_gt_boxes_join_the_proposals_only_in_torchvisions(tf_compat):
    model = nano(tf_compat=tf_compat)
    images, targets = batch()
    truths = [target["boxes"] for target in model.transform(images, copy.deepcopy(targets))[1]]
    losses, proposals, chosen, labels = sampled(model, images, targets)
    assert all(value.isfinite() for value in losses.values())
    for own, picked, label, truth in zip(proposals, chosen, labels, truths, strict=True):
        distance = (picked[:, None] - truth[None]).abs().amax(dim=2).amin(dim=0)
        if tf_compat:
            assert (picked[:, None] == own[None]).all(dim=2).any(dim=1).all()
            assert len(picked) == min(64, len(own))
            assert (label > 0).sum() <= 16
        else:
            assert distance.max() < 1e-3
            assert len(picked) > 64


def test_an_image_without_proposals_trains_on_its_gt_boxes():
    model = nano(tf_compat=True).train()
    truth, some = torch.tensor([[1.0, 2, 30, 40]]), torch.tensor([[5.0, 5, 9, 9]])
    assert torch.equal(model.roi_heads.add_gt_proposals([truth[:0], some], [truth, truth])[0], truth)
    assert torch.equal(model.roi_heads.add_gt_proposals([truth[:0], some], [truth, truth])[1], some)


def test_the_numbers_of_the_sampler_and_of_proposals():
    model = nano(tf_compat=True, proposals=40)
    for training in (True, False):
        model.rpn.train(training)
        assert model.rpn.post_nms_top_n() == 40
    samplers = (model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler)
    assert [(s.batch_size_per_image, s.positive_fraction) for s in samplers] == [(256, 0.5), (64, 0.25)]
    assert type(model.transform) is TensorFlowTransform
    assert type(nano().transform) is GeneralizedRCNNTransform


def test_anchors_that_leave_the_image_do_not_train():
    model = tiny(border="keep")
    train_as_tensorflow(model)
    set_box_loss(model, "smooth-iou")
    images, targets = batch()
    labels = []
    inner = model.rpn.assign_targets_to_anchors
    model.rpn.assign_targets_to_anchors = lambda anchors, targets: labels.append(inner(anchors, targets)) or labels[-1]
    sum(model.train()(images, targets).values()).backward()
    usable = model.rpn.anchor_generator.usable
    for own, fits in zip(labels[0][0], usable, strict=True):
        assert 0 < fits.sum() < len(fits)
        assert (own[~fits] == -1).all()


def test_inception_v2_removes_them_as_with_imported_weights():
    model = build_detector("inception-v2", num_classes=2, tf_compat=True)
    assert model.rpn.anchor_generator.border == "remove"
    assert "assign_targets_to_anchors" in model.rpn.__dict__


def test_copies_and_pickles_train_as_tensorflow_too():
    model = nano(tf_compat=True, roi_dropout=0.5)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.roi_heads.box_predictor.dropout == 0.5
        assert other.roi_heads.add_gt_proposals is model.roi_heads.add_gt_proposals
    assert model.state_dict().keys() == nano().state_dict().keys()


def test_dropout_acts_in_training_alone_with_a_mask_for_each_layer():
    predictor = nano(roi_dropout=0.75).roi_heads.box_predictor
    assert isinstance(predictor, DropoutPredictor)
    with torch.no_grad():
        for layer in (predictor.cls_score, predictor.bbox_pred):
            layer.weight.fill_(1.0)
            layer.bias.zero_()
    features = torch.ones(400, 256)
    logits, deltas = predictor.eval()(features)
    assert (logits == 256).all()
    assert (deltas == 256).all()
    logits, deltas = (each.detach() for each in predictor.train()(features))
    # Each number is 4 times the count of features that stayed, of which 64 of 256 are expected.
    assert logits[:, 0].mean() == pytest.approx(256, rel=0.03)
    assert deltas[:, 0].mean() == pytest.approx(256, rel=0.03)
    assert (logits[:, 0] != deltas[:, 0]).float().mean() > 0.8


def test_no_dropout_leaves_the_last_layers_torchvisions():
    for dropout in (None, 0.0):
        assert not isinstance(nano(roi_dropout=dropout).roi_heads.box_predictor, DropoutPredictor)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_range_is_refused(dropout):
    with pytest.raises(ConfigError, match="roi_dropout"):
        nano(roi_dropout=dropout)
