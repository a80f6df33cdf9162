"""Cascade R-CNN: stages on each other's boxes, at growing IoU, with a loss each."""

from __future__ import annotations

import copy

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from smoothiou.boxes import DELTA_WEIGHTS
from smoothiou.detectors import box_statistics, build_detector, detect, set_box_loss, torchvision_smooth_l1
from smoothiou.detectors.cascade import make_cascade
from smoothiou.detectors.features import eval_mode, extract_features, propose
from smoothiou.detectors.hosts.cascade import mean_of_stages
from smoothiou.detectors.inception_rcnn import build_inception_v2
from smoothiou.detectors.nano import build_nano
from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build, check
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import stage_losses
from tests.detectors.hosts import train_step, without_boxes

STAGES = ("rpn", "roi", "roi2", "roi3")


@pytest.fixture
def cascade(stock):
    torch.manual_seed(1)
    return make_cascade(stock, 3)


def test_three_stages_have_the_papers_iou_and_factors(cascade):
    stages = cascade.roi_heads.stages
    assert [stage.matcher.high_threshold for stage in stages] == pytest.approx([0.5, 0.6, 0.7])
    assert [stage.box_coder.weights for stage in stages] == [
        (10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0),
    ]  # fmt: skip
    first, second = (stage.box_head.fc6.weight for stage in stages[:2])
    assert not torch.equal(first, second), "stages that begin alike would stay alike"
    assert {stage.box_predictor.bbox_pred.out_features for stage in stages} == {4}
    assert not any(name.startswith(("roi_heads.box_head", "roi_heads.box_predictor")) for name in cascade.state_dict())


def test_scores_are_the_mean_of_the_stages_probabilities():
    # detectron2: the sum of the stages' softmax over the number of stages, background included.
    logits = [torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0986123]]), torch.tensor([[1.0986123, 0.0]])]
    mean = mean_of_stages([each.softmax(-1) for each in logits])
    # Probabilities (1/2, 1/2), (1/4, 3/4), (3/4, 1/4).
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0.5]]))


def test_inference_is_the_stages_one_by_one(cascade, batch):
    images = batch[0]
    with torch.no_grad(), eval_mode(cascade):
        features = extract_features(cascade, images)
        boxes = propose(cascade, features)
        logits, deltas, before = cascade.roi_heads.run(features.maps, boxes, features.sizes)
        probabilities = []
        for stage in cascade.roi_heads.stages:
            last = boxes
            crops = cascade.roi_heads.box_roi_pool(features.maps, boxes, features.sizes)
            scores, codes = stage.box_predictor(stage.box_head(crops))
            probabilities.append(scores.softmax(-1))
            decoded = BoxCoder(stage.box_coder.weights).decode(codes, boxes)[:, 0]
            split = decoded.split([len(each) for each in boxes])
            boxes = [
                torch.stack((x1.clamp(0, w), y1.clamp(0, h), x2.clamp(0, w), y2.clamp(0, h)), 1)
                for (x1, y1, x2, y2), (h, w) in zip([each.unbind(1) for each in split], features.sizes, strict=True)
            ]
    torch.testing.assert_close(logits.softmax(-1), sum(probabilities) / 3)
    assert all(torch.equal(a, b) for a, b in zip(before, last, strict=True))
    assert torch.equal(deltas, codes.repeat(1, logits.shape[1]))


def test_detect_gives_the_models_own_detections_and_refines_probes_through_all_stages(cascade, batch):
    images = batch[0]
    with torch.no_grad():
        own = cascade.eval()(images)
    probes = [(torch.tensor([[5.0, 5, 40, 40]]), torch.tensor([label])) for label in (1, 3)]
    found = detect(cascade, images, probes=probes)
    for mine, theirs in zip(found, own, strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
        assert mine["probe_boxes"].shape == (1, 4)
        assert mine["raw_boxes"].shape == mine["proposals"].shape


def test_torchvisions_loss_by_set_box_loss_is_the_cascades_own_to_the_last_bit(cascade, batch):
    ours = set_box_loss(copy.deepcopy(cascade), torchvision_smooth_l1)
    for mine, theirs in zip(train_step(ours, batch), train_step(set_rpn_alone(cascade), batch), strict=True):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    restored = set_box_loss(ours, None)
    assert {type(stage).__name__ for stage in restored.roi_heads.stages} == {"CascadeStage"}


def set_rpn_alone(model):
    """The first stage with torchvision's loss too, which equals stock, so that ignore boxes are treated alike."""
    return set_box_loss(copy.deepcopy(model), torchvision_smooth_l1, stages=("rpn",))


def test_every_stage_gets_its_own_loss_and_boxes_that_overlap_enough(cascade, batch):
    seen = {}

    def recorder(stage):
        def loss(pred, target, *, weights, anchors):
            seen[stage] = (pred.detach(), target, weights, anchors)
            return (pred - target).abs().sum(1)

        return loss

    for stage in STAGES:
        set_box_loss(cascade, recorder(stage), stages=(stage,))
    _, resized = cascade.transform(*batch)
    gt_boxes = torch.cat([target["boxes"] for target in resized])
    train_step(cascade, batch)
    for number, stage in enumerate(STAGES[1:]):
        if stage not in seen:
            continue
        _, target, weights, anchors = seen[stage]
        assert weights == tuple(w * (number + 1) for w in DELTA_WEIGHTS)
        assert not anchors.requires_grad
        if len(anchors):
            iou = box_iou(anchors, gt_boxes).amax(1)
            assert iou.min() >= 0.5 + 0.1 * number - 1e-5
            decoded = BoxCoder(weights).decode_single(target, anchors)
            assert (decoded[:, None] - gt_boxes).abs().amax(2).amin(1).max() < 1e-3
    assert set(seen) == set(STAGES)
    assert len(seen["roi"][0])


def test_lambda_and_mean_iou_are_told_for_each_stage(cascade, batch):
    for name, loss in stage_losses("huber/huber/smooth-iou/smooth-iou", STAGES).items():
        set_box_loss(cascade, loss, stages=(name,))
    train_step(cascade, batch)
    statistics = box_statistics(cascade)
    assert {key for key in statistics if key.endswith("lambda")} == {"roi2_lambda", "roi3_lambda"}
    assert {f"{stage}_mean_iou" for stage in STAGES} <= set(statistics)


@pytest.mark.slow
def test_later_stages_learn_better_boxes_from_better_boxes(batch):
    """A few steps on one batch: the loss falls, and the backbone gets a gradient."""
    torch.manual_seed(0)
    model = set_box_loss(make_cascade(build_nano(num_classes=4, min_size=64, max_size=96), 3), "smooth-l1")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = []
    for step in range(12):
        losses, _ = train_step(model, batch, seed=step)
        optimizer.step()
        values.append(sum(losses.values()).item())
    assert sum(values[-3:]) < 0.7 * sum(values[:3])


def test_images_without_boxes_and_ignored_ones_train_without_nan(cascade, batch):
    images, targets = batch
    empty = [without_boxes(target) for target in targets]
    everything = {"ignore": torch.tensor([[-500.0, -500, 600, 600]])}
    for given in ([targets[0], empty[1]], empty, [{**target, **everything} for target in empty]):
        for loss in ("smooth-iou", "giou"):
            losses, grads = train_step(set_box_loss(cascade, loss), (images, given))
            assert all(value.isfinite() for value in losses.values())
            assert all(grad.isfinite().all() for grad in grads.values())


def test_a_loss_for_each_stage_in_one_line():
    assert stage_losses("a/b/c/d", STAGES) == dict(zip(STAGES, "abcd", strict=True))
    assert stage_losses("a/b", STAGES) == {"rpn": "a", "roi": "b", "roi2": "b", "roi3": "b"}
    assert set(stage_losses("a", STAGES).values()) == {"a"}
    with pytest.raises(ConfigError, match="rpn/roi/roi2/roi3"):
        stage_losses("a/b/c", STAGES)


def test_a_recipe_has_its_losses_in_their_stages():
    config = RunConfig().replace(
        {"model.name": "lite0-cascade", "model.weights": "none", "loss.name": "huber/huber/smooth-iou/giou"}
    )
    check(config, losses=[config.loss.name])
    with torch.device("meta"):
        model = build(config, classes=2)
    assert [stage.box_loss.name for stage in model.roi_heads.stages] == ["huber", "smooth-iou", "giou"]
    with pytest.raises(ConfigError, match="FIRST/SECOND"):
        check(config.replace({"model.name": "nano"}), losses=[config.loss.name])


def test_the_number_of_stages():
    model = build_detector("nano", num_classes=2, cascade=2, loss="huber")
    assert len(model.roi_heads.stages) == 2
    with torch.device("meta"):
        built = [build_detector("lite0-cascade", num_classes=2, weights="none", cascade=n) for n in (None, 2, 1)]
    assert [len(getattr(each.roi_heads, "stages", [])) for each in built] == [3, 2, 0]
    for wrong in (0, 6, 2.5):
        with pytest.raises(ConfigError, match="cascade"):
            build_detector("nano", num_classes=2, cascade=wrong)
    with pytest.raises(ConfigError, match="FastRCNNPredictor"):
        make_cascade(model, 3)


def test_boxes_of_inception_are_decoded_by_the_last_stage_too():
    model = make_cascade(build_inception_v2(num_classes=2, pretrained=False, depth_multiplier=0.25), 3)
    logits, deltas = torch.tensor([[0.0, 9.0]]), torch.tensor([[3.0, 0, 0, 0, 3.0, 0, 0, 0]])
    boxes, _, _ = model.roi_heads.postprocess_detections(
        logits, deltas, [torch.tensor([[10.0, 10, 20, 20]])], [(64, 64)]
    )
    # The third stage's weight on x is 30, so 3 is a tenth of the box's width.
    torch.testing.assert_close(boxes[0], torch.tensor([[11.0, 10, 21, 20]]))
