"""Results and data sets in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothiou.files import visible
from smoothiou.words import counted


def result_lines(result: Mapping[str, Any]) -> str:
    """Return the main numbers of a result.json, with the signature under them."""
    metrics, local = result["metrics"], result["localization"]
    lines = [
        "  ".join(f"{key} {percent(metrics.get(key))}" for key in ("AP", "AP50", "AP75", "AR1", "AR10")),
        f"mean IoU of all boxes {decimal(local.get('mean_iou'))}; "
        f"of matched detections {decimal(local.get('mean_iou_matched'))}; "
        f"of refined boxes {decimal(local.get('refined_mean_iou'))}",
        result.get("signature", ""),
    ]
    if result.get("step", 0) < result.get("steps", 0):
        lines.insert(0, f"Not finished: these are the weights of step {result['step']} of {result['steps']}.")
    return "\n".join(lines)


def selection_lines(selection: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line for each way to select detections."""
    keys = ("AP", "AP50", "AP75", "AP90", "AR100")
    return [
        f"{name + ' NMS' if name != 'wbf' else 'box fusion':10}  "
        + "  ".join(f"{key} {percent(metrics.get(key))}" for key in keys if key in metrics)
        for name, metrics in selection.items()
    ]


def data_lines(data: Mapping[str, Any]) -> str:
    """Return the counts of each split, with every kind of fault and every decision.

    Args:
        data: facts per split, from `engine.open_data.describe_data`.
    """
    lines, notes = [], {}
    for name, facts in data.items():
        if facts is None:
            continue
        counts = facts["counts"]
        keys = [key for key in ("difficult", "crowd", "dropped") if counts[key]]
        numbers = [counted(counts["images"], "image"), counted(counts["boxes"], "box", "boxes")]
        numbers += [f"{counts[key]} {key}" for key in keys]
        if counts["images_without_boxes"]:
            numbers.append(f"{counted(counts['images_without_boxes'], 'image')} without boxes")
        listed = ", ".join(numbers)
        lines.append(f"{name:5} {facts['name']}/{facts['split']} ({facts['format']}): {listed}")
        for kind, number in counts["faults"].items():
            first = next((f["where"] for f in facts["faults"] if f["kind"] == kind), "")
            lines.append(f"      {number} x {kind}, first: {first}")
        notes |= dict.fromkeys(facts["notes"])
    # Lines may hold names of strangers' files.
    return "\n".join(visible(line) for line in [*lines, *(f"      {note}" for note in notes)])


def watch_lines(settings: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """Return a line where evaluations during training were asked for, and there is nothing to evaluate on.

    Args:
        settings: flat, as in a plan.
        data: as for `data_lines`.
    """
    from smoothiou.engine.open_data import NO_SPLIT_TO_WATCH

    if not settings["train.eval_every"] or data.get("val"):
        return []
    return [f"No split to watch: train.eval_every is without effect. {NO_SPLIT_TO_WATCH}"]


def percent(value: float | None) -> str:
    """Return a share of 1 in percent points, or a dash where a metric is undefined."""
    return "-" if value is None else f"{100 * value:.1f}"


def decimal(value: float | None) -> str:
    """Return a number with three decimals, or a dash where it is undefined."""
    return "-" if value is None else f"{value:.3f}"
