"""Every detector builds by name and takes a training step."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import box_iou

from smoothiou.detectors import DETECTORS, box_statistics, build_detector, detect
from smoothiou.detectors.nano import CHANNELS
from smoothiou.errors import ConfigError

SIDES = dict.fromkeys(DETECTORS, 64) | {"nano": 128}


def one_batch(side):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.7], [0.4, 0.3, 0.9, 0.9]]) * side
    target = {"boxes": boxes, "labels": torch.tensor([1, 2])}
    return [torch.rand(3, side, side, generator=generator) for _ in range(2)], [target, target]


LARGE = {name for name, detector in DETECTORS.items() if detector.parameters_m > 25}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in DETECTORS]
)
def test_each_trains_one_step(name):
    side = SIDES[name]
    model = build_detector(name, num_classes=2, weights="none", min_size=side, max_size=side).train()
    losses = model(*one_batch(side))
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == len(list(model.parameters())), "random weights must all train"
    assert sum(p.grad.abs().sum() > 0 for p in trained if p.grad is not None) > 0.9 * len(trained)
    assert box_statistics(model)["roi_positives"] > 0
    assert model.notes == ()


def test_nano_is_small():
    model = build_detector("nano", num_classes=3)
    assert 2.6e6 < sum(p.numel() for p in model.parameters()) < 2.8e6
    assert 0.85e6 < sum(p.numel() for p in model.backbone.parameters()) < 0.95e6


@pytest.mark.slow
def test_nano_overfits_one_batch():
    # 50 steps on two bright boxes: both must be found, tightly and with their own label.
    torch.manual_seed(0)
    images, (target, _) = one_batch(128)
    for image in images:
        image.mul_(0.2)
        for (x1, y1, x2, y2), level in zip(target["boxes"].int().tolist(), (0.6, 1.0), strict=True):
            image[:, y1:y2, x1:x2] = level
    model = build_detector("nano", num_classes=2, loss="smooth-iou", min_size=128, max_size=128).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        sum(model(images, [target, target]).values()).backward()
        optimizer.step()
    (found, _) = detect(model, images)
    for box, label in zip(target["boxes"], target["labels"], strict=True):
        mine = (found["labels"] == label) & (found["scores"] > 0.5)
        assert box_iou(box[None], found["boxes"][mine]).max() > 0.6


def test_losses_share_initial_weights_under_one_seed():
    states = []
    for loss in ("huber", "smooth-iou", None):
        torch.manual_seed(7)
        states.append(build_detector("nano", num_classes=3, loss=loss).state_dict())
    for other in states[1:]:
        assert all(torch.equal(states[0][key], other[key]) for key in states[0])


def test_no_loss_means_torchvisions_with_ignore_boxes_honoured():
    torch.manual_seed(0)
    model = build_detector("nano", num_classes=2, loss=None, min_size=128, max_size=128).train()
    for stage in (model.rpn, model.roi_heads):
        assert stage.box_loss.name == "torchvision_smooth_l1"
    roi_only = build_detector("nano", num_classes=2, loss="huber", stages=("roi",), loss_weight=2.0)
    assert roi_only.rpn.box_loss.name == "torchvision_smooth_l1"
    assert (roi_only.roi_heads.box_loss.name, roi_only.roi_heads.box_loss.weight) == ("huber", 2.0)


def test_settings_reach_torchvision():
    model = build_detector(
        "nano",
        num_classes=2,
        min_size=100,
        max_size=200,
        proposals=17,
        score_threshold=0.3,
        max_detections=9,
        nms=0.4,
    ).eval()
    assert (model.transform.min_size, model.transform.max_size) == ((100,), 200)
    heads = model.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.4, 9)
    assert len(detect(model, [torch.rand(3, 100, 120)])[0]["raw_boxes"]) <= 17


@pytest.mark.parametrize("proposals", [1, 300, 1500])
def test_that_many_proposals_can_be_had(proposals):
    model = build_detector("nano", num_classes=1, proposals=proposals).eval()
    assert model.rpn.post_nms_top_n() == proposals
    assert model.rpn.pre_nms_top_n() >= proposals


@pytest.mark.parametrize(
    ("arguments", "noun"),
    [
        ({"name": "nanno"}, 'mean "nano"'),
        ({"name": "nano", "num_classes": 0}, "num_classes"),
        ({"name": "nano", "weights": "imagenet"}, "imagenet"),
        ({"name": "resnet18-fpn", "weights": "coco"}, "coco"),
        ({"name": "resnet50-fpn", "weights": "imagnet"}, 'mean "imagenet"'),
        ({"name": "nano", "weights": "tf:model.ckpt"}, "TensorFlow"),
        ({"name": "inception-v2", "weights": "tf:"}, "tf:"),
        ({"name": "inception-v2", "weights": "coco"}, "coco"),
        ({"name": "nano", "loss": "smoth-iou"}, "smooth-iou"),
        ({"name": "nano", "stages": ("head",)}, "head"),
    ],
)
def test_wrong_settings_are_explained(arguments, noun):
    with pytest.raises(ConfigError, match=noun):
        build_detector(arguments.pop("name"), **{"num_classes": 2, **arguments})


def test_the_head_of_nano_gives_torchvisions_features_whichever_way_crops_lie():
    head = build_detector("nano", num_classes=2).roi_heads.box_head
    crops = torch.randn(5, CHANNELS, 7, 7).contiguous(memory_format=torch.channels_last)
    expected = TwoMLPHead.forward(head, crops)
    for given in (crops, crops.contiguous()):
        torch.testing.assert_close(head(given), expected)
    assert head(crops[:0]).shape == (0, expected.shape[1])
