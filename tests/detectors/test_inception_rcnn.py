"""The assembled detector: TensorFlow's numbers end to end, torchvision's stages, and every option does what it says."""

from __future__ import annotations

import copy
import functools
import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from smoothiou.boxes import decode_deltas
from smoothiou.detectors import build, build_detector, detect, set_box_loss
from smoothiou.detectors.clip_after_nms import PER_CLASS, best_after_nms
from smoothiou.detectors.crop_and_resize import CropAndResize
from smoothiou.detectors.grid_anchors import GridAnchors
from smoothiou.detectors.inception_rcnn import TwoLogitRPNHead, build_inception_v2
from smoothiou.detectors.inception_v2 import StoredNorm2d
from smoothiou.detectors.roi_align import SeparableRoIAlign
from smoothiou.detectors.tf_import import load_tf_checkpoint
from smoothiou.detectors.tf_resize import resize_bilinear, resized_sides
from smoothiou.errors import CheckpointError, ConfigError


def tiny(**options):
    """Two classes, all layers, each 16 channels wide."""
    torch.manual_seed(0)
    settings = {"num_classes": 3, "stored_statistics": False, "depth_multiplier": 0.01, "rpn_channels": 8}
    return build_inception_v2(**{**settings, "min_size": 160, "max_size": 200, **options})


def batch():
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 120, 150, generator=generator), torch.rand(3, 100, 100, generator=generator)]
    targets = [
        {"boxes": torch.tensor([[5.0, 6, 60, 70], [40, 20, 130, 105]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.tensor([[20.0, 10, 90, 90]]), "labels": torch.tensor([2])},
    ]
    return images, targets


# --- torchvision's stages ------------------------------------------------------------------------------------------


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
    model = build_inception_v2(num_classes=4, stored_statistics=True)
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


def test_each_option_is_told_apart():
    other = tiny(
        roi_op="roi-align", clip="before-nms", border="keep", resize="torchvision", relu6=False,
        code_weights=(1.0, 1.0, 1.0, 1.0), anchor_scales=(0.5,), anchor_ratios=(1.0,),
    )  # fmt: skip
    assert isinstance(other.roi_heads.box_roi_pool, SeparableRoIAlign)
    assert type(other.transform) is GeneralizedRCNNTransform
    assert not {"filter_proposals", "assign_targets_to_anchors"} & other.rpn.__dict__.keys()
    assert "postprocess_detections" not in other.roi_heads.__dict__
    assert other.rpn.box_coder.weights == (1.0, 1.0, 1.0, 1.0)
    assert other.rpn.head.bbox_pred.out_channels == 4
    assert other.rpn.head.activation(torch.tensor(9.0)) == 9
    assert tiny().rpn.head.activation(torch.tensor(9.0)) == 6
    sum(other.train()(*batch()).values()).backward()
    for option in ("roi_op", "clip", "border", "resize"):
        with pytest.raises(ConfigError, match=f"{option}: expected .* or .*, got 'soft'"):
            tiny(**{option: "soft"})


def test_two_logits_are_the_softmax_of_one_difference():
    head = TwoLogitRPNHead(5, 3, channels=7)
    feature = torch.randn(2, 5, 4, 6)
    ((logits,), (deltas,)) = head([feature])
    assert (logits.shape, deltas.shape) == ((2, 3, 4, 6), (2, 12, 4, 6))
    pairs = head.cls_logits(F.relu6(head.conv(feature))).view(2, 3, 2, 4, 6)
    torch.testing.assert_close(logits.sigmoid(), pairs.softmax(dim=2)[:, :, 1])


# --- anchors -------------------------------------------------------------------------------------------------------


def lay(height, width, *, image, border="keep", training=True):
    anchors = GridAnchors(border=border).train(training)
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
    anchors = GridAnchors(border="remove").eval()
    images = ImageList(torch.zeros(2, 3, 160, 320), [(160, 320), (160, 100)])
    anchors(images, [torch.zeros(2, 1, 10, 20)])
    assert anchors.usable[0].all()
    # The last column of the map lies at 304, beyond 100; the widest anchor reaches 362 to its left, the narrowest 23.
    last = anchors.usable[1].view(10, 20, 12)[:, -1]
    assert last.any()
    assert not last.all()


def test_removed_anchors_learn_nothing_and_a_truth_box_claims_the_best_of_the_others():
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


# --- suppression, clipping -----------------------------------------------------------------------------------------


def greedy(boxes, scores, iou, count):
    """Suppression by its definition, in numpy."""
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        x1, y1, x2, y2 = boxes[index]
        for other in kept:
            u1, v1, u2, v2 = boxes[other]
            width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
            common = max(width, 0) * max(height, 0)
            if common > iou * ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common):
                break
        else:
            kept.append(index)
        if len(kept) == count:
            break
    return kept


def some_boxes(count, *, side=100.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side - 10
    return torch.cat((corner, corner + 5 + 40 * torch.rand(count, 2, generator=generator)), dim=1)


@pytest.mark.parametrize("count", [1, 5, 20, 1000])
def test_a_part_of_the_boxes_is_enough(count):
    boxes, scores = some_boxes(400), torch.rand(400, generator=torch.Generator().manual_seed(1))
    found = best_after_nms(boxes, scores, iou=0.3, count=count)
    assert found.tolist() == greedy(boxes.numpy(), scores.numpy(), 0.3, count)
    assert best_after_nms(boxes[:0], scores[:0], iou=0.3, count=count).tolist() == []


def test_proposals_by_their_definition():
    model = tiny(rpn_post_nms_top_n_test=20).eval()
    boxes = torch.stack([some_boxes(200), some_boxes(200, seed=2)])
    logits = torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    anchors = model.rpn.anchor_generator
    anchors.usable = [torch.arange(200) % 7 > 0] * 2
    found, found_scores = model.rpn.filter_proposals(boxes, logits, [(80, 70), (60, 90)], [200])
    for index, (height, width) in enumerate([(80, 70), (60, 90)]):
        rows = torch.where(anchors.usable[index])[0]
        own, scores = boxes[index, rows].numpy(), logits.view(2, 200).sigmoid()[index, rows].numpy()
        kept = greedy(own, scores, 0.7, 20)
        expected = np.clip(own[kept], 0, [width, height, width, height])
        visible = ((expected[:, 2:] - expected[:, :2]) >= 1e-3).all(1)
        assert 0 < visible.sum() < 20  # some lie outside: they take a place, and are then dropped
        np.testing.assert_array_equal(found[index].numpy(), expected[visible])
        np.testing.assert_array_equal(found_scores[index].numpy(), scores[kept][visible])


def test_detections_by_their_definition():
    model = tiny(box_detections_per_img=30, box_score_thresh=0.1).eval()
    generator = torch.Generator().manual_seed(3)
    proposals = [some_boxes(60), some_boxes(40, seed=4)]
    logits = torch.randn(100, 3, generator=generator)
    deltas = torch.randn(100, 12, generator=generator)
    found, scores, labels = model.roi_heads.postprocess_detections(logits, deltas, proposals, [(80, 70), (60, 90)])
    probabilities = logits.softmax(dim=1)
    for index, rows in enumerate((slice(0, 60), slice(60, 100))):
        height, width = [(80, 70), (60, 90)][index]
        expected = []
        for label in (1, 2):
            boxes = decode_deltas(deltas[rows, 4 * label : 4 * label + 4], proposals[index]).numpy()
            own = probabilities[rows, label].numpy()
            likely = np.where(own > 0.1)[0]
            for row in likely[greedy(boxes[likely], own[likely], 0.6, 100)]:
                expected.append((own[row], label, *np.clip(boxes[row], 0, [width, height, width, height])))
        expected.sort(key=lambda row: -row[0])
        expected = [row for row in expected if row[4] - row[2] >= 1e-2 and row[5] - row[3] >= 1e-2][:30]
        assert len(expected) == 30
        got = torch.cat((scores[index][:, None], labels[index][:, None], found[index]), dim=1)
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-4)


def test_one_class_has_at_most_a_hundred_detections():
    model = tiny(box_detections_per_img=300, box_score_thresh=0.0).eval()
    corner = torch.stack(torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij"), -1).view(-1, 2) * 10
    proposals = torch.cat((corner, corner + 8), dim=1)
    logits = torch.tensor([[0.0, 3.0, -9.0]]).repeat(144, 1)
    _, _, (labels,) = model.roi_heads.postprocess_detections(logits, torch.zeros(144, 12), [proposals], [(200, 200)])
    assert labels.bincount().tolist() == [0, PER_CLASS, PER_CLASS]


def test_images_without_proposals_or_detections():
    model = tiny(box_score_thresh=0.9999).eval()
    assert [len(found["boxes"]) for found in detect(model, batch()[0])] == [0, 0]
    found = model.roi_heads.postprocess_detections(torch.zeros(0, 3), torch.zeros(0, 12), [torch.zeros(0, 4)], [(9, 9)])
    assert [len(each[0]) for each in found] == [0, 0, 0]


# --- resizing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (600, 800)), ((500, 1000), (512, 1024)), ((333, 500), (600, 901)), ((9, 9), (600, 600))],
)
def test_sides_are_rounded(size, expected):
    assert resized_sides(*size, shortest=600, longest=1024) == expected


def test_boxes_follow_their_image():
    model = tiny(min_size=60, max_size=100).train()
    boxes = torch.tensor([[10.0, 20, 50, 80]])
    images, targets = model.transform([torch.rand(3, 100, 200)], [{"boxes": boxes, "labels": torch.tensor([1])}])
    assert images.image_sizes == [(50, 100)]
    torch.testing.assert_close(targets[0]["boxes"], boxes / 2)
    assert tuple(images.tensors.shape) == (1, 3, 50, 100), "no padding to a multiple"


# --- through build_detector ----------------------------------------------------------------------------------------


def test_build_detector_imports_by_name(tensorflow, monkeypatch, tmp_path):
    small = functools.partial(build_inception_v2, depth_multiplier=0.25, rpn_channels=64)
    monkeypatch.setattr(build, "build_inception_v2", small)
    model = build_detector("inception-v2", num_classes=3, weights=f"tf:{tensorflow}/model.ckpt")
    assert model.notes[0].endswith(": 356 of 357 variables loaded; not global_step: a count of steps and no weight.")
    assert model.rpn.anchor_generator.border == "remove"
    other = build_detector("inception-v2", num_classes=7, weights=f"tf:{tensorflow}/model.ckpt")
    assert "352 of 357 variables loaded" in other.notes[0]
    assert "3 classes there and 7 here, so these layers stay random" in other.notes[0]
    # A run that started from them is evaluated from its own checkpoint, with the same kind of norms and anchors.
    torch.save({"model": model.state_dict()}, tmp_path / "best.ckpt")
    again = build_detector("inception-v2", num_classes=3, weights=tmp_path / "best.ckpt")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.state_dict().items())
    assert again.rpn.anchor_generator.border == "remove"
    image = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    for mine, theirs in zip(detect(again, [image]), detect(model, [image]), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_build_detector_refuses_another_width(tensorflow):
    with pytest.raises(CheckpointError, match=r"model\.ckpt\.index holds another model: of another shape or type"):
        build_detector("inception-v2", num_classes=3, weights=f"tf:{tensorflow}/model.ckpt")


def test_random_weights_keep_all_anchors_and_learn_statistics():
    model = build_detector("inception-v2", num_classes=2)
    assert model.rpn.anchor_generator.border == "keep"
    assert not [module for module in model.modules() if isinstance(module, StoredNorm2d)]
    assert model.notes == ()


# --- against TensorFlow --------------------------------------------------------------------------------------------


def assert_near(found, expected):
    """Within 1e-4 of the largest magnitude."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


XYXY = [1, 0, 3, 2]
"""Our order of TensorFlow's (y1, x1, y2, x2), and of its codes (ty, tx, th, tw)."""


@pytest.mark.parametrize("size", ["odd_97x131", "even_112x144"])
def test_an_imported_checkpoint_gives_tensorflows_outputs(tensorflow, size):
    model = build_inception_v2(num_classes=4, stored_statistics=True, rpn_channels=64, depth_multiplier=0.25).eval()
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
        anchors = GridAnchors()(images, [features["0"]])[0].clamp(min=0)
        anchors = torch.minimum(anchors, torch.tensor([width, height, width, height]))
        expected = decode_deltas(torch.from_numpy(values["rpn_box_encodings"][0][:, XYXY]), anchors).numpy()
        pair = values["rpn_class_logits"][0]
        scores = 1 / (1 + np.exp(pair[:, 0] - pair[:, 1]))
        expected = np.clip(expected[greedy(expected, scores, 0.7, 300)], 0, [width, height, width, height])
        expected = expected[((expected[:, 2:] - expected[:, :2]) >= 1e-3).all(1)]
        assert_near(proposals[0], expected)


def test_anchors_codes_and_suppression_are_tensorflows(tensorflow):
    values = {key: torch.from_numpy(value) for key, value in np.load(tensorflow / "ops_reference.npz").items()}
    _, found = lay(3, 4, image=(48, 64))
    assert_near(found, values["anchors_grid3x4"][:, XYXY])
    model = tiny()
    anchors, truth = values["coder_anchors"][:, XYXY], values["coder_gt"][:, XYXY]
    for coder in (model.rpn.box_coder, model.roi_heads.box_coder):
        assert_near(coder.encode_single(truth, anchors), values["coder_encoded"][:, XYXY])
        assert_near(coder.decode_single(values["coder_codes"][:, XYXY], anchors), values["coder_decoded"][:, XYXY])
    for iou in ("0.6", "0.7"):
        kept = best_after_nms(values["nms_boxes"], values["nms_scores"], iou=float(iou), count=100)
        assert kept.tolist() == values[f"nms_keep_iou{iou}"].tolist()


def test_resized_images_are_tensorflows(tensorflow):
    values = {key: torch.from_numpy(value) for key, value in np.load(tensorflow / "ops_reference.npz").items()}
    image = values["resize_in_37x53"].permute(2, 0, 1)
    for key in ("resize_up_60x86", "resize_down_20x29"):
        expected = values[key].permute(2, 0, 1)
        assert_near(resize_bilinear(image, height=expected.shape[1], width=expected.shape[2]), expected)
        other = F.interpolate(image[None], tuple(expected.shape[1:]), mode="bilinear", align_corners=False)[0]
        assert (other - expected).abs().max() > 0.05 * expected.abs().max(), "torch's filter is another"
