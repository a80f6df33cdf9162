"""The figures of a study as files for a paper: SVG and PDF, each with a legend of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from smoothiou.files import write_bytes, write_text
from smoothiou.report.figures import describe_dots, describe_panel, dots_figure, panel_figure
from smoothiou.report.loaded_study import LoadedStudy, load_study
from smoothiou.report.picture import drawing_alone, pdf_file, svg_file
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

SIZE = (400, 290)
"""Width and height of a panel, in points."""


def write_figures(study_folder: str | Path, out: str | Path) -> list[Path]:
    """Write every figure of a study's page as SVG and as PDF.

    Args:
        study_folder: folder that holds plan.json and cells/.
        out: folder for the files.

    Returns:
        The paths of the files.

    Raises:
        SmoothIoUError: the folder holds no readable plan, or a file cannot be written.
    """
    study, written = load_study(study_folder), []
    for name, drawn in _named(study):
        with drawing_alone(name):
            figure, description = _draw(drawn, study.losses)
            files = [Path(out) / f"{name}.{ending}" for ending in ("svg", "pdf")]
            write_text(files[0], svg_file(figure, name, title=drawn.title, description=description))
            write_bytes(files[1], pdf_file(figure, title=drawn.title))
        written += files
    return written


def _named(study: LoadedStudy) -> Iterator[tuple[str, Panel | Dots]]:
    """Yield every figure with a name for its file; of several candidates each has its number."""
    panels = [*ap_panels(study), *precision_panels(study), *training_panels(study), *histogram_panels(study)]
    panels += refinement_panels(study.probe) if study.probe else []
    several = len(study.candidates) > 1
    for dots in first_differences(study):
        yield dots.key, dots
    for dots in (*forest(study), *class_differences(study)):
        number = f"-{study.candidates.index(dots.candidate) + 1}" if several else ""
        yield f"{_plain(dots.key)}{number}", dots
    for panel in panels:
        yield _plain(panel.key), panel


def _plain(key: str) -> str:
    return key.replace("_", "-").lower()


def _draw(drawn: Panel | Dots, losses: list[str]) -> tuple[Figure, str]:
    if isinstance(drawn, Dots):
        return dots_figure(drawn, losses, width=SIZE[0]), describe_dots(drawn, losses[0])
    return panel_figure(drawn, losses, size=SIZE, legend=True), describe_panel(drawn)
