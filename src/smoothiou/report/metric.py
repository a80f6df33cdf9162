"""The metrics of a report, and how their numbers, intervals and verdicts are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smoothiou.study.headline import conclusion_in_words, margin_in_words
from smoothiou.study.intervals import BETTER_WITHIN, EQUIVALENT, UNKNOWN, WORSE_WITHIN
from smoothiou.study.stats import BETTER, UNDECIDED, WORSE, verdict_in_words

NOTHING = "–"
KINDS = {
    BETTER: "better", BETTER_WITHIN: "better", WORSE: "worse", WORSE_WITHIN: "worse", EQUIVALENT: "same",
    UNKNOWN: "unknown", UNDECIDED: "unknown",
}  # fmt: skip
"""Conclusion or verdict -> class of its look."""

INTERVAL_NOTE = (
    "The interval says how far the mean difference could move with other seeds and other test images together, and the "
    "uncertainty how much of it comes from each: seeds are bought with time, images with labels (docs/statistics.md)."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number per run, and how it is written.

    Args:
        key: its name in result.json.
        name: its name in a table.
        percent: written times 100 with two decimals (the paper's Table 3), else with four (its Table 2).
    """

    key: str
    name: str
    percent: bool = True

    @property
    def full_name(self) -> str:
        """The metric's name outside the localization table."""
        return f"Mean IoU, {self.name}" if self.name in ("positives only", "matched", "refined") else self.name

    def format(self, value: float | None, *, signed: bool = False) -> str:
        """Return a number of 0 to 1 with a true minus sign; a dash for None."""
        if value is None:
            return NOTHING
        number, digits = (100 * value, 2) if self.percent else (value, 4)
        number = round(number, digits) + 0.0  # what rounds to zero has no minus: -0.0 + 0.0 is 0.0
        return f"{number:{'+' if signed else ''}.{digits}f}".replace("-", "−")

    def interval(self, entry: Mapping[str, Any]) -> str:
        """Return `[low, high]` of a difference, or a dash where there is no interval."""
        low, high = entry.get("low"), entry.get("high")
        if low is None or high is None:
            return NOTHING
        return f"[{self.format(low, signed=True)}, {self.format(high, signed=True)}]"


LOCALIZATION = (
    Metric(key="mean_iou", name="Mean IoU, all boxes", percent=False),
    Metric(key="mean_iou_positive", name="positives only", percent=False),
    Metric(key="mean_iou_matched", name="matched", percent=False),
    Metric(key="refined_mean_iou", name="refined", percent=False),
    Metric(key="refined_above_75", name="refined > .75"),
    Metric(key="refined_above_85", name="refined > .85"),
    Metric(key="refined_above_90", name="refined > .9"),
)
PARTS = (
    Metric(key="mean_iou_proposals", name="IoU of the proposals", percent=False),
    Metric(key="mean_iou_gain_below_50", name="+ gain, proposals < .5", percent=False),
    Metric(key="mean_iou_gain_from_50", name="+ gain, proposals ≥ .5", percent=False),
    Metric(key="mean_iou", name="= mean IoU, all boxes", percent=False),
)
"""The mean IoU of all boxes as the sum that it is."""
DETECTION = (
    Metric(key="AP50", name="AP50"),
    Metric(key="AP75", name="AP75"),
    Metric(key="AP", name="AP"),
    Metric(key="AR1", name="AR@1"),
    Metric(key="AR10", name="AR@10"),
)
METRICS = {metric.key: metric for metric in (*LOCALIZATION, *DETECTION)}


def conclusion_words(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a paired difference allows to conclude, and its kind: better, worse, same or unknown."""
    if entry["n"] < 2 or entry.get("low") is None:
        return "one seed proves nothing", "unknown"
    if "conclusion" not in entry:  # comparison.json of an earlier version
        return verdict_in_words(entry), KINDS[entry["verdict"]]
    return conclusion_in_words(entry), KINDS[entry["conclusion"]]


def uncertainty_shares(entry: Mapping[str, Any]) -> str:
    """Return which parts of the uncertainty come from seeds and from test images."""
    if entry.get("covariance") is None:
        return "seeds only" if entry.get("low") is not None else NOTHING
    if entry.get("from_seeds") is None:
        return NOTHING
    seeds = round(100 * entry["from_seeds"])
    return f"seeds {seeds} %, images {100 - seeds} %"


def method_words(entry: Mapping[str, Any]) -> str:
    """Return how an interval was made: by Student's t, or Dunnett's critical value for several candidates."""
    return (entry.get("method") or NOTHING).partition(",")[0]


def margin_words(entry: Mapping[str, Any]) -> str:
    """Return the difference that does not matter, with its unit."""
    return f"±{margin_in_words(entry)}" if "margin" in entry else NOTHING
