"""How results are put into a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def result_lines(result: Mapping[str, Any]) -> str:
    """Return the main numbers of a result.json, with the signature under them."""
    metrics, local = result["metrics"], result["localization"]
    shown = [f"{key} {percent(metrics.get(key))}" for key in ("AP", "AP50", "AP75", "AR1", "AR10")]
    inside = [
        f"mean IoU of all boxes {decimal(local.get('mean_iou'))}",
        f"of matched detections {decimal(local.get('mean_iou_matched'))}",
        f"of refined boxes {decimal(local.get('refined_mean_iou'))}",
    ]
    return "\n".join(["  ".join(shown), "; ".join(inside), result.get("signature", "")])


def percent(value: float | None) -> str:
    """Return a share of 1 in percent points, or a dash where a metric is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def decimal(value: float | None) -> str:
    """Return a number with three decimals, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"
