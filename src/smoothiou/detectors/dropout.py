"""Dropout before the second stage's last layers, as TensorFlow's box predictor has it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from smoothiou.detectors.features import layers_of_second_stage
from smoothiou.detectors.mixin import unmix
from smoothiou.errors import ConfigError


class DropoutPredictor(FastRCNNPredictor):
    """torchvision's last layers, each behind dropout with a mask of its own; parameters and their names stay.

    Attributes:
        dropout: share of the features dropped in training.
    """

    dropout: float

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (K, classes) and deltas (K, 4 * classes) of features (K, C)."""
        x = x.flatten(start_dim=1)
        for_classes, for_boxes = (F.dropout(x, self.dropout, training=self.training) for _ in range(2))
        return self.cls_score(for_classes), self.bbox_pred(for_boxes)


def set_roi_dropout(model: nn.Module, dropout: float) -> None:
    """Drop this share of the features before the second stage's last layers in training, in place.

    A box head with an attribute `dropout`, as VGG-16's, does it itself, behind each of its hidden layers.

    Args:
        model: a torchvision Faster R-CNN.
        dropout: in [0, 1).

    Raises:
        ConfigError: out of range, or the last layers are not torchvision's.
    """
    if not 0 <= dropout < 1:
        raise ConfigError(f"roi_dropout: expected a share of at least 0 and below 1, got {dropout!r}.")
    for head, predictor in layers_of_second_stage(model):
        _set_dropout(head, predictor, dropout)


def _set_dropout(head: Any, predictor: Any, dropout: float) -> None:
    if hasattr(head, "dropout"):
        head.dropout = dropout
        return
    unmix(predictor)
    if type(predictor) not in (FastRCNNPredictor, DropoutPredictor):
        raise ConfigError(f"roi_dropout: expected torchvision's FastRCNNPredictor, got {type(predictor).__name__}.")
    if dropout > 0:
        predictor.__class__ = DropoutPredictor
    predictor.dropout = dropout
