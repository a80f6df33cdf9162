"""How results are put into a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothiou.files import visible


def result_lines(result: Mapping[str, Any]) -> str:
    """Return the main numbers of a result.json, with the signature under them."""
    metrics, local = result["metrics"], result["localization"]
    shown = [f"{key} {percent(metrics.get(key))}" for key in ("AP", "AP50", "AP75", "AR1", "AR10")]
    inside = [
        f"mean IoU of all boxes {decimal(local.get('mean_iou'))}",
        f"of matched detections {decimal(local.get('mean_iou_matched'))}",
        f"of refined boxes {decimal(local.get('refined_mean_iou'))}",
    ]
    early = []
    if result.get("step", 0) < result.get("steps", 0):
        early = [f"Not finished: these are the weights of step {result['step']} of {result['steps']}."]
    return "\n".join([*early, "  ".join(shown), "; ".join(inside), result.get("signature", "")])


def data_lines(data: Mapping[str, Any]) -> str:
    """Return what was read of each split, with every kind of fault and every decision.

    Args:
        data: facts per split, from `experiment.splits.describe_data`.
    """
    lines, notes = [], {}
    for name, facts in data.items():
        if facts is None:
            continue
        counts = facts["counts"]
        shown = [f"{counts['images']} images", f"{counts['boxes']} boxes"]
        extra = ("difficult", "crowd", "dropped", "images_without_boxes")
        shown += [f"{counts[key]} {key.replace('_', ' ')}" for key in extra if counts[key]]
        lines.append(f"{name:5} {facts['name']}/{facts['split']} ({facts['format']}): {', '.join(shown)}")
        for kind, number in counts["faults"].items():
            first = next((f["where"] for f in facts["faults"] if f["kind"] == kind), "")
            lines.append(f"      {number} x {kind}, first: {first}")
        notes |= dict.fromkeys(facts["notes"])
    # Names of files stand in it.
    return "\n".join(visible(line) for line in [*lines, *(f"      {note}" for note in notes)])


def percent(value: float | None) -> str:
    """Return a share of 1 in percent points, or a dash where a metric is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def decimal(value: float | None) -> str:
    """Return a number with three decimals, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"
