"""The numbers that the paper printed, as they stand there. Nothing is computed here, and nothing of ours stands here.

M. Arif, M. Jameel, L. Schmidt-Thieme: Directly Optimizing IoU for Bounding Box Localization, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Pair(NamedTuple):
    """A number for each loss."""

    huber: float
    smooth_iou: float


class Recipe(NamedTuple):
    """A line of Table 1, which is the same for both losses.

    Args:
        lr: initial learning rate.
        proposals: of the first stage.
        dropout: the values that were tried; which was best for which data set is not said, nor whether they are the
            share that stays or the share that goes.
    """

    lr: float
    proposals: int
    dropout: str = "0.2 ... 0.8"


LOSSES = ("huber", "smooth-iou")
"""Names here of the paper's two losses, in the order of `Pair`."""

TITLES = MappingProxyType(
    {
        "pets": "Pets",
        "udacity": "Udacity",
        "vwfs": "VWFS",
        "voc2007": "VOC2007",
        "voc2012": "VOC2012",
        "voc++": "VOC++Train",
    }
)

TABLE_1: Mapping[str, Recipe] = MappingProxyType(
    {
        "pets": Recipe(0.0002, 300),
        "udacity": Recipe(0.002, 300),
        "vwfs": Recipe(0.0002, 300),
        "voc2007": Recipe(0.0002, 300),
        "voc2012": Recipe(0.0002, 300),
        "voc++": Recipe(0.0002, 300),
    }
)

TABLE_2: Mapping[str, Pair] = MappingProxyType(
    {
        "pets": Pair(0.143, 0.162),
        "udacity": Pair(0.417, 0.425),
        "vwfs": Pair(0.383, 0.388),
        "voc2007": Pair(0.231, 0.263),
        "voc2012": Pair(0.275, 0.270),
        "voc++": Pair(0.240, 0.244),
    }
)
"""IoU of all proposed boxes, without post-processing, 0 to 1."""

METRICS_3 = MappingProxyType(
    {"AP50": "mAP@.50", "AP75": "mAP@.75", "AP": "mAP", "AR1": "AR@1", "AR10": "AR@10"}
)  # fmt: skip
"""Columns of Table 3 by the names that result.json gives them."""

TABLE_3: Mapping[str, Mapping[str, Pair]] = MappingProxyType(
    {
        "pets": {
            "AP50": Pair(89.94, 93.91), "AP75": Pair(80.46, 87.19), "AP": Pair(66.03, 72.09),
            "AR1": Pair(75.59, 79.68), "AR10": Pair(76.63, 80.35),
        },
        "udacity": {
            "AP50": Pair(78.23, 78.36), "AP75": Pair(27.67, 27.65), "AP": Pair(36.22, 35.7),
            "AR1": Pair(37.14, 37.15), "AR10": Pair(50.68, 51.13),
        },
        "vwfs": {
            "AP50": Pair(64.3, 64.79), "AP75": Pair(37.01, 37.33), "AP": Pair(37.03, 37.4),
            "AR1": Pair(21.0, 20.94), "AR10": Pair(45.42, 45.63),
        },
        "voc2007": {
            "AP50": Pair(65.94, 66.29), "AP75": Pair(43.40, 43.01), "AP": Pair(40.68, 40.67),
            "AR1": Pair(37.77, 37.32), "AR10": Pair(57.14, 56.79),
        },
        "voc2012": {
            "AP50": Pair(69.14, 69.31), "AP75": Pair(49.09, 48.29), "AP": Pair(44.20, 44.41),
            "AR1": Pair(39.63, 40.26), "AR10": Pair(59.82, 60.04),
        },
        "voc++": {
            "AP50": Pair(70.47, 70.52), "AP75": Pair(49.68, 50.08), "AP": Pair(44.19, 45.17),
            "AR1": Pair(39.81, 39.96), "AR10": Pair(59.39, 59.58),
        },
    }
)  # fmt: skip
"""COCO's metrics in %."""

WINS_3: Mapping[str, Pair] = MappingProxyType(
    {"AP50": Pair(0, 6), "AP75": Pair(3, 3), "AP": Pair(2, 4), "AR1": Pair(2, 4), "AR10": Pair(1, 5)}
)
"""The first rows of Table 3: on how many of the six data sets a loss is the better."""
