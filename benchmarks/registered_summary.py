"""What the registered study of docs/study.md says, from the files that are kept: endpoints, arms and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats

from smoothiou.files import finite
from smoothiou.report.figures import describe_dots, dots_figure
from smoothiou.report.picture import drawing_alone, svg_file
from smoothiou.report.series import DotRow, Dots, dot_row
from smoothiou.study import collect
from smoothiou.study.across import mean_over_sets
from smoothiou.study.intervals import judged_difference
from smoothiou.study.until import FIRST_SEEDS

ENDPOINTS = {
    "AP": "AP", "AP75": "AP75", "AP90": "AP90", "refined_mean_below_75": "refined IoU, probes below .75",
    "refined_mean_from_75": "refined IoU, probes from .75", "mean_iou_positive": "mean IoU of positives",
    "mean_iou": "localization (Table 2)",
}  # fmt: skip
PRIMARY = ENDPOINTS["AP"]
"""The other endpoints, and those of other arms, are corrected together, after Holm."""


def differences(study: dict[str, Any], candidate: str, baseline: str) -> dict[str, dict[str, Any]]:
    """Return the difference of two losses in every endpoint, with what it was for each seed.

    AP90 has no values by image: its interval is over seeds alone.
    """
    rows = {
        row["metric"]: row
        for row in (*study["differences"], *study["probe"].get("differences", ()))
        if (row["candidate"], row["baseline"]) == (candidate, baseline) and row["metric"] in ENDPOINTS
    }
    results, seeds = _results(study), rows["AP"]["seeds"]
    ap90 = [[results[loss, seed]["ap_by_iou"]["0.90"] for seed in seeds] for loss in (baseline, candidate)]
    rows["AP90"] = judged_difference(*ap90, margin=0.01)
    rows["AP"]["by_seed"] = _ap_by_seed(study, rows["AP"])
    return rows


def _results(study: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the results of a study's finished cells by loss and seed."""
    return {(cell["loss"], cell["seed"]): cell["result"] for cell in study["cells"] if cell["result"]}


def _ap_by_seed(study: dict[str, Any], row: Mapping[str, Any]) -> dict[int, float]:
    """Return a difference in AP on every seed."""
    results = _results(study)
    return {
        seed: results[row["candidate"], seed]["metrics"]["AP"] - results[row["baseline"], seed]["metrics"]["AP"]
        for seed in row["seeds"]
    }


def _of_pairs(studies: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the differences of the pair in every study of which both losses have finished the first seeds."""
    differences_of = {}
    for name, study in studies.items():
        baseline, candidate = study["plan"]["losses"][:2]
        seeds = [{seed for loss, seed in _results(study) if loss == each} for each in (baseline, candidate)]
        if len(set.intersection(*seeds)) >= FIRST_SEEDS:
            differences_of[name] = differences(study, candidate, baseline)
    return differences_of


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for there being several: the smallest times n, the next times n - 1, never falling."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return corrected


def p_value(mean: Mapping[str, float]) -> float:
    """Return the two-sided p of a mean over sets."""
    return float(2 * stats.t.sf(abs(mean["mean"]) / mean["error"], mean["degrees"]))


def summary(kept: Path, *, sets: Iterable[str], tuned_on: Sequence[str]) -> None:
    """Print the endpoints on each set and their mean over the sets; keep both, and the primary one's picture.

    Args:
        kept: folder of the kept studies, for summary.json and the pictures too.
        sets: of the primary endpoint.
        tuned_on: those on which the other arms were run.
    """
    studies = {data: collect(kept / data) for data in sets if (kept / data / "plan.json").is_file()}
    by_set = _of_pairs(studies)
    if waiting := set(sets) - by_set.keys():
        print(f"Without {', '.join(sorted(waiting))}: fewer than {FIRST_SEEDS} seeds are finished.\n")
    rows = {label: {data: by_set[data][metric] for data in by_set} for metric, label in ENDPOINTS.items()}
    rows |= _of_other_arms(kept, tuned_on)
    means = {label: mean_over_sets(list(of_sets.values())) for label, of_sets in rows.items()}
    p_values = {label: p_value(mean) for label, mean in means.items()}
    corrected = holm({label: p for label, p in p_values.items() if label != PRIMARY})
    print("| endpoint |" + "".join(f" {data} |" for data in by_set) + " mean of the sets | p | p, Holm |")
    print("|:--|" + "--:|" * (len(by_set) + 3))
    for label, of_sets in rows.items():
        cells = [_interval(label, row) for row in (*(of_sets.get(data) for data in by_set), means[label])]
        p = p_values[label]
        print(f"| {label} | {' | '.join(cells)} | {p:.3g} | {corrected.get(label, p):.3g} |")
    content = {"sets": rows, "mean": means, "p": p_values, "p_holm": corrected}
    (kept / "summary.json").write_text(json.dumps(finite(content), indent=1) + "\n")
    dots = [dot_row(data, PRIMARY, row["by_seed"], row) for data, row in rows[PRIMARY].items()]
    by_number = {number: row["mean"] for number, row in enumerate(rows[PRIMARY].values())}
    dots.append(dot_row("mean of the sets", PRIMARY, by_number, means[PRIMARY]))
    _draw(kept, "forest", "AP by set", dots, "AP points, tuned Smooth IoU minus tuned Huber")
    _means_table(studies)
    _arms_table(kept, tuned_on)
    _control_table(kept)


def _of_other_arms(kept: Path, tuned_on: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the secondary endpoints that need other arms, by label and set, as far as their cells are kept."""
    chosen = json.loads((kept / "tuning.json").read_text())["chosen"]
    endpoints: dict[str, dict[str, dict[str, Any]]] = {}
    for label, folder, metric, arm in (
        ("AP, Smooth IoU minus fixed lambda", "fixed", "AP", "smooth-iou"),
        ("AP75, candidate minus Huber", "arms", "AP75", "candidate"),
    ):
        loss = chosen.get(arm, {}).get("loss.name")
        for data in tuned_on:
            for row in (row for study in _studies(kept, f"{folder}*/{data}") for row in study["differences"]):
                if (row["metric"], row["candidate"]) == (metric, loss) and row["error"] is not None:
                    endpoints.setdefault(label, {})[data] = row
    return {label: of_sets for label, of_sets in endpoints.items() if len(of_sets) == len(tuned_on)}


def _studies(kept: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the kept studies whose folders have such names."""
    return [collect(plan.parent) for plan in sorted(kept.glob(f"{pattern}/plan.json"))]


def _means_table(studies: Mapping[str, dict[str, Any]]) -> None:
    """Print the mean over seeds of every loss on every set, in AP points."""
    print("\n| set | loss | seeds | AP | AP50 | AP75 | AP90 |\n|:--|:--|--:|--:|--:|--:|--:|")
    for data, study in studies.items():
        for loss in study["plan"]["losses"]:
            results = [result for (each, _), result in _results(study).items() if each == loss]
            if not results:
                continue
            means = [fmean(result["metrics"][name] for result in results) for name in ("AP", "AP50", "AP75")]
            means.append(fmean(result["ap_by_iou"]["0.90"] for result in results))
            numbers = " | ".join(f"{100 * mean:.1f}" for mean in means)
            print(f"| {data} | `{loss}` | {len(results)} | {numbers} |")


def _arms_table(kept: Path, tuned_on: Sequence[str]) -> None:
    """Print and draw the differences of all arms to tuned Huber; the intervals are Dunnett's, over those of a study."""
    studies = [(data, study) for data in tuned_on for study in _studies(kept, f"arms*/{data}")]
    chosen = json.loads((kept / "tuning.json").read_text())["chosen"]
    arm_of = {settings["loss.name"]: name for name, settings in chosen.items()}
    dots, lines = [], {}
    for data, study in studies:
        for row in study["differences"]:
            if row["metric"] in ("AP", "AP75") and row["error"] is not None:
                lines.setdefault(row["candidate"], {})[data, row["metric"]] = _interval("AP", row)
            if row["metric"] == "AP" and row["error"] is not None:
                name = arm_of.get(row["candidate"], "untuned")
                dots.append(dot_row(f"{data}: {name}", "AP", _ap_by_seed(study, row), row))
    if not dots:
        return
    columns = [(data, metric) for data in dict(studies) for metric in ("AP", "AP75")]
    print("\n| minus tuned Huber |" + "".join(f" {data}: {metric} |" for data, metric in columns))
    print("|:--|" + "--:|" * len(columns))
    for loss, of_sets in lines.items():
        print(
            f"| {arm_of.get(loss, 'untuned')}: `{loss}` |"
            + "".join(f" {of_sets.get(column, '')} |" for column in columns)
        )
    _draw(kept, "arms", "AP of every arm", dots, "AP points, minus tuned Huber")


def _control_table(kept: Path) -> None:
    """Print the differences of the pair on `shapes`, whose boxes are known exactly."""
    studies = {plan.parent.name: collect(plan.parent) for plan in sorted(kept.glob("control/*/plan.json"))}
    by_kind = _of_pairs(studies)
    print("\n| shapes | " + " | ".join(by_kind) + " |\n|:--|" + "--:|" * len(by_kind))
    for metric, label in ENDPOINTS.items():
        print(f"| {label} |" + "".join(f" {_interval(label, rows.get(metric))} |" for rows in by_kind.values()))


def _interval(label: str, row: Mapping[str, Any] | None) -> str:
    """Return `+1.2 [+0.3, +2.1]`, in points for AP."""
    if row is None:
        return ""
    scale, digits = (100, 1) if label.startswith("AP") else (1, 4)
    mean, low, high = (f"{scale * row[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _draw(kept: Path, name: str, title: str, rows: list[DotRow], label: str) -> None:
    reach = 1.1 * max(abs(end) for row in rows for end in (row.low or 0, row.high or 0, *row.seeds.values()))
    forest = Dots(
        key="sets", title=title, candidate="smooth-iou", rows=rows, limits=(-reach, reach), label=label, margin=1
    )
    with drawing_alone(name):
        figure = dots_figure(forest, ["huber", "smooth-iou"], width=560)
        text = describe_dots(forest, "huber")
        (kept / f"{name}.svg").write_text(svg_file(figure, name, title=forest.title, description=text))
