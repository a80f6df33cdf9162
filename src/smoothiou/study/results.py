"""result.json files -> one summary with its uncertainties, and the sentence that a reader takes away. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smoothiou.errors import DataError
from smoothiou.files import read_json
from smoothiou.manifest import SCHEMA_VERSION
from smoothiou.metrics.signature import DETECTION, METRICS, PARTS, signature
from smoothiou.schemas import Result
from smoothiou.study import until
from smoothiou.study.cells import cell_state, read_error, read_result
from smoothiou.study.headline import headline_of_result, learnt_nothing, sentence_of_result
from smoothiou.study.intervals import LOOK_ALPHA, LOOKS, MARGIN, judged_difference, pooled_variance
from smoothiou.study.plan import cuts_in_words, read_plan
from smoothiou.study.stats import mean, sd, undecided
from smoothiou.words import counted

_EXPECTED = {
    "float_type": "a number or null",
    "int_type": "a whole number",
    "string_type": "a text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
}


def validate_result(result: Any, *, where: str = "result.json") -> None:
    """Check the content of result.json (see `smoothiou.schemas.Result`).

    Args:
        result: the content; an undefined metric is null (None) or NaN.
        where: its file, for the message.

    Raises:
        DataError: another schema version, or a key that is missing or of another type; names it.
    """
    if not isinstance(result, Mapping):
        raise DataError(f"{where}: expected a mapping, got {type(result).__name__}.")
    got = result.get("schema_version")
    if got != SCHEMA_VERSION or isinstance(got, bool):
        raise DataError(f"{where}: schema_version: expected {SCHEMA_VERSION}, got {got!r}.")
    try:
        Result.model_validate(dict(result))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise DataError(f"{where}: {key} is missing.") from None
        expected = _EXPECTED.get(first["type"], first["msg"])
        raise DataError(f"{where}: {key}: expected {expected}, got {first['input']!r}.") from None


def collect(folder: str | Path) -> dict[str, Any]:
    """Return everything that a report says about a study, read from its files alone.

    Args:
        folder: of the study, finished or not.

    Returns:
        plan         plan.json
        cells        [{"id", "loss", "seed", "status": done | failed | partial | new, "result" or None,
                     "error" or None}]
        summary      loss -> metric -> {"mean", "sd" over seeds, "n", "values": {seed: value}}
        differences  [{"candidate", "baseline", "metric", "seeds", and what `judged_difference` gives}], one
                     per candidate and metric, over the seeds that both finished; none is better or worse
                     where the baseline has learnt next to nothing
        wins         metric -> loss -> in how many seeds it is the best of all losses (the paper's Table 3,
                     first row); a tie is nobody's win, and only seeds that all losses finished are counted
        bootstrap    rows of comparison.json: the uncertainty that comes from the test images; [] where there are
                     none
        errors       rows of comparison.json: by loss and seed, what each kind of error costs
        curves       rows of comparison.json: by loss and seed, precision at 101 recalls
        confusions   of comparison.json: loss -> counts of truth (rows) and detection (columns), background last
        probe        of comparison.json: what the refinement probes of all cells say together; {} without
        gallery      rows of comparison.json
        signatures   metric -> what it is
        until        of a study that adds seeds: {"go_on", "why", "sentence"} of its last look; {} for others, and
                     while cells are waiting
        notes        what a reader must know: missing cells, other machines or versions within the study, rules
        sentence     the result with its uncertainty
        headline     the same in plain words: {"text", "kind": better | worse | same | unknown, "advice": [sentences]}

    Raises:
        DataError: no plan.json, or a file that is broken; names file and key.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    cells = [_read_cell(folder, cell) for cell in plan["cells"]]
    finished = [cell for cell in cells if cell["result"]]
    values = {loss: _values(finished, loss) for loss in plan["losses"]}
    comparison = _read_comparison(folder / "comparison.json")
    summary = {
        loss: {
            metric: {"mean": mean(list(of.values())), "sd": sd(list(of.values())), "n": len(of), "values": of}
            for metric, of in metrics.items()
        }
        for loss, metrics in values.items()
    }
    reason = learnt_nothing(plan["baseline"], summary)
    probe = comparison.get("probe", {})
    if reason and "differences" in probe:
        probe = {**probe, "differences": [undecided(entry, reason) for entry in probe["differences"]]}
    collected = {
        "plan": plan,
        "cells": cells,
        "summary": summary,
        "differences": _differences(values, plan, comparison, reason),
        "wins": {metric: _wins(values, plan["seeds"], metric) for metric in METRICS},
        "bootstrap": comparison.get("bootstrap", []),
        "probe": probe,
        "errors": comparison.get("errors", []),
        "curves": comparison.get("curves", []),
        "confusions": comparison.get("confusions", {}),
        "gallery": comparison.get("gallery", []),
        "signatures": _signatures(finished),
        "notes": _notes(plan, cells),
    }
    decision = until.look_at(plan, collected)
    collected["until"] = decision._asdict() if decision else {}
    return {**collected, "sentence": sentence_of_result(collected), "headline": headline_of_result(collected)}


def margins(plan: Mapping[str, Any]) -> dict[str, float]:
    """Return the differences that do not matter, by kind of metric ("AP", "IoU"); those of plan.json, if any.

    Raises:
        DataError: plan.json holds something else.
    """
    given = plan.get("margin", {})
    known = isinstance(given, Mapping) and given.keys() <= MARGIN.keys()
    if not known or not all(type(value) in (int, float) and 0 < value < 1 for value in given.values()):
        raise DataError(f"plan.json: margin: expected AP and IoU, each above 0 and below 1, got {given!r}.")
    return {**MARGIN, **given}


def margin_of(metric: str, plan: Mapping[str, Any]) -> float:
    """Return the difference in a metric that does not matter."""
    return margins(plan)["IoU" if "mean_iou" in metric else "AP"]


def rule_of(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return how intervals and verdicts take account of looks at a growing study.

    Returns:
        confidence: of the interval; alpha: level of a verdict, None where it is the interval's; words: for the page.
    """
    if rule := until.read_rule(plan):
        half_width, most = 100 * rule["half_width"], rule["most_seeds"]
        note = (
            f"Seeds are added until every AP difference is known to ±{half_width:g} points, at most {most}, as planned "
            "before the first run. Intervals are therefore of 97.5 %, which with such looks cover 95 %."
        )
        return {"confidence": until.CONFIDENCE, "alpha": None, "words": note}
    looks = [entry for entry in plan.get("extended", []) if entry.get("seeds", 0) < len(plan["seeds"])]
    if looks:
        note = (
            f"Seeds were added {counted(len(looks), 'time')} after a look at the results, which "
            f"makes luck look like a finding more often. Verdicts therefore ask for p < {LOOK_ALPHA} (right for looks "
            f"at {', '.join(map(str, LOOKS))} seeds); intervals are of 95 %, as if there had been one look."
        )
        return {"confidence": 0.95, "alpha": LOOK_ALPHA, "words": note}
    return {"confidence": 0.95, "alpha": None, "words": ""}


def _read_cell(folder: Path, cell: Mapping[str, Any]) -> dict[str, Any]:
    status = cell_state(folder, cell)
    result = read_result(folder, cell)
    if result is not None:
        validate_result(result, where=f"{folder / 'cells' / cell['id'] / 'result.json'}")
    error = read_error(folder, cell) if status == "failed" else None
    return {
        "id": cell["id"],
        "loss": cell["loss"],
        "seed": cell["seed"],
        "status": status,
        "result": result,
        "error": error,
    }


def _read_comparison(path: Path) -> dict[str, Any]:
    """Return comparison.json, which is written after the cells and may not be there yet."""
    comparison = read_json(path) if path.is_file() else {}
    if not isinstance(comparison, dict):
        raise DataError(f"{path}: expected a mapping, got {type(comparison).__name__}.")
    for index, row in enumerate(comparison.get("bootstrap", [])):
        missing = [key for key in ("candidate", "seed", "metric", "difference", "low", "high") if key not in row]
        if missing:
            raise DataError(f"{path}: bootstrap[{index}]: {missing[0]} is missing.")
    return comparison


def _values(finished: Sequence[Mapping[str, Any]], loss: str) -> dict[str, dict[int, float]]:
    """Return metric -> seed -> value, leaving out what is undefined."""
    values: dict[str, dict[int, float]] = {}
    for metric in (*METRICS, *PARTS):
        block = "metrics" if metric in DETECTION else "localization"
        by_seed = {cell["seed"]: cell["result"][block].get(metric) for cell in finished if cell["loss"] == loss}
        values[metric] = {
            seed: float(value) for seed, value in by_seed.items() if value is not None and math.isfinite(value)
        }
    return values


def _differences(
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    plan: Mapping[str, Any],
    comparison: Mapping[str, Any],
    reason: str,
) -> list[dict[str, Any]]:
    """Return the difference of every candidate to the baseline in every metric."""
    covariances = {(row["candidate"], row["metric"]): row["covariance"] for row in comparison.get("covariances", [])}
    images = comparison.get("images") or _test_images(plan)
    rule = rule_of(plan)
    pooled = {
        metric: pooled_variance({loss: of[metric] for loss, of in values.items()}) for metric in (*METRICS, *PARTS)
    }
    rows = []
    for candidate in (loss for loss in plan["losses"] if loss != plan["baseline"]):
        for metric in (*METRICS, *PARTS):
            baseline, other = values[plan["baseline"]][metric], values[candidate][metric]
            seeds = [seed for seed in plan["seeds"] if seed in baseline and seed in other]
            row = judged_difference(
                [baseline[seed] for seed in seeds],
                [other[seed] for seed in seeds],
                margin=margin_of(metric, plan),
                covariance=covariances.get((candidate, metric)),
                images=images,
                pooled=pooled[metric],
                losses=len(plan["losses"]),
                confidence=rule["confidence"],
                alpha=rule["alpha"],
                reason=reason,
            )
            rows.append({"candidate": candidate, "baseline": plan["baseline"], "metric": metric, "seeds": seeds, **row})
    return rows


def _test_images(plan: Mapping[str, Any]) -> int | None:
    split = plan["data"].get("test") or plan["data"].get("val") or {}
    return (split.get("counts") or {}).get("images")


def _wins(values: Mapping[str, Mapping[str, Mapping[int, float]]], seeds: Sequence[int], metric: str) -> dict[str, int]:
    wins = dict.fromkeys(values, 0)
    for seed in seeds:
        row = {loss: metrics[metric][seed] for loss, metrics in values.items() if seed in metrics[metric]}
        winners = [loss for loss, value in row.items() if value == max(row.values())]
        if len(row) == len(values) > 1 and len(winners) == 1:
            wins[winners[0]] += 1
    return wins


def _signatures(finished: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if not finished:
        return {}
    result = finished[0]["result"]
    versions, data = result["versions"], result["data"].get("test")
    if not data:
        return {}
    seeds = sorted({cell["seed"] for cell in finished})
    engine, version = f"hotcoco-{versions.get('hotcoco')}", str(versions.get("smoothiou"))
    return {
        metric: signature(
            metric, engine=engine, data=data, seeds=seeds[0] if len(seeds) == 1 else seeds, version=version
        )
        for metric in (*METRICS, *PARTS)
    }


def _notes(plan: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [f"{cell['id']} failed: {cell['error']}" for cell in cells if cell["status"] == "failed"]
    waiting = [cell["id"] for cell in cells if cell["status"] in ("partial", "new")]
    if waiting:
        notes.append(f"Not finished: {', '.join(waiting)}.")
    results = [cell["result"] for cell in cells if cell["result"]]
    probes = {str(result["localization"].get("probe")) for result in results}
    if len(probes) > 1:
        notes.append(
            "Refined boxes were not made alike in all cells (another version jittered them otherwise): compare none "
            "of their numbers, and run the older cells again."
        )
    if len(results) < len(cells):
        notes.append("Differences use only seeds that both losses finished.")
    for noun, block, key in (
        ("devices", "cost", "device"),
        ("precisions", "cost", "precision"),
        ("versions of smoothiou", "versions", "smoothiou"),
        ("versions of torch", "versions", "torch"),
        ("versions of the COCO engine", "versions", "hotcoco"),
    ):
        values = sorted({str(result[block].get(key)) for result in results})
        if len(values) > 1:
            notes.append(f"The cells ran with different {noun}: {', '.join(values)}.")
    if plan.get("cuts"):
        notes.append(cuts_in_words(plan["cuts"]))
    if rule := rule_of(plan)["words"]:
        notes.append(rule)
    if len(plan["losses"]) > 2:
        notes.append(
            "Intervals are Dunnett's: with every metric, all candidates together miss the truth in 1 study of 20."
        )
    if len(plan["losses"]) > 1 and len(plan["seeds"]) > 1:
        notes.append(
            f"{len(METRICS)} metrics are tested: without any effect about 1 in 20 of their intervals leaves out 0."
        )
    return notes
