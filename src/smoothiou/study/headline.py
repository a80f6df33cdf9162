"""The result of a study in words: the headline (which loss to use, if that is known), and a sentence with numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothiou.metrics.signature import DETECTION
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
from smoothiou.study.stats import verdict_in_words
from smoothiou.words import counted

METRIC = "AP"
"""Of the headline."""
SENTENCE = {"AP": "AP", "AP75": "AP75", "refined_mean_iou": "mean IoU of refined boxes"}
"""Metrics of the sentence, in words."""

LEAST_AP50 = 0.05
"""AP50 of the baseline below which a comparison says nothing, whatever its intervals say."""
LEARNT_NOTHING = "has learnt next to nothing"

PHRASES = {
    BETTER: "better",
    WORSE: "worse",
    EQUIVALENT: "equal within {margin}",
    BETTER_WITHIN: "better, but within {margin}",
    WORSE_WITHIN: "worse, but within {margin}",
    UNKNOWN: "not known well enough",
}


def conclusion_in_words(entry: Mapping[str, Any]) -> str:
    """Return what a difference allows to conclude, as it may stand beside a number; with the reason if there is one."""
    text = PHRASES[entry["conclusion"]].format(margin=margin_in_words(entry))
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
    if any(row["method"].endswith("seeds only") and not row["reason"] for row in rows):
        advice.insert(0, WITHOUT_IMAGES)
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
        return _one_candidate(rows[0], baseline, advice)
    counts = {word: sum(row["conclusion"] in kinds for row in rows) for word, kinds in _KINDS.items()}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    if counts["equal within the margin"] == len(rows):
        return _headline(
            "same", f"They are equal within {margin_in_words(rows[0])}: all {len(rows)} losses and {baseline}.", advice
        )
    if counts["not known"] == len(rows):
        return _headline("unknown", f"Not known: none of {len(rows)} losses can be told from {baseline}.", advice)
    return _headline("worse", f"Keep {baseline}: none of {len(rows)} losses is known to be better ({listed}).", advice)


WITHOUT_IMAGES = (
    "The intervals are over seeds alone, and too narrow: give the study's command again, which adds the test images."
)
"""Advice where a study was stopped before its cells were compared on the images."""

TRAIN_LONGER = "Train longer: more steps (--steps)."
"""Advice where a loss has learnt next to nothing."""

_KINDS = {
    "worse": (WORSE, WORSE_WITHIN),
    "equal within the margin": (EQUIVALENT,),
    "not known": (UNKNOWN,),
}


def _one_candidate(row: Mapping[str, Any], baseline: str, advice: list[str]) -> dict[str, Any]:
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
    if LEARNT_NOTHING in row["reason"]:
        return _headline("unknown", f"Not known: train longer first; {row['reason']}.", advice)
    return _headline("unknown", f"Not known: {candidate} minus {baseline} {_numbers(row)}.", advice)


def advice_for(row: Mapping[str, Any]) -> str:
    """Return what would make a difference known, as a sentence; "" where it is known."""
    candidate = row["candidate"]
    if row["conclusion"] != UNKNOWN:
        return ""
    if LEARNT_NOTHING in row["reason"]:
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
    interval = (
        "on one seed" if row["low"] is None else f"[{_signed(METRIC, row['low'])}, {_signed(METRIC, row['high'])}]"
    )
    return f"{METRIC} {_signed(METRIC, row['mean'])} points {interval}"


def _headline(kind: str, text: str, advice: list[str]) -> dict[str, Any]:
    return {"text": text, "kind": kind, "advice": list(dict.fromkeys(advice))}


def learnt_nothing(baseline: str, summary: Mapping[str, Any]) -> str:
    """Return why a comparison says nothing, where the baseline's AP50 is too low for any verdict; else ""."""
    ap50 = summary[baseline]["AP50"]["mean"]
    return f"{baseline} {LEARNT_NOTHING}" if ap50 is not None and ap50 < LEAST_AP50 else ""


def sentence_of_result(summary: Mapping[str, Any]) -> str:
    """Return the result with its uncertainty, one sentence per candidate.

    Where the baseline has learnt next to nothing, that comes first, and no verdict follows.

    Args:
        summary: from `collect`.
    """
    plan = summary["plan"]
    done = sum(cell["status"] == "done" for cell in summary["cells"])
    if not done:
        return f"No result yet: 0 of {len(summary['cells'])} cells are done."
    test = plan["data"].get("test") or plan["data"].get("val") or {}
    split = f"{test['name']}/{test['split']}" if test.get("name") else "the test split"
    candidates = [loss for loss in plan["losses"] if loss != plan["baseline"]]
    if not candidates:
        return _one_loss(summary, plan["baseline"], split)
    sentences = [_against_baseline(summary, candidate, split) for candidate in candidates]
    if reason := learnt_nothing(plan["baseline"], summary["summary"]):
        ap50 = summary["summary"][plan["baseline"]]["AP50"]["mean"]
        sentences.insert(0, f"{reason} (AP50 {100 * ap50:.1f} %): train longer first.")
    return " ".join(sentences)


def _one_loss(summary: Mapping[str, Any], loss: str, split: str) -> str:
    parts = []
    for metric, name in SENTENCE.items():
        entry = summary["summary"][loss][metric]
        if entry["mean"] is not None:
            spread = f" (sd {_size(metric, entry['sd'])})" if entry["sd"] is not None else ""
            parts.append(f"{name} {_size(metric, entry['mean'])}{spread}")
    seeds = max(entry["n"] for entry in summary["summary"][loss].values())
    numbers = ", ".join(parts) or "no metric is defined"
    return f"{loss} on {split}, {counted(seeds, 'seed')}: {numbers}; there is no other loss to compare with."


def _against_baseline(summary: Mapping[str, Any], candidate: str, split: str) -> str:
    plan = summary["plan"]
    rows = {row["metric"]: row for row in summary["differences"] if row["candidate"] == candidate}
    judged = not learnt_nothing(plan["baseline"], summary["summary"])
    parts = [
        _part(metric, name, rows[metric], _image_interval(summary, candidate, metric), judged=judged)
        for metric, name in SENTENCE.items()
        if rows[metric]["n"]
    ]
    difference = f"{candidate} minus {plan['baseline']}"
    if not parts:
        return f"{difference} on {split}: no seed was finished by both."
    pairs = max(rows[metric]["n"] for metric in SENTENCE)
    missing = len(plan["seeds"]) - pairs
    over = counted(pairs, "paired seed") + (f" of {len(plan['seeds'])} planned" if missing else "")
    end = " One seed proves nothing: there is no interval over seeds." if pairs == 1 else ""
    if pairs == 2:
        end = " Two seeds decide nothing: 3 are the fewest for a verdict."
    return f"{difference} over {over} on {split}: {'; '.join(parts)}.{end}"


def _part(metric: str, name: str, row: Mapping[str, Any], images: Mapping[str, Any] | None, *, judged: bool) -> str:
    text = f"{name} {_signed(metric, row['mean'])}{' points' if metric in DETECTION else ''}"
    if row["low"] is not None:
        interval = f"95% interval {_signed(metric, row['low'])} to {_signed(metric, row['high'])}"
        return f"{text} ({interval}){f', {verdict_in_words(row)}' if judged else ''}"
    if images:  # one seed: the test images give an interval, which knows nothing of training
        low, high = _signed(metric, images["low"]), _signed(metric, images["high"])
        return f"{text} (over test images alone {low} to {high})"
    return text


def _image_interval(summary: Mapping[str, Any], candidate: str, metric: str) -> Mapping[str, Any] | None:
    rows = [row for row in summary["bootstrap"] if row["candidate"] == candidate and row["metric"] == metric]
    rows = [row for row in rows if row.get("low") is not None and row.get("high") is not None]
    return rows[0] if len(rows) == 1 else None


def _signed(metric: str, value: float) -> str:
    text = f"{100 * value:+.1f}" if metric in DETECTION else f"{value:+.4f}"
    return text if text.strip("+-0.") else text.replace("-", "+")  # a rounded zero has no sign worth reading


def _size(metric: str, value: float) -> str:
    return f"{100 * value:.1f}" if metric in DETECTION else f"{value:.4f}"
