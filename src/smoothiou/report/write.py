"""From a study folder to its report: a page, Markdown, LaTeX tables, and every number as CSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smoothiou.files import write_json, write_text
from smoothiou.manifest import SCHEMA_VERSION
from smoothiou.report import tables
from smoothiou.report.cells import Table, verdict_words
from smoothiou.report.html import HEADLINES, render_html
from smoothiou.report.markup import latex_table, markdown, markdown_table
from smoothiou.report.material import METRICS, Material, full_name, read_material
from smoothiou.report.numbers import results_csv
from smoothiou.report.provenance import differing_settings, failures, rate_sentence, surroundings
from smoothiou.report.refinement import refinement_table
from smoothiou.report.weights import weights_sentence, weights_table


def write_report(study_folder: str | Path, *, out: str | Path | None = None) -> list[Path]:
    """Draw the report of a study, finished or not, from its result files alone.

    Equal files give equal bytes. No training, no detector and no network is involved.

    Args:
        study_folder: folder that holds plan.json and cells/.
        out: folder for the report; the study folder itself when None.

    Returns:
        The paths of report.html, report.md, tables.tex, results.csv and results.json.

    Raises:
        SmoothIoUError: the folder holds no readable plan, or the report cannot be written.
    """
    material = read_material(study_folder)
    out = Path(study_folder if out is None else out)
    contents = {
        "report.html": render_html(material),
        "report.md": report_markdown(material),
        "tables.tex": report_latex(material),
        "results.csv": results_csv(material),
    }
    for name, content in contents.items():
        write_text(out / name, content)
    write_json(out / "results.json", report_json(material))
    return [out / name for name in (*contents, "results.json")]


def all_tables(material: Material) -> list[Table]:
    """Return the tables of the report in their order, without those that have no rows."""
    found = [
        tables.localization_table(material),
        refinement_table(material.probe),
        tables.detection_table(material),
        tables.seeds_table(material),
        tables.images_table(material),
        tables.errors_table(material),
        tables.cost_table(material),
        weights_table(material),
        tables.runs_table(material),
        tables.data_table(material),
    ]
    return [table for table in found if table.rows]


def report_markdown(material: Material) -> str:
    """Return the report without its figures as Markdown."""
    lines = [f"# {markdown(' · '.join(material.losses))}", "", markdown(material.summary["sentence"]), ""]
    for candidate in material.candidates:
        for key in HEADLINES:
            entry = material.difference(candidate, key)
            if entry:
                name, words = full_name(METRICS[key]), verdict_words(entry)[0]
                lines.append(f"- {markdown(candidate)}, {markdown(name)}: {words}")
    lost = failures(material)
    if lost:
        lines += ["", f"**{len(lost)} of {len(material.summary['cells'])} runs without a result:**", ""]
        lines += [f"- {markdown(run['id'])} ({run['status']}): {markdown(run['error'])}" for run in lost]
    for table in all_tables(material):
        lines += ["", markdown_table(table).rstrip("\n")]
    lines += ["", markdown(rate_sentence(material)), ""]
    if not weights_table(material).rows:
        lines += [markdown(weights_sentence(material)), ""]
    lines += [
        f"- differs between runs: {markdown(key)}: {markdown(str(values))}"
        for key, values in differing_settings(material)
    ]
    lines += [f"- {markdown(signature)}" for signature in material.summary["signatures"].values()]
    lines += [f"- {markdown(note)}" for note in material.summary["notes"]]
    lines += [f"- {markdown(name)}: {markdown(value)}" for name, value, _ in surroundings(material)]
    return "\n".join(lines) + "\n"


def report_latex(material: Material) -> str:
    r"""Return the tables as LaTeX, to be read with `\input` in a document that loads booktabs."""
    head = "% Needs \\usepackage{booktabs} and an UTF-8 engine. " + json.dumps(material.summary["sentence"])
    return "\n".join([head, *(latex_table(table) for table in all_tables(material))])


def report_json(material: Material) -> dict[str, Any]:
    """Return what the report says, for programs: the collected study, and what the page adds to it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "smoothiou": material.plan.get("smoothiou"),
        **material.summary,
        "failed": failures(material),
        "learning_rates": rate_sentence(material),
        "weights": weights_sentence(material),
        "calibration": material.calibration,
        "surroundings": {name: value for name, value, _ in surroundings(material)},
    }
