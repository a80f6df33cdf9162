"""The metrics of a run, and what each number is: a text that makes it comparable with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DETECTION = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
LOCALIZATION = (
    "mean_iou",
    "mean_iou_positive",
    "mean_iou_matched",
    "refined_mean_iou",
    "refined_above_75",
    "refined_above_85",
    "refined_above_90",
)
METRICS = (*DETECTION, *LOCALIZATION)
"""Every number of a run that tables and differences are made of; larger is better in all of them."""

PARTS = ("mean_iou_proposals", "mean_iou_gain_below_50", "mean_iou_gain_from_50")
"""What `mean_iou` is the sum of: the IoU of the proposals, and what the second stage adds on those below IoU .5, which
it is not trained on, and on the others. Results of earlier versions do not have them."""

_AREAS = {"AP_small": "small", "AP_medium": "medium", "AP_large": "large"}
_IOUS = {"AP50": ".50", "AP75": ".75"}
_MAXDETS = {"AR1": 1, "AR10": 10}
_BOXES = {
    "mean_iou": "all second-stage boxes, best truth of any class",
    "mean_iou_proposals": "proposals of all second-stage boxes, best truth of any class",
    "mean_iou_gain_below_50": "all second-stage boxes, gain of those with a proposal below IoU .5",
    "mean_iou_gain_from_50": "all second-stage boxes, gain of those with a proposal of IoU .5 and more",
    "mean_iou_positive": "second-stage boxes with IoU >= .5",
    "mean_iou_matched": "detections matched at IoU .5",
}
_PROBES = "truths jittered to IoU .5-1, refined once"


def signature(metric: str, *, engine: str, data: Mapping[str, Any], seeds: int | Sequence[int], version: str) -> str:
    """Return what a number is, so that it can be compared with others: "AP|coco|iou:.50-.95|...".

    Args:
        metric: one of `METRICS` or `PARTS`.
        engine: what computed it ("hotcoco-1.3.0").
        data: of the test split: "name", "split", "fingerprint", "images".
        seeds: the seed of one run ("seed:0"), or all seeds that a mean runs over ("seeds:3").
        version: of smoothiou.
    """
    if metric in DETECTION:
        iou, area = _IOUS.get(metric, ".50-.95"), _AREAS.get(metric, "all")
        how = f"coco|iou:{iou}|area:{area}|maxdet:{_MAXDETS.get(metric, 100)}|engine:{engine}"
    else:
        how = f"localization|boxes:{_BOXES.get(metric, _PROBES)}"
    seed = f"seed:{seeds}" if isinstance(seeds, int) else f"seeds:{len(seeds)}"
    split = f"{data['name']}/{data['split']}#{data['fingerprint']}"
    return f"{metric}|{how}|data:{split}|imgs:{data['images']}|{seed}|smoothiou:{version}"
