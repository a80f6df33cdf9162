"""The page: everything of a report in one HTML file that loads nothing and reads without a script."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from smoothiou.files import is_inside, real_folder
from smoothiou.report import tables
from smoothiou.report.cells import verdict_words
from smoothiou.report.figures import draw_dots, draw_panel, swatch
from smoothiou.report.material import METRICS, Material, full_name
from smoothiou.report.page import render
from smoothiou.report.provenance import differing_settings, failures, rate_sentence, surroundings
from smoothiou.report.refinement import describe_probes, refinement_panels, refinement_table
from smoothiou.report.series import (
    Dots,
    Panel,
    ap_panels,
    class_differences,
    forest,
    histogram_panels,
    training_panels,
)
from smoothiou.report.training_curves import window
from smoothiou.report.weights import weights_sentence, weights_table

SMALL, LARGE = (340, 210), (460, 300)
CLASSES_SHOWN = 40
LABELS_SHOWN = 12
HEADLINES = ("AP", "AP75", "mean_iou", "refined_mean_iou")


def render_html(material: Material) -> str:
    """Return the page of a study as one self-contained HTML text, the same bytes for the same files."""
    losses = material.losses
    classes = [_widest(dots) for dots in class_differences(material)]
    context = {
        "material": material,
        "plan": material.plan,
        "losses": losses,
        "order": {loss: place for place, loss in enumerate(losses)},
        "swatch": _marked(swatch),
        "sentences": _sentences(material),
        "verdicts": _verdicts(material),
        "facts": _facts(material),
        "localization": tables.localization_table(material),
        "refinement": _drawn(refinement_panels(material.probe), losses, SMALL) if material.probe else [],
        "refinement_words": describe_probes(material.probe) if material.probe else "",
        "refinement_table": refinement_table(material.probe),
        "detection": tables.detection_table(material),
        "seeds_table": tables.seeds_table(material),
        "images_table": tables.images_table(material),
        "errors": tables.errors_table(material),
        "cost": tables.cost_table(material),
        "runs": tables.runs_table(material),
        "data": tables.data_table(material),
        "forests": [
            (dots.title, Markup(draw_dots(dots, losses, number=place, width=LARGE[0])))
            for place, dots in enumerate(forest(material))
        ],
        "ap_panels": _drawn(ap_panels(material), losses, LARGE),
        "training": _drawn(training_panels(material), losses, SMALL),
        "smoothing": _smoothing(material),
        "histograms": _drawn(histogram_panels(material), losses, SMALL),
        "classes": [
            (dots.title, Markup(draw_dots(dots, losses, number=place, width=LARGE[0])))
            for place, dots in enumerate(classes)
        ],
        "classes_left_out": max((len(material.plan.get("classes") or []) - CLASSES_SHOWN, 0)),
        "classes_shown": CLASSES_SHOWN,
        "gallery": [_picture(material, picture) for picture in material.gallery],
        "labels_shown": LABELS_SHOWN,
        "failures": failures(material),
        "rates": rate_sentence(material),
        "weights": weights_table(material),
        "weights_sentence": weights_sentence(material),
        "signatures": _signatures(material),
        "run_signatures": [(cell["id"], cell["result"]["signature"]) for cell in material.finished],
        "differing": differing_settings(material),
        "surroundings": surroundings(material),
        "command": shlex.join(map(str, material.plan.get("command") or [])),
    }
    return render("report.html.j2", **context)


def _marked(draw: Callable[[int], str]) -> Callable[[int], Markup]:
    return lambda order: Markup(draw(order))


def _drawn(panels: list[Panel], losses: list[str], size: tuple[float, float]) -> list[tuple[str, Markup]]:
    return [(panel.title, Markup(draw_panel(panel, losses, size=size))) for panel in panels]


def _sentences(material: Material) -> list[str]:
    """Return the sentence of result, one line per candidate."""
    text = material.summary["sentence"]
    for candidate in material.candidates:
        start = f" {candidate} minus {material.baseline} "
        text = text.replace(start, f"\n{start.lstrip()}")
    return text.splitlines()


def _widest(dots: Dots) -> Dots:
    """Keep the classes that differ most when there are too many to draw; results.csv has all."""
    kept = {row.key for row in sorted(dots.rows, key=lambda row: -abs(row.mean))[:CLASSES_SHOWN]}
    return replace(dots, rows=[row for row in dots.rows if row.key in kept])


def _verdicts(material: Material) -> list[tuple[str, list[dict[str, str]]]]:
    """Return, per candidate, the plain verdict on each headline metric."""
    verdicts = []
    for candidate in material.candidates:
        entries = [entry for key in HEADLINES if (entry := material.difference(candidate, key))]
        if entries and max(entry["n"] for entry in entries) == 1:
            verdicts.append((candidate, [{"metric": "", "words": "one seed proves nothing", "kind": "unknown"}]))
            continue
        reasons = {entry["reason"] for entry in entries}
        if len(reasons) == 1 and "" not in reasons:  # one reason that nothing is decided needs saying once
            verdicts.append((candidate, [{"metric": "", "words": reasons.pop(), "kind": "unknown"}]))
            continue
        chips = []
        for entry in entries:
            words, kind = verdict_words(entry)
            chips.append({"metric": full_name(METRICS[entry["metric"]]), "words": words, "kind": kind})
        verdicts.append((candidate, chips))
    return verdicts


def _signatures(material: Material) -> list[tuple[str, str]]:
    """Return (name, signature) of every metric in the tables."""
    signatures = material.summary["signatures"]
    return [(full_name(metric), signatures[key]) for key, metric in METRICS.items() if key in signatures]


def _facts(material: Material) -> list[tuple[str, str]]:
    settings, data = material.plan.get("settings") or {}, material.plan.get("data") or {}
    facts = []
    for role, name in (("train", "Learnt from"), ("test", "Tested on")):
        split = data.get(role)
        if split:
            counts = split.get("counts") or {}
            facts.append((name, f"{split['name']}/{split['split']}, {counts.get('images', '?')} images"))
    facts.append(("Detector", f"{settings.get('model.name', '?')}, weights: {settings.get('model.weights', '?')}"))
    facts.append(
        (
            "Training",
            f"{settings.get('train.steps', '?')} steps of {settings.get('train.batch_size', '?')} images",
        )
    )
    facts.append(("Loss weights", "calibrated" if material.plan.get("weights") else "not calibrated"))
    facts.append(("Seeds", ", ".join(map(str, material.seeds))))
    facts.append(("Runs", f"{len(material.finished)} of {len(material.summary['cells'])} finished"))
    return facts


def _smoothing(material: Material) -> str:
    """Return what was done to the training curves, in words."""
    counts = [len(columns["loss"]) for columns in material.curves.values() if "loss" in columns]
    width = window(max(counts, default=0))
    if width == 1:
        return "Curves are not smoothed."
    return (
        f"Losses, λ and IoU are moving averages over {width} logged points; "
        "validation and learning rate are as measured."
    )


def _picture(material: Material, picture: dict[str, Any]) -> dict[str, Any]:
    """Return a gallery image with its pixels as a data URI and its panels in the order of the losses."""
    path = material.folder / str(picture["image"])
    # A study folder may come from a stranger, and the page shows what it names.
    shown = path.is_file() and is_inside(path, (real_folder(material.folder),))
    data = base64.b64encode(path.read_bytes()).decode() if shown else ""
    means = picture.get("mean_iou") or {}
    base = means.get(material.baseline)
    panels = []
    for loss in material.losses:
        if loss in picture["panels"]:
            mean = means.get(loss)
            gain = mean - base if mean is not None and base is not None and loss != material.baseline else None
            panels.append({"loss": loss, "boxes": picture["panels"][loss], "mean": mean, "gain": gain})
    return {**picture, "data": data, "panels": panels}
