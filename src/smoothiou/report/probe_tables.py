"""The numbers of a probe for a paper: probe.csv and probe.tex beside its page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import fmean, stdev

from smoothiou.report.refinement_tables import (
    HALVES,
    MEAN,
    Comparison,
    describe_probes,
    difference,
    in_order,
    interval,
    refined_table,
    refinement_table,
)
from smoothiou.report.results_csv import Line, csv_text, probe_differences
from smoothiou.report.table import Cell, Row, Table


def probe_csv(comparison: Comparison) -> str:
    """Return every number of a probe, one per line, in the columns of results.csv, before rounding.

    `part` is `before` (the boxes before any second stage), `after`, `difference`, or of `--refit` `training`, where `x`
    is the step.
    """
    return csv_text(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[Line]:
    for metric, value in (comparison.get("before") or {}).items():
        yield {"part": "before", "metric": metric, "statistic": "value", "value": value}
    for name, runs in (comparison.get("groups") or {}).items():
        for seed, numbers in runs.items():
            line = {"part": "after", "loss": name, "seed": seed, "statistic": "value"}
            yield from ({**line, "metric": metric, "value": value} for metric, value in numbers.items())
    yield from probe_differences("difference", comparison)
    for cell in comparison.get("cells") or []:
        line = {"part": "training", "loss": cell["loss"], "seed": cell["seed"], "metric": MEAN.key}
        for point in cell["curve"]:
            for boxes in ("train", "test"):
                yield {**line, "x": point["step"], "statistic": f"{boxes} boxes", "value": point[boxes]}


def probe_latex(comparison: Comparison, sentence: str) -> str:
    r"""Return the tables of a probe as LaTeX, a small one first; they need booktabs and graphicx."""
    head = (
        "% Needs \\usepackage{booktabs,graphicx} and UTF-8; what is wider than the text is made smaller. "
        + json.dumps(sentence)
    )
    makers = (result_table, refined_table, refinement_table) if comparison.get("groups") else ()
    tables = [make(comparison) for make in makers]
    return "\n".join([head, *(table.latex() for table in tables if table.rows)])


def result_table(comparison: Comparison) -> Table:
    """Return one small table for a paper: IoU after refinement, and the differences below and above .75 apart."""
    baseline, before = comparison["baseline"], comparison.get("before")
    rows = [Row("before", [Cell(MEAN.format(before[MEAN.key])), *[Cell("")] * 3], kind="before")] if before else []
    for name in in_order(comparison):
        values = [run[MEAN.key] for run in comparison["groups"][name].values()]
        spread = f"± {MEAN.format(stdev(values))}" if len(values) > 1 else ""
        entries = [(difference(comparison, name, metric.key), metric) for metric in (MEAN, *HALVES)]
        gains = [
            Cell(metric.format(entry["mean"], signed=True), interval(entry, metric)) if entry else Cell("")
            for entry, metric in entries
        ]
        rows.append(Row(name, [Cell(MEAN.format(fmean(values)), spread), *gains], name))
    columns = ["mean IoU", f"minus {baseline}", *(metric.name for metric in HALVES)]
    note = (
        "Mean IoU after refinement over seeds, its standard deviation beneath; differences, beneath them their 95% "
        "interval, of all boxes and of those whose IoU before was below .75, or not. "
        f"{describe_probes(comparison)}"
    )
    return Table("probe", "How tight boxes come out of the second stage", "loss", columns, rows, [note])
