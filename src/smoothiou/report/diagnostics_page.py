"""The page of a detector's mistakes: confusions, curves, calibration, worst images, doubtful labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from smoothiou.files import finite, write_json, write_text
from smoothiou.manifest import version
from smoothiou.report.confusion import confusion_table
from smoothiou.report.figures import draw_panel, swatch
from smoothiou.report.page import render
from smoothiou.report.series import Line, Panel
from smoothiou.report.svg import PALETTE_SIZE

SIZE = (460, 300)
"""Width and height of a figure in CSS pixels."""
ERRORS = {
    "Loc": ("placed badly", "right class, IoU 0.1 to 0.5"),
    "Cls": ("wrong class", "IoU 0.5 and more"),
    "Both": ("wrong class and placed badly", "IoU 0.1 to 0.5"),
    "Dupe": ("found twice", "a better detection has the object"),
    "Bkg": ("background", "nothing there: IoU below 0.1"),
    "Miss": ("missed", "no detection has the object"),
}
LISTED = 100
"""Rows of the list of doubtful labels; diagnostics.json has all."""


def write_diagnostics(diagnostics: Mapping[str, Any], result: Mapping[str, Any], page: Path) -> None:
    """Write the page, and beside it the numbers as JSON.

    Args:
        diagnostics: as from `engine.diagnose.diagnose_run`.
        result: of the run, as in result.json.
        page: its path.
    """
    write_json(page.with_suffix(".json"), {key: value for key, value in diagnostics.items() if key != "pictures"})
    write_text(page, render_diagnostics(finite(diagnostics), result))


def render_diagnostics(diagnostics: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Return the page as one self-contained HTML text."""
    classes, matrix, errors = diagnostics["classes"], diagnostics["confusion"], diagnostics["errors"]
    ranked = sorted(classes, key=lambda name: -sum(matrix[classes.index(name)]))
    drawn = ranked[:PALETTE_SIZE]
    chosen_on = diagnostics["best_scores"]["chosen_on"]
    how = chosen_on if chosen_on.startswith("cross-fitted") else f"chosen on {chosen_on}"
    return render(
        "diagnostics.html.j2",
        version=version(),
        title=f"{diagnostics['data']}: diagnostics",
        sentence=_sentence(diagnostics, result),
        facts=[
            ("Run", result["run"]),
            ("Measured on", f"{diagnostics['data']}, {len(diagnostics['images'])} images"),
            ("AP / AP50", f"{_percent(result['metrics'].get('AP'))} / {_percent(result['metrics'].get('AP50'))}"),
            ("Best scores", how),
        ],
        drawn=[(name, Markup(swatch(order))) for order, name in enumerate(drawn)],
        left_out=len(classes) - len(drawn),
        how=how,
        scores=_scores(diagnostics["best_scores"]["per_class"]),
        confusion=confusion_table("Boxes of each class (rows) and what was detected there", classes, matrix),
        curves=[(panel.title, Markup(draw_panel(panel, drawn, size=SIZE))) for panel in _curves(diagnostics, drawn)],
        calibration=[
            (panel.title, Markup(draw_panel(panel, ["detections", "exact"], size=SIZE)))
            for panel in _calibration(diagnostics)
        ],
        ece=_percent(diagnostics["calibration"]["ece"]),
        errors=[
            (name, meaning, f"{errors['counts'].get(key, 0):,}", _percent(errors["gains"].get(key)))
            for key, (name, meaning) in ERRORS.items()
        ],
        pictures=diagnostics["pictures"],
        labels=diagnostics["labels"][:LISTED],
        more_labels=max(len(diagnostics["labels"]) - LISTED, 0),
    )  # fmt: skip


def _sentence(diagnostics: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    gains = {name: diagnostics["errors"]["gains"].get(key) or 0.0 for key, (name, _) in ERRORS.items()}
    worst = max(gains, key=gains.__getitem__)
    ap50 = _percent(result["metrics"].get("AP50"))
    if not gains[worst]:
        return f"AP50 {ap50}; no kind of error costs any of it."
    return f"AP50 {ap50}. What costs most: objects {_as_phrase(worst)}, {_percent(gains[worst])} points of it."


def _as_phrase(name: str) -> str:
    return {
        "wrong class": "of the wrong class",
        "background": "seen where there are none",
        "wrong class and placed badly": "of the wrong class and placed badly",
    }.get(name, name)


def _scores(per_class: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    return [
        [name, number(entry["score"]), *(number(entry[key]) for key in ("precision", "recall", "f1"))]
        for name, entry in per_class.items()
    ]


def _curves(diagnostics: Mapping[str, Any], drawn: Sequence[str]) -> list[Panel]:
    curves = diagnostics["curves"]
    lines = {name: curves[name] for name in drawn if curves[name]["score"]}
    if not lines:
        return []
    return [
        Panel(
            key="precision", title="Precision against recall (IoU 0.5)", x_label="recall", y_label="precision",
            lines=[_line(name, curve["recall"], curve["precision"]) for name, curve in lines.items()],
        ),
        Panel(
            key="f1", title="F1 of the detections of a score or more", x_label="score", y_label="F1",
            lines=[_line(name, curve["score"][::-1], curve["f1"][::-1]) for name, curve in lines.items()],
        ),
    ]  # fmt: skip


def _calibration(diagnostics: Mapping[str, Any]) -> list[Panel]:
    bins = diagnostics["calibration"]["bins"]
    if not bins:
        return []
    lines = [
        _line("detections", [b["score"] for b in bins], [b["right"] for b in bins]),
        _line("exact", [0, 1], [0, 1]),
    ]
    title = "Share of detections that are right, by score"
    return [Panel(key="calibration", title=title, x_label="score", y_label="share right", lines=lines, markers=True)]


def _line(name: str, x: Sequence[float], y: Sequence[float]) -> Line:
    return Line(loss=name, x=list(x), mean=list(y), low=list(y), high=list(y), seeds=1)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
