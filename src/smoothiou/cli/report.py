"""`smoothiou report`: draw a study's report again, from its files, without torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from smoothiou.cli.options import Json


def report(
    study: Path,
    *,
    out: Annotated[Path | None, Parameter(help="Write to this folder instead of the study's.")] = None,
    figures: Annotated[Path | None, Parameter(help="Also write each figure as SVG and PDF to this folder.")] = None,
    json_: Json = False,
) -> None:
    """Write report.html, report.md, tables.tex, results.csv and results.json of a study.

    Examples:
        smoothiou report STUDY
        smoothiou report STUDY --figures FIGURES

    Args:
        study: folder that `smoothiou compare` has written.
    """
    from smoothiou.report.advice import next_steps
    from smoothiou.report.loaded_study import load_study
    from smoothiou.report.write import write_report

    written = write_report(study, out=out)
    if figures:
        from smoothiou.report.figure_files import write_figures

        written += write_figures(study, figures)
    loaded = load_study(study)
    summary = loaded.summary
    print(summary["headline"]["text"], *next_steps(loaded), summary["sentence"], sep="\n", file=sys.stderr)
    if json_:
        print(json.dumps({"written": [str(path) for path in written]}))
    else:
        print(next(path for path in written if path.suffix == ".html"))
