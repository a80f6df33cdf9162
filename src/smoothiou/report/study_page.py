"""The page of a study: one HTML file that loads nothing and reads without a script."""

from __future__ import annotations

import base64
import shlex
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from smoothiou.files import is_inside, real_folder
from smoothiou.report.advice import best_run, next_steps
from smoothiou.report.confusion import confusion_table
from smoothiou.report.figures import draw_dots, draw_panel, swatch
from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.report.metric import METRICS, conclusion_words
from smoothiou.report.page import render
from smoothiou.report.provenance import differing_settings, failures, machines, rate_sentence, weights_sentence
from smoothiou.report.refinement_tables import refinement_panels
from smoothiou.report.series import (
    Dots,
    Panel,
    ap_panels,
    class_differences,
    first_differences,
    forest,
    histogram_panels,
    precision_panels,
    training_panels,
)
from smoothiou.report.tables import all_tables
from smoothiou.report.training_curves import window
from smoothiou.words import counted

SMALL, LARGE = (340, 210), (460, 300)
"""Width and height of a figure in CSS pixels."""
CLASSES_SHOWN = 40
LABELS_SHOWN = 12
HEADLINES = ("AP", "AP75", "refined_mean_iou")


def render_study(study: LoadedStudy) -> str:
    """Return the page as one self-contained HTML text, the same bytes for the same files."""
    losses, probe = study.losses, study.probe
    return render(
        "report.html.j2",
        study=study,
        plan=study.plan,
        losses=losses,
        order={loss: number for number, loss in enumerate(losses)},
        swatch=lambda order: Markup(swatch(order)),
        headline=study.summary["headline"],
        picture=_dots(first_differences(study), losses),
        steps=next_steps(study),
        best=best_run(study),
        sentences=_sentences(study),
        verdicts={candidate: _verdicts(study, candidate) for candidate in study.candidates},
        facts=_facts(study),
        tables=all_tables(study),
        refinement=_panels(refinement_panels(probe), losses, SMALL) if probe else [],
        forests=_dots(forest(study), losses),
        ap_panels=_panels(ap_panels(study), losses, LARGE),
        precision=_panels(precision_panels(study), losses, LARGE),
        confusions=[
            confusion_table(loss, study.plan.get("classes") or [], matrix)
            for loss, matrix in (study.summary.get("confusions") or {}).items()
        ],
        training=_panels(training_panels(study), losses, SMALL),
        smoothing=_smoothing(study),
        histograms=_panels(histogram_panels(study), losses, SMALL),
        classes=_dots([_largest(dots) for dots in class_differences(study)], losses),
        classes_left_out=max(len(study.plan.get("classes") or []) - CLASSES_SHOWN, 0),
        classes_shown=CLASSES_SHOWN,
        gallery=[_picture(study, picture) for picture in study.gallery],
        labels_shown=LABELS_SHOWN,
        failures=failures(study),
        rates=rate_sentence(study),
        weights_sentence=weights_sentence(study),
        signatures=[(m.full_name, s) for k, m in METRICS.items() if (s := study.summary["signatures"].get(k))],
        differing=differing_settings(study),
        machines=machines(study),
        command=shlex.join(map(str, study.plan.get("command") or [])),
    )


def _panels(panels: list[Panel], losses: list[str], size: tuple[float, float]) -> list[tuple[str, Markup]]:
    return [(panel.title, Markup(draw_panel(panel, losses, size=size))) for panel in panels]


def _dots(groups: list[Dots], losses: list[str]) -> list[tuple[str, Markup]]:
    drawn = (draw_dots(dots, losses, number=number, width=LARGE[0]) for number, dots in enumerate(groups))
    return [(dots.title, Markup(svg)) for dots, svg in zip(groups, drawn, strict=True)]


def _largest(dots: Dots) -> Dots:
    """Keep the classes that differ most when there are too many to draw; results.csv has all."""
    kept = {row.key for row in sorted(dots.rows, key=lambda row: -abs(row.mean))[:CLASSES_SHOWN]}
    return replace(dots, rows=[row for row in dots.rows if row.key in kept])


def _sentences(study: LoadedStudy) -> list[str]:
    """Return the study's sentence, one line per candidate."""
    text = study.summary["sentence"]
    for candidate in study.candidates:
        start = f"{candidate} minus {study.baseline} "
        text = text.replace(f" {start}", f"\n{start}")
    return text.splitlines()


def _verdicts(study: LoadedStudy, candidate: str) -> list[dict[str, str]]:
    """Return the conclusion on each headline metric; what holds for all of them once."""
    entries = [entry for key in HEADLINES if (entry := study.difference(candidate, key))]
    reasons = {entry["reason"] for entry in entries}
    if entries and max(entry["n"] for entry in entries) == 1:
        return [{"metric": "", "words": "one seed proves nothing", "kind": "unknown"}]
    if len(reasons) == 1 and "" not in reasons:
        return [{"metric": "", "words": reasons.pop(), "kind": "unknown"}]
    verdicts = [(METRICS[entry["metric"]].full_name, *conclusion_words(entry)) for entry in entries]
    return [{"metric": metric, "words": words, "kind": kind} for metric, words, kind in verdicts]


def _facts(study: LoadedStudy) -> list[tuple[str, Any]]:
    """Return the study's size and settings, as name and value."""
    data = study.plan.get("data") or {}
    settings: dict[str, Any] = dict.fromkeys(("model.name", "model.weights", "train.steps", "train.batch_size"), "?")
    settings |= study.plan.get("settings") or {}
    splits = [
        (name, f"{split['name']}/{split['split']}, {(split.get('counts') or {}).get('images', '?')} images")
        for role, name in (("train", "Trained on"), ("test", "Tested on"))
        if (split := data.get(role))
    ]
    tuned, freeze = study.plan.get("tuned"), settings.get("model.freeze", "auto")
    frozen = "" if freeze == "auto" else f", frozen: {freeze}"
    if study.plan.get("cuts"):
        splits.insert(1, ("Cut", "train and val anew by each seed"))
    return [
        *splits,
        ("Detector", f"{settings['model.name']}, weights: {settings['model.weights']}{frozen}"),
        ("Training", f"{settings['train.steps']} steps of {counted(settings['train.batch_size'], 'image')}"),
        ("Loss weights", "calibrated" if study.plan.get("weights") else "tuned" if tuned else "not calibrated"),
        ("Seeds", ", ".join(map(str, study.seeds))),
        ("Runs", f"{len(study.finished)} of {len(study.summary['cells'])} finished"),
    ]


def _smoothing(study: LoadedStudy) -> str:
    """Return what was done to the training curves."""
    width = window(max((len(columns["loss"]) for columns in study.curves.values() if "loss" in columns), default=0))
    if width == 1:
        return "Curves are not smoothed."
    return (
        f"Losses, λ and IoU are moving averages over {width} logged points; "
        "validation and learning rate are as measured."
    )


def _picture(study: LoadedStudy, picture: dict[str, Any]) -> dict[str, Any]:
    """Return a gallery image with its pixels in base64 and its panels in the order of the losses."""
    path = study.folder / str(picture["image"])
    # A study folder may come from a stranger, and the page shows what it names.
    allowed = path.is_file() and is_inside(path, (real_folder(study.folder),))
    means = picture.get("mean_iou") or {}
    base = means.get(study.baseline)
    panels = []
    for loss in study.losses:
        if loss in picture["panels"]:
            mean = means.get(loss)
            gain = mean - base if mean is not None and base is not None and loss != study.baseline else None
            panels.append({"loss": loss, "boxes": picture["panels"][loss], "mean": mean, "gain": gain})
    return {**picture, "data": base64.b64encode(path.read_bytes()).decode() if allowed else "", "panels": panels}
