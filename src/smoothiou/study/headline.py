"""The first line of a report, in plain words: which loss to use, and what to do where that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothiou.study.intervals import (
    BETTER,
    BETTER_WITHIN,
    EQUIVALENT,
    FEW_IMAGES,
    LEAST_SEEDS,
    MOST_SEEDS,
    UNKNOWN,
    WORSE,
    WORSE_WITHIN,
)

METRIC = "AP"

WORDS = {
    BETTER: "better",
    WORSE: "worse",
    EQUIVALENT: "equal within {margin}",
    BETTER_WITHIN: "better, but within {margin}",
    WORSE_WITHIN: "worse, but within {margin}",
    UNKNOWN: "not known well enough",
}


def conclusion_in_words(entry: Mapping[str, Any]) -> str:
    """Return what a difference allows to conclude, as it may stand beside a number; with the reason if there is one."""
    text = WORDS[entry["conclusion"]].format(margin=margin_in_words(entry))
    return f"{text} ({entry['reason']})" if entry["conclusion"] == UNKNOWN and entry["reason"] else text


def margin_in_words(entry: Mapping[str, Any]) -> str:
    """Return the margin of a difference with its unit: "1 AP point", "0.005 IoU", "1 point"."""
    if "mean_iou" in entry["metric"]:
        return f"{entry['margin']:g} IoU"
    points = 100 * entry["margin"]
    unit = entry["metric"] + " " if entry["metric"][:2] in ("AP", "AR") else ""
    return f"{points:g} {unit}point{'' if round(points, 9) == 1 else 's'}"


def headline_of_result(collected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a study in plain words.

    Args:
        collected: what `collect` has gathered.

    Returns:
        text: the first line; kind: better, worse, same or unknown; advice: sentences on what to do next.
    """
    baseline = collected["plan"]["baseline"]
    rows = [row for row in collected["differences"] if row["metric"] == METRIC]
    advice = [sentence for row in rows if (sentence := advice_for(row))]
    if not rows:
        return _headline("unknown", f"Nothing to compare: {baseline} is the only loss.", [])
    if all(row["mean"] is None for row in rows):
        return _headline("unknown", "Not known: no seed has a result of both losses yet.", advice)
    better = sorted((row for row in rows if row["conclusion"] in (BETTER, BETTER_WITHIN)), key=lambda row: -row["mean"])
    if better:
        best = better[0]
        within = (
            f", though by less than {margin_in_words(best)} for sure" if best["conclusion"] == BETTER_WITHIN else ""
        )
        rivals = f"; {', '.join(row['candidate'] for row in better[1:])} too" if better[1:] else ""
        return _headline(
            "better", f"Use {best['candidate']}: {_numbers(best)}, better than {baseline}{within}{rivals}.", advice
        )
    if len(rows) == 1:
        return _one(rows[0], baseline, advice)
    counts = {word: sum(row["conclusion"] in kinds for row in rows) for word, kinds in _KINDS.items()}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    if counts["equal within the margin"] == len(rows):
        return _headline(
            "same", f"They are equal within {margin_in_words(rows[0])}: all {len(rows)} losses and {baseline}.", []
        )
    if counts["not known"] == len(rows):
        return _headline("unknown", f"Not known: none of {len(rows)} losses can be told from {baseline}.", advice)
    return _headline("worse", f"Keep {baseline}: none of {len(rows)} losses is known to be better ({listed}).", advice)


TRAIN_LONGER = "Train longer: more steps (--steps)."
"""Advice where a loss has learnt next to nothing."""

_KINDS = {
    "worse": (WORSE, WORSE_WITHIN),
    "equal within the margin": (EQUIVALENT,),
    "not known": (UNKNOWN,),
}


def _one(row: Mapping[str, Any], baseline: str, advice: list[str]) -> dict[str, Any]:
    candidate, margin = row["candidate"], margin_in_words(row)
    if row["conclusion"] == WORSE:
        return _headline("worse", f"Keep {baseline}: {candidate} is worse, {_numbers(row)}.", advice)
    if row["conclusion"] == WORSE_WITHIN:
        text = f"Keep {baseline}: {candidate} is worse, though by less than {margin}, {_numbers(row)}."
        return _headline("worse", text, advice)
    if row["conclusion"] == EQUIVALENT:
        return _headline(
            "same", f"They are equal within {margin}: {candidate} minus {baseline} {_numbers(row)}.", advice
        )
    if "learnt next to nothing" in row["reason"]:
        return _headline("unknown", f"Not known: train longer first; {row['reason']}.", advice)
    return _headline("unknown", f"Not known: {candidate} minus {baseline} {_numbers(row)}.", advice)


def advice_for(row: Mapping[str, Any]) -> str:
    """Return what would make a difference known, as a sentence; "" where it is known."""
    candidate = row["candidate"]
    if row["conclusion"] != UNKNOWN:
        return ""
    if "learnt next to nothing" in row["reason"]:
        return TRAIN_LONGER
    if FEW_IMAGES in row["reason"]:
        return f"Test on more images: {row['images']} say too little of others."
    if row["n"] < 2:
        return f"Run at least {LEAST_SEEDS} seeds of {candidate} and {row['baseline']}."
    if row["seeds_needed"]:
        return f"{candidate}: about {row['seeds_needed']} seeds in all would tell, if mean and spread stay as they are."
    if row["images_needed"]:
        return (
            f"{candidate}: more seeds cannot help; about {row['images_needed']} test images would tell "
            f"(there are {row['images']})."
        )
    if row["reason"]:
        return f"{candidate}: {row['reason']}; other seeds may tell."
    return f"{candidate}: more than {MOST_SEEDS} seeds would be needed."


def _numbers(row: Mapping[str, Any]) -> str:
    text = f"{METRIC} {_points(row['mean'])} points"
    return (
        f"{text} [{_points(row['low'])}, {_points(row['high'])}]" if row["low"] is not None else f"{text} on one seed"
    )


def _points(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return text if text.strip("+-0.") else "+0.0"  # a rounded zero has no sign worth reading


def _headline(kind: str, text: str, advice: list[str]) -> dict[str, Any]:
    return {"text": text, "kind": kind, "advice": list(dict.fromkeys(advice))}
