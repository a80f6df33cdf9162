"""The assembled detector: TensorFlow's numbers end to end, torchvision's stages, and every option does what it says."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

from smoothiou.boxes import decode_deltas
from smoothiou.detectors import DETECTORS, build_detector, detect, inception_rcnn, keep_boxes_in_float32, set_box_loss
from smoothiou.detectors.anchors import GridAnchors
from smoothiou.detectors.crop_and_resize import CropAndResize
from smoothiou.detectors.inception_rcnn import TwoLogitRPNHead, build_inception_v2
from smoothiou.detectors.inception_v2 import StoredNorm2d
from smoothiou.detectors.roi_align import SparseRoIAlign
from smoothiou.detectors.tf_import import load_tf_checkpoint
from smoothiou.errors import CheckpointError, ConfigError
from tests.detectors.inception import XYXY, assert_near, batch, greedy, tiny


@pytest.mark.parametrize("border", ["keep", "remove"])
def test_the_stages_are_torchvisions_and_take_any_box_loss(border):
    model = tiny(border=border).train()
    assert (type(model.rpn), type(model.roi_heads)) == (RegionProposalNetwork, RoIHeads)
    stock = model(*batch())
    torch.manual_seed(5)
    set_box_loss(model, "smooth-iou")
    losses = model(*batch())
    assert losses.keys() == stock.keys()
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert losses["loss_rpn_box_reg"] > 0
    assert losses["loss_box_reg"] > 0


def test_boxes_stay_float32_under_autocast():
    model = keep_boxes_in_float32(set_box_loss(tiny(), "smooth-iou"))
    images, targets = batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.train()(images, targets)
        found = detect(model, images)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    assert all(each[key].dtype == torch.float32 for each in found for key in ("boxes", "scores", "raw_boxes"))


def test_box_losses_leave_inference_alone():
    model = tiny().eval()
    images, _ = batch()
    before = model(images)
    for mine, theirs in zip(set_box_loss(model, "giou")(images), before, strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_copies_have_stages_of_their_own():
    model = set_box_loss(tiny(), "huber").eval()
    images, _ = batch()
    (expected, _) = model(images)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images)[0]["boxes"], expected["boxes"])
        assert other.rpn.filter_proposals.rpn is other.rpn
        assert other.rpn.assign_targets_to_anchors.rpn is other.rpn
        assert other.roi_heads.postprocess_detections.heads is other.roi_heads
    assert not [key for key in model.state_dict() if "filter" in key or "assign" in key or "postprocess" in key]


def test_the_originals_settings_are_the_defaults():
    model = build_inception_v2(num_classes=4, pretrained=True)
    assert (model.rpn.nms_thresh, model.roi_heads.nms_thresh) == (0.7, 0.6)
    assert model.rpn.box_coder.weights == model.roi_heads.box_coder.weights == (10.0, 10.0, 5.0, 5.0)
    for training in (True, False):
        model.rpn.train(training)
        assert model.rpn.post_nms_top_n() == 300
    assert model.roi_heads.fg_bg_sampler.batch_size_per_image == 64
    assert (model.rpn.head.conv.out_channels, model.rpn.head.cls_logits.out_channels) == (512, 24)
    assert isinstance(model.roi_heads.box_roi_pool, CropAndResize)
    norms = [module for module in model.modules() if isinstance(module, StoredNorm2d)]
    assert len(norms) == 69
    # Nothing is frozen: scales and shifts of the norms learn too.
    assert all(p.requires_grad for p in model.parameters())


def test_roi_align_is_an_option():
    model = tiny(roi_op="roi-align")
    assert isinstance(model.roi_heads.box_roi_pool, SparseRoIAlign)
    sum(model.train()(*batch()).values()).backward()
    with pytest.raises(ConfigError, match="roi_op"):
        tiny(roi_op="roi-pool")


def test_two_logits_are_the_softmax_of_one_difference():
    head = TwoLogitRPNHead(5, 3, channels=7)
    feature = torch.randn(2, 5, 4, 6)
    ((logits,), (deltas,)) = head([feature])
    assert (logits.shape, deltas.shape) == ((2, 3, 4, 6), (2, 12, 4, 6))
    pairs = head.cls_logits(F.relu6(head.conv(feature))).view(2, 3, 2, 4, 6)
    torch.testing.assert_close(logits.sigmoid(), pairs.softmax(dim=2)[:, :, 1])


def test_build_detector_imports_by_name(tensorflow, monkeypatch, tmp_path):
    small = functools.partial(build_inception_v2, depth_multiplier=0.25, rpn_channels=64)
    monkeypatch.setattr(inception_rcnn, "build_inception_v2", small)
    model = build_detector("inception-v2", num_classes=3, weights=f"tf:{tensorflow}/model.ckpt")
    assert "356 of 357 variables loaded" in model.notes[0]
    assert model.notes[0].endswith("skipped  global_step: a count of steps and no weight")
    assert model.rpn.anchor_generator.border == "remove"
    other = build_detector("inception-v2", num_classes=7, weights=f"tf:{tensorflow}/model.ckpt")
    assert "352 of 357 variables loaded" in other.notes[0]
    assert "3 classes in the checkpoint, 7 in the detector" in other.notes[0]
    # A run that started from them is evaluated from its own checkpoint, with the same kind of norms and anchors.
    torch.save({"model": model.state_dict()}, tmp_path / "best.ckpt")
    again = build_detector("inception-v2", num_classes=3, weights=tmp_path / "best.ckpt")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    assert again.rpn.anchor_generator.border == "remove"
    image = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    for mine, theirs in zip(detect(again, [image]), detect(model, [image]), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_build_detector_refuses_another_width(tensorflow):
    with pytest.raises(CheckpointError, match="shape"):
        build_detector("inception-v2", num_classes=3, weights=f"tf:{tensorflow}/model.ckpt")


def test_random_weights_keep_all_anchors_and_learn_statistics():
    model = build_detector("inception-v2", num_classes=2)
    assert model.rpn.anchor_generator.border == "keep"
    assert not [module for module in model.modules() if isinstance(module, StoredNorm2d)]
    assert model.notes == ()


@pytest.mark.parametrize("size", ["odd_97x131", "even_112x144"])
def test_an_imported_checkpoint_gives_tensorflows_outputs(tensorflow, size):
    model = build_inception_v2(num_classes=4, pretrained=True, rpn_channels=64, depth_multiplier=0.25).eval()
    load_tf_checkpoint(model, tensorflow / "model.ckpt")
    values = np.load(tensorflow / f"activations_{size}.npz")
    height, width = values["input_image_0_255"].shape[1:3]
    model.transform.min_size, model.transform.max_size = (height,), width  # the fixture's images keep their size
    image = torch.from_numpy(values["input_image_0_255"][0]).permute(2, 0, 1) / 255
    with torch.no_grad():
        images, _ = model.transform([image])
        features = {"0": model.backbone(images.tensors)}
        hidden = model.rpn.head.activation(model.rpn.head.conv(features["0"]))
        assert_near(hidden, torch.from_numpy(values["rpn_conv_relu6"]).permute(0, 3, 1, 2))
        logits, codes = concat_box_prediction_layers(*model.rpn.head(list(features.values())))
        assert_near(logits[:, 0], values["rpn_class_logits"][0, :, 1] - values["rpn_class_logits"][0, :, 0])
        assert_near(codes, values["rpn_box_encodings"][0][:, XYXY])

        boxes = torch.from_numpy(values["boxes_normalised_y1x1y2x2"][:, XYXY])
        boxes = boxes * torch.tensor([width, height, width, height])
        pooled = model.roi_heads.box_head(model.roi_heads.box_roi_pool(features, [boxes], images.image_sizes))
        assert_near(pooled, values["roi_avgpool"])
        logits, deltas = model.roi_heads.box_predictor(pooled)
        assert_near(logits, values["class_logits"])
        assert_near(deltas.view(6, 4, 4)[:, 1:], values["refined_box_encodings"][..., XYXY])

        # What TensorFlow does with them, in numpy: anchors clipped, decoded, suppressed at 0.7, clipped, 300 at most.
        proposals, _ = model.rpn(images, features)
        anchors = GridAnchors(DETECTORS["inception-v2"].anchors[0])(images, [features["0"]])[0].clamp(min=0)
        anchors = torch.minimum(anchors, torch.tensor([width, height, width, height]))
        expected = decode_deltas(torch.from_numpy(values["rpn_box_encodings"][0][:, XYXY]), anchors).numpy()
        pair = values["rpn_class_logits"][0]
        scores = 1 / (1 + np.exp(pair[:, 0] - pair[:, 1]))
        expected = np.clip(expected[greedy(expected, scores, 0.7, 300)], 0, [width, height, width, height])
        expected = expected[((expected[:, 2:] - expected[:, :2]) >= 1e-3).all(1)]
        assert_near(proposals[0], expected)


def test_codes_are_tensorflows(tensorflow):
    values = {key: torch.from_numpy(value) for key, value in np.load(tensorflow / "ops_reference.npz").items()}
    model = tiny()
    anchors, truth = values["coder_anchors"][:, XYXY], values["coder_gt"][:, XYXY]
    for coder in (model.rpn.box_coder, model.roi_heads.box_coder):
        assert_near(coder.encode_single(truth, anchors), values["coder_encoded"][:, XYXY])
        assert_near(coder.decode_single(values["coder_codes"][:, XYXY], anchors), values["coder_decoded"][:, XYXY])
