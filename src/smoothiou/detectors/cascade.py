"""A detector with several second stages in a row, of any Faster R-CNN."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from smoothiou.detectors.hosts.cascade import CascadeRoIHeads, CascadeStage
from smoothiou.detectors.mixin import unmix
from smoothiou.errors import ConfigError

MOST_STAGES = 5


def make_cascade(model: FasterRCNN, stages: int) -> FasterRCNN:
    """Give a Faster R-CNN several second stages in a row, in place, with random weights.

    Stage k is trained at an IoU of .5 + .1 k, with delta weights of (10, 10, 5, 5) times k + 1, k from 0: those of the
    paper for three stages. All classes share a stage's deltas.

    Args:
        model: the detector, with torchvision's `FastRCNNPredictor`.
        stages: 2 to 5; 1 leaves it as it is.

    Raises:
        ConfigError: another number of stages, or other last layers.
    """
    if isinstance(stages, bool) or not isinstance(stages, int) or not 1 <= stages <= MOST_STAGES:
        raise ConfigError(f"cascade: expected a number of stages from 1 to {MOST_STAGES}, got {stages!r}.")
    if stages == 1:
        return model
    heads: Any = model.roi_heads
    predictor = heads.box_predictor
    unmix(predictor)
    if type(predictor) is not FastRCNNPredictor or heads.has_mask() or heads.has_keypoint():
        raise ConfigError(
            f"cascade: expected boxes alone and torchvision's FastRCNNPredictor, got {type(predictor).__name__}.",
            hint="The detectors by name but for vgg16 have these.",
        )
    model.roi_heads = CascadeRoIHeads(heads, [_stage(heads, number) for number in range(stages)])
    return model


def _stage(heads: Any, number: int) -> CascadeStage:
    features, classes = heads.box_predictor.cls_score.in_features, heads.box_predictor.cls_score.out_features
    predictor = FastRCNNPredictor(features, classes)
    predictor.bbox_pred = nn.Linear(features, 4)
    head = copy.deepcopy(heads.box_head)
    for module in head.modules():
        if number and hasattr(module, "reset_parameters"):  # no two stages begin alike
            module.reset_parameters()
    x, y, width, height = (10.0, 10.0, 5.0, 5.0)
    weights = (x * (number + 1), y * (number + 1), width * (number + 1), height * (number + 1))
    return CascadeStage(head, predictor, iou=0.5 + 0.1 * number, weights=weights)
