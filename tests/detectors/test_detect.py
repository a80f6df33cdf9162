"""One pass gives the model's own detections, all second-stage boxes and the refined probes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothiou.detectors import build_detector, detect
from smoothiou.errors import ConfigError

NO_PROBES = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 90, 120, generator=generator), torch.rand(3, 50, 40, generator=generator)]


@pytest.fixture
def model(images):
    """A detector whose box layer moves boxes visibly, differently for each class."""
    torch.manual_seed(0)
    model = build_detector("nano", num_classes=3, min_size=64, max_size=96, proposals=40, score_threshold=0.2)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.05)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.2)
    return model.eval()


def test_detections_equal_the_models_to_the_last_bit(model, images):
    probes = [(torch.tensor([[10.0, 10, 60, 60]]), torch.tensor([2])), NO_PROBES]
    with torch.no_grad():
        expected = model(images)
    for found in (detect(model, images), detect(model, images, probes=probes)):
        for mine, theirs in zip(found, expected, strict=True):
            assert len(theirs["boxes"]) > 0
            for key in ("boxes", "scores", "labels"):
                assert torch.equal(mine[key], theirs[key])


def test_it_works_for_any_torchvision_faster_rcnn(stock, images):
    found = detect(stock, images)
    with torch.no_grad():
        expected = stock.eval()(images)
    for mine, theirs in zip(found, expected, strict=True):
        assert len(theirs["boxes"]) > 0
        assert torch.equal(mine["boxes"], theirs["boxes"])


def test_proposals_are_what_raw_boxes_were_refined_from(model, images):
    found = detect(model, images)
    assert all(len(each["proposals"]) == len(each["raw_boxes"]) > 0 for each in found)
    with torch.no_grad():
        torch.nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.weight)
        torch.nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.bias)
    for each in detect(model, images):  # a second stage that moves nothing
        torch.testing.assert_close(each["raw_boxes"], each["proposals"], atol=1e-3, rtol=0)


def test_raw_boxes_are_those_of_the_best_class_before_scores_and_nms(model, images):
    # Without threshold, NMS and limit the model returns every class of every proposal: the raw boxes are
    # among them, and each proposal's best-scored detection is one of them.
    raw = [result["raw_boxes"] for result in detect(model, images)]
    heads = model.roi_heads
    heads.score_thresh, heads.nms_thresh, heads.detections_per_img = -1.0, 1.0, 10_000
    for own, every, image in zip(raw, detect(model, images), images, strict=True):
        assert 0 < len(own) <= 40
        height, width = image.shape[-2:]
        assert (own >= 0).all()
        assert (own <= torch.tensor([width, height, width, height]) + 1e-4).all()
        distance = (own[:, None] - every["boxes"]).abs().amax(dim=2).amin(dim=1)
        area = (own[:, 2:] - own[:, :2]).prod(dim=1)
        assert distance[area > 1].max() < 1e-3  # torchvision leaves out boxes without area
        best = every["boxes"][every["scores"].argmax()]
        assert (own - best).abs().amax(dim=1).min() < 1e-3


def test_probes_are_refined_with_their_own_class(model, images):
    box = torch.tensor([[10.0, 10, 60, 60]])
    refined = [
        detect(model, images[:1], probes=[(box, torch.tensor([label]))])[0]["probe_boxes"] for label in (1, 2, 3)
    ]
    assert all(own.shape == (1, 4) for own in refined)
    assert not torch.equal(refined[0], refined[1])
    assert not torch.equal(refined[1], refined[2])


def test_a_head_without_output_returns_the_probes_themselves(model, images):
    # Zero deltas mean "the box is right": what comes out is what went in, through two changes of frame.
    nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.weight)
    nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.bias)
    boxes = torch.tensor([[10.0, 12, 60, 70], [80, 20, 119, 89]])
    found = detect(model, images, probes=[(boxes, torch.tensor([1, 3])), NO_PROBES])
    torch.testing.assert_close(found[0]["probe_boxes"], boxes, atol=1e-3, rtol=0)
    assert found[1]["probe_boxes"].shape == (0, 4)
    overhanging = torch.tensor([[-20.0, -5, 60, 70]])
    clipped = detect(model, images[:1], probes=[(overhanging, torch.tensor([1]))])[0]["probe_boxes"]
    torch.testing.assert_close(clipped, torch.tensor([[0.0, 0, 60, 70]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("probes", [None, [NO_PROBES, NO_PROBES]])
def test_no_proposals_at_all(model, images, probes):
    model.rpn.score_thresh = 2.0  # no objectness reaches it
    for result in detect(model, images, probes=probes):
        assert result["raw_boxes"].shape == (0, 4)
        assert len(result["boxes"]) == 0


def test_probes_without_proposals_are_still_refined(model, images):
    model.rpn.score_thresh = 2.0
    found = detect(model, images, probes=[(torch.tensor([[1.0, 1, 30, 30]]), torch.tensor([1])), NO_PROBES])
    assert found[0]["probe_boxes"].shape == (1, 4)


def test_every_module_keeps_its_mode(model, images):
    model.train()
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    detect(model, images)
    assert [module.training for module in model.modules()] == modes


def test_boxes_stay_float32_and_exact_under_autocast(images):
    # In bfloat16 a coordinate near 300 is a multiple of 2: zero deltas would not return the probe.
    torch.manual_seed(0)
    model = build_detector("nano", num_classes=1, min_size=240, max_size=320)
    nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.weight)
    nn.init.zeros_(model.roi_heads.box_predictor.bbox_pred.bias)
    probe = torch.tensor([[210.3, 101.7, 311.2, 233.1]])
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = detect(model, [torch.rand(3, 240, 320)], probes=[(probe, torch.tensor([1]))])
    assert found["raw_boxes"].dtype == torch.float32
    torch.testing.assert_close(found["probe_boxes"], probe, atol=1e-3, rtol=0)


def test_wrong_use_is_explained(model, images):
    with pytest.raises(ConfigError, match="probes"):
        detect(model, images, probes=[NO_PROBES])
    with pytest.raises(ConfigError, match="Linear"):
        detect(nn.Linear(1, 1), images)


def test_no_images(model):
    assert detect(model, []) == []
