"""The page of `smoothiou probe`: which second stage, or which loss, puts slightly wrong boxes right best."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from smoothiou.files import write_json, write_text
from smoothiou.manifest import version
from smoothiou.report.figures import draw_dots, draw_panel, swatch
from smoothiou.report.page import render
from smoothiou.report.refinement import (
    BANDS,
    MEAN,
    REFINED,
    convergence_panels,
    difference,
    in_order,
    probe_words,
    ranked,
    ranking_dots,
    refined_table,
    refinement_panels,
    refinement_table,
    verdict,
)
from smoothiou.report.series import Panel
from smoothiou.report.study_page import LARGE
from smoothiou.report.table import Cell, Row, Table
from smoothiou.study.stats import BETTER, WORSE


def write_probe(found: dict[str, Any], out: str | Path) -> Path:
    """Write probe.json and probe.html into a folder, and return the page's path.

    Args:
        found: what `experiment.probe_runs` or `experiment.refit.refit` gives.
        out: the folder.
    """
    write_json(Path(out) / "probe.json", found)
    write_text(Path(out) / "probe.html", render_probe(found))
    return Path(out) / "probe.html"


def probe_sentence(found: dict[str, Any]) -> str:
    """Return the result with its uncertainty."""
    if not found.get("groups"):
        return "No result yet: no training has finished."
    baseline, data = found["baseline"], found["data"]
    candidates = [name for name in ranked(found) if difference(found, name, MEAN.key)]
    boxes = next(iter(next(iter(found["groups"].values())).values()))["probes"]
    place = f"on {boxes} boxes of {data['name']}/{data['split']}"
    if not candidates:
        values = [run[MEAN.key] for run in found["groups"][baseline].values()]
        return (
            f"{baseline} {place}: mean IoU after refinement {sum(values) / len(values):.4f}; nothing to compare with."
        )
    best = candidates[0]
    entry: Any = difference(found, best, MEAN.key)
    words, _ = verdict(entry)
    parts = [f"over images {MEAN.interval(entry['images'])}"]
    if entry["n"] > 1:
        parts.insert(0, f"over {entry['n']} paired seeds {MEAN.interval(entry)}")
    lead = f"{best} minus {baseline} {place}: mean IoU after refinement {MEAN.format(entry['mean'], signed=True)}"
    first = f"{lead} (95% {', '.join(parts)}), {words}."
    if len(candidates) == 1:
        return first
    verdicts = [entry["verdict"] for name in candidates if (entry := difference(found, name, MEAN.key))]
    counts = [
        (verdicts.count(BETTER), "better"),
        (verdicts.count(WORSE), "worse"),
        (len(verdicts) - verdicts.count(BETTER) - verdicts.count(WORSE), "not distinguishable"),
    ]
    listed = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"Of {len(verdicts)} against {baseline}: {listed}. Tightest of them: {first}"


def probe_lines(found: dict[str, Any]) -> str:
    """Return the result as a small table for a terminal."""
    if not found.get("groups"):
        return probe_sentence(found)
    width = max(len(name) for name in found["groups"]) + 2
    lines = [probe_words(found), "", f"{'':{width}}{'mean IoU':>9}{'> .75':>8}{'> .85':>8}{'> .9':>8}"]
    for name in ranked(found):
        runs = list(found["groups"][name].values())
        means = [sum(run[metric.key] for run in runs) / len(runs) for metric in REFINED]
        text = f"{name:{width}}{means[0]:9.4f}" + "".join(f"{100 * mean:8.2f}" for mean in means[1:])
        entry = difference(found, name, MEAN.key)
        if entry:
            text += f"   {MEAN.format(entry['mean'], signed=True)} images {MEAN.interval(entry['images'])}"
            text += f" seeds {MEAN.interval(entry)}" if entry["n"] > 1 else ""
            text += f" {verdict(entry)[0]}"
        elif name == found["baseline"]:
            text += "   baseline"
        lines.append(text)
    steps = [metric for metric in found["metrics"] if metric.startswith("refined_from_")]
    lines += ["", f"{'IoU before':{width}}" + "".join(f"{'.' + step[-2:] + '-':>7}" for step in steps)]
    for name in ranked(found):
        runs = list(found["groups"][name].values())
        values = [[run[step] for run in runs if run[step] is not None] for step in steps]
        shown = [f"{sum(of) / len(of):7.3f}" if of else f"{'-':>7}" for of in values]
        lines.append(f"{name:{width}}" + "".join(shown))
    return "\n".join([*lines, "", probe_sentence(found)])


def render_probe(found: dict[str, Any]) -> str:
    """Return the page as one self-contained HTML text."""
    losses = in_order(found) if found.get("groups") else []
    refit = found.get("refit")
    manifest = found.get("manifest") or (refit or {}).get("manifest") or {}
    context = {
        "version": version(),
        "created": manifest.get("started") or time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "losses": losses,
        "baseline": found.get("baseline"),
        "order": {name: place for place, name in enumerate(losses)},
        "swatch": _marked(swatch),
        "sentence": probe_sentence(found),
        "chips": _chips(found) if losses else [],
        "facts": _facts(found, refit),
        "refined": refined_table(found) if losses else None,
        "against": refinement_table(found) if losses else None,
        "ranking": [
            (dots.title, Markup(draw_dots(dots, losses, number=0, width=LARGE[0]))) for dots in ranking_dots(found)
        ]
        if losses
        else [],
        "bands": len(losses) <= BANDS,
        "panels": _drawn(refinement_panels(found), losses) if losses else [],
        "convergence": _drawn(convergence_panels(found.get("cells") or [], losses), losses),
        "training": training_table(found) if refit else None,
        "refit": refit,
        "failed": found.get("failed") or [],
        "runs": found.get("runs") or [],
        "data": found["data"],
        "command": shlex.join(map(str, manifest.get("command") or [])),
        "machine": _machine(manifest, refit),
    }
    return render("probe.html.j2", **context)


def training_table(found: dict[str, Any]) -> Table:
    """Return what each loss's trainings took, and how far they still moved at the end."""
    rows = []
    for name in in_order(found) if found.get("groups") else []:
        cells = [cell for cell in found["cells"] if cell["loss"] == name]
        seconds = [cell["seconds"] for cell in cells]
        ends = [cell["curve"][-1]["test"] for cell in cells]
        late = [_late(cell["curve"]) for cell in cells]
        rows.append(
            Row(
                name,
                [
                    Cell(f"{sum(seconds) / len(seconds):.1f}", value=sum(seconds)),
                    Cell(f"{sum(ends) / len(ends):.4f}", value=sum(ends)),
                    Cell(f"{sum(late) / len(late):+.4f}".replace("-", "−"), value=sum(late)),
                ],
                name,
            )
        )
    columns = ["seconds", "mean IoU at the end", "change over the last tenth"]
    return Table("trainings", "The trainings", "loss", columns, rows, ["Means over seeds."])


def _late(curve: list[dict[str, Any]]) -> float:
    last = curve[-1]["step"]
    before = [point["test"] for point in curve if point["step"] <= 0.9 * last]
    return curve[-1]["test"] - before[-1]


def _chips(found: dict[str, Any]) -> list[dict[str, Any]]:
    chips = []
    for name in ranked(found):
        entry = difference(found, name, MEAN.key)
        if entry:
            words, kind = verdict(entry)
            chips.append({"loss": name, "words": words, "kind": kind})
    return chips


def _facts(found: dict[str, Any], refit: dict[str, Any] | None) -> list[tuple[str, str]]:
    data = found["data"]
    facts = [("Tested on", f"{data['name']}/{data['split']}, {data['images']} images #{data['fingerprint']}")]
    if refit and refit.get("train_boxes"):
        train = found["train_data"]
        facts += [
            (
                "Learnt from",
                f"{train['name']}/{train['split']}, {refit['train_boxes']} crops of {refit['train_images']} images",
            ),
            ("Trunk", f"{refit['detector']}, trained with {refit['run_loss']} to step {refit['run_step']}"),
            ("Each training", f"{refit['steps']} steps of {refit['batch']} boxes, depth {refit['depth']}"),
        ]  # fmt: skip
    seeds = sorted({int(seed) for runs in (found.get("groups") or {}).values() for seed in runs})
    return [*facts, ("Seeds", ", ".join(map(str, seeds)))]


def _machine(manifest: dict[str, Any], refit: dict[str, Any] | None) -> list[tuple[str, str]]:
    rows = [(f"version of {name}", str(value)) for name, value in (manifest.get("versions") or {}).items()]
    rows += [(key, str(manifest[key])) for key in ("platform", "processor", "cores") if manifest.get(key)]
    for key, name in (
        ("device", "device"), ("precision", "precision"), ("threads", "threads"),
        ("crops_mb", "memory of the crops, MB"), ("crops_seconds", "seconds to compute the crops"),
    ):  # fmt: skip
        if refit and refit.get(key) is not None:
            value = refit[key]
            rows.append((name, f"{value:.0f}" if isinstance(value, float) else str(value)))
    return rows


def _marked(draw: Callable[[int], str]) -> Callable[[int], Markup]:
    return lambda order: Markup(draw(order))


def _drawn(panels: list[Panel], losses: list[str]) -> list[tuple[str, Markup]]:
    return [(panel.title, Markup(draw_panel(panel, losses, size=LARGE))) for panel in panels]
