"""The page of `smoothiou probe`: which second stage, or which loss, refines slightly wrong boxes best."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from smoothiou.files import write_json, write_text
from smoothiou.manifest import version
from smoothiou.report.figures import draw_dots, draw_panel, swatch
from smoothiou.report.page import render
from smoothiou.report.probe_tables import probe_csv, probe_latex
from smoothiou.report.refinement_tables import (
    MAX_BANDS,
    MEAN,
    REFINED,
    convergence_panels,
    describe_probes,
    difference,
    in_order,
    interval,
    ranked,
    ranking_dots,
    refined_table,
    refinement_panels,
    refinement_table,
    verdict,
)
from smoothiou.report.study_page import LARGE
from smoothiou.report.table import Cell, Row, Table
from smoothiou.report.text_table import text_table
from smoothiou.study.stats import BETTER, WORSE

NO_RESULT = "No result yet: no training has finished."


def write_probe(comparison: dict[str, Any], out: str | Path) -> Path:
    """Write probe.json, probe.csv, probe.tex and probe.html into a folder, and return the page's path.

    Args:
        comparison: result of `lab.probe.probe_runs` or `lab.refit.refit`.
        out: the folder.
    """
    write_json(Path(out) / "probe.json", comparison)
    write_text(Path(out) / "probe.csv", probe_csv(comparison))
    write_text(Path(out) / "probe.tex", probe_latex(comparison, probe_sentence(comparison)))
    write_text(Path(out) / "probe.html", render_probe(comparison))
    return Path(out) / "probe.html"


def probe_sentence(comparison: dict[str, Any]) -> str:
    """Return the result with its uncertainty."""
    if not comparison.get("groups"):
        return NO_RESULT
    baseline, data = comparison["baseline"], comparison["data"]
    entries = [(name, difference(comparison, name, MEAN.key)) for name in ranked(comparison)]
    compared = [(name, entry) for name, entry in entries if entry]
    runs = list(comparison["groups"][baseline].values())
    subject = f"on {runs[0]['probes']} boxes of {data['name']}/{data['split']}: mean IoU after refinement"
    if not compared:
        return f"{baseline} {subject} {fmean(run[MEAN.key] for run in runs):.4f}; nothing to compare with."
    best, entry = compared[0]
    over = f"over {entry['n']} paired seeds and" if entry["n"] > 1 else "over"
    numbers = f"{MEAN.format(entry['mean'], signed=True)} (95% {over} images {interval(entry, MEAN)})"
    first = f"{best} minus {baseline} {subject} {numbers}, {verdict(entry)[0]}."
    if len(compared) == 1:
        return first
    verdicts = [entry["verdict"] for _, entry in compared]
    counts = {"better": verdicts.count(BETTER), "worse": verdicts.count(WORSE)}
    counts["not known to be either"] = len(verdicts) - sum(counts.values())
    listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"Of {len(verdicts)} against {baseline}: {listed}. Tightest of them: {first}"


def probe_lines(comparison: dict[str, Any]) -> str:
    """Return the result as two small tables for a terminal."""
    if not comparison.get("groups"):
        return NO_RESULT
    steps = [metric for metric in comparison["metrics"] if metric.startswith("refined_from_")]
    means, curves = [], []
    for name in ranked(comparison):
        runs = list(comparison["groups"][name].values())
        cells = [Cell(f"{fmean(run[metric.key] for run in runs) * factor:.{digits}f}") for metric, factor, digits in
                 zip(REFINED, (1, 100, 100, 100), (4, 2, 2, 2), strict=True)]  # fmt: skip
        means.append(Row(name, [*cells, Cell(_against_baseline(comparison, name))]))
        values = [[run[step] for run in runs if run[step] is not None] for step in steps]
        curves.append(Row(name, [Cell(f"{fmean(value):.3f}" if value else "-") for value in values]))
    tables = (
        Table("means", "", "", ["mean IoU", "> .75", "> .85", "> .9", "minus baseline"], means),
        Table("curves", "", "IoU before", [f".{step[-2:]}-" for step in steps], curves),
    )
    return "\n\n".join([describe_probes(comparison), *map(text_table, tables), probe_sentence(comparison)])


def _against_baseline(comparison: dict[str, Any], name: str) -> str:
    entry = difference(comparison, name, MEAN.key)
    if not entry:
        return "baseline" if name == comparison["baseline"] else ""
    gain = MEAN.format(entry["mean"], signed=True)
    return f"{gain} {interval(entry, MEAN)} {verdict(entry)[0]}"


def render_probe(comparison: dict[str, Any]) -> str:
    """Return the page as one self-contained HTML text."""
    losses = in_order(comparison) if comparison.get("groups") else []
    refit = comparison.get("refit")
    manifest = comparison.get("manifest") or (refit or {}).get("manifest") or {}
    dots = ranking_dots(comparison) if losses else []
    panels = refinement_panels(comparison) if losses else []
    convergence = convergence_panels(comparison.get("cells") or [], losses)
    return render(
        "probe.html.j2",
        version=version(),
        created=manifest.get("started") or time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        losses=losses,
        baseline=comparison.get("baseline"),
        order={name: index for index, name in enumerate(losses)},
        swatch=lambda order: Markup(swatch(order)),
        sentence=probe_sentence(comparison),
        chips=_chips(comparison) if losses else [],
        facts=_facts(comparison, refit),
        refined=refined_table(comparison) if losses else None,
        against=refinement_table(comparison) if losses else None,
        ranking=[(each.title, Markup(draw_dots(each, losses, number=0, width=LARGE[0]))) for each in dots],
        bands=len(losses) <= MAX_BANDS,
        panels=[(panel.title, Markup(draw_panel(panel, losses, size=LARGE))) for panel in panels],
        convergence=[(panel.title, Markup(draw_panel(panel, losses, size=LARGE))) for panel in convergence],
        training=training_table(comparison) if refit else None,
        refit=refit,
        failed=comparison.get("failed") or [],
        runs=comparison.get("runs") or [],
        command=shlex.join(map(str, manifest.get("command") or [])),
        machine=_machine(manifest, refit),
    )


def training_table(comparison: dict[str, Any]) -> Table:
    """Return how long each loss's trainings took, and how far they still moved at the end."""
    rows = []
    for name in in_order(comparison) if comparison.get("groups") else []:
        cells = [cell for cell in comparison["cells"] if cell["loss"] == name]
        numbers = (
            (".1f", fmean(cell["seconds"] for cell in cells)),
            (".4f", fmean(cell["curve"][-1]["test"] for cell in cells)),
            ("+.4f", fmean(_late_gain(cell["curve"]) for cell in cells)),
        )
        texts = [Cell(format(value, form).replace("-", "−"), value=value) for form, value in numbers]
        rows.append(Row(name, texts, name))
    columns = ["seconds", "mean IoU at the end", "change over the last tenth"]
    return Table("trainings", "The trainings", "loss", columns, rows, ["Means over seeds."])


def _late_gain(curve: list[dict[str, Any]]) -> float:
    before = [point["test"] for point in curve if point["step"] <= 0.9 * curve[-1]["step"]]
    return curve[-1]["test"] - before[-1]


def _chips(comparison: dict[str, Any]) -> list[dict[str, str]]:
    chips = []
    for name in ranked(comparison):
        if entry := difference(comparison, name, MEAN.key):
            text, kind = verdict(entry)
            chips.append({"loss": name, "text": text, "kind": kind})
    return chips


def _facts(comparison: dict[str, Any], refit: dict[str, Any] | None) -> list[tuple[str, str]]:
    data = comparison["data"]
    facts = [("Tested on", f"{data['name']}/{data['split']}, {data['images']} images #{data['fingerprint']}")]
    if refit and refit.get("train_boxes"):
        train = comparison["train_data"]
        crops = f"{refit['train_boxes']} crops of {refit['train_images']} images"
        facts += [
            ("Trained on", f"{train['name']}/{train['split']}, {crops}"),
            ("Trunk", f"{refit['detector']}, trained with {refit['run_loss']} to step {refit['run_step']}"),
            ("Each training", f"{refit['steps']} steps of {refit['batch']} boxes, depth {refit['depth']}"),
        ]
    seeds = sorted({int(seed) for runs in (comparison.get("groups") or {}).values() for seed in runs})
    return [*facts, ("Seeds", ", ".join(map(str, seeds)))]


def _machine(manifest: dict[str, Any], refit: dict[str, Any] | None) -> list[tuple[str, str]]:
    rows = [(f"version of {name}", str(value)) for name, value in (manifest.get("versions") or {}).items()]
    rows += [(key, str(manifest[key])) for key in ("platform", "processor", "cores") if manifest.get(key)]
    names = {"crops_mb": "memory of the crops, MB", "crops_seconds": "seconds to compute the crops"}
    for key in ("device", "precision", "threads", *names):
        if refit and refit.get(key) is not None:
            value = refit[key]
            rows.append((names.get(key, key), f"{value:.0f}" if isinstance(value, float) else str(value)))
    return rows
