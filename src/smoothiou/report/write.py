"""From a study folder to its report: a page, Markdown, LaTeX tables, and every number as CSV and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smoothiou.files import write_json, write_text
from smoothiou.manifest import SCHEMA_VERSION
from smoothiou.report.advice import best_run, next_steps
from smoothiou.report.loaded_study import LoadedStudy, load_study
from smoothiou.report.metric import METRICS, conclusion_words
from smoothiou.report.provenance import differing_settings, failures, machines, rate_sentence, weights_sentence
from smoothiou.report.results_csv import results_csv
from smoothiou.report.study_page import HEADLINES, render_study
from smoothiou.report.table import Table, markdown
from smoothiou.report.tables import all_tables, result_table


def write_report(study_folder: str | Path, *, out: str | Path | None = None) -> list[Path]:
    """Write the report of a study, finished or not, from its result files alone.

    Equal files give equal bytes. No training, no detector and no network is involved.

    Args:
        study_folder: folder that holds plan.json and cells/.
        out: folder for the report; the study folder itself when None.

    Returns:
        The paths of report.html, report.md, tables.tex, results.csv and results.json.

    Raises:
        SmoothIoUError: the folder holds no readable plan, or the report cannot be written.
    """
    study = load_study(study_folder)
    out = Path(study_folder if out is None else out)
    tables = [table for table in all_tables(study).values() if table.rows]
    contents = {
        "report.html": render_study(study),
        "report.md": report_markdown(study, tables),
        "tables.tex": report_latex(study, tables),
        "results.csv": results_csv(study),
    }
    for name, content in contents.items():
        write_text(out / name, content)
    write_json(out / "results.json", report_json(study))
    return [out / name for name in (*contents, "results.json")]


def report_markdown(study: LoadedStudy, tables: list[Table]) -> str:
    """Return the report without its figures as Markdown."""
    lines = [f"# {markdown(' · '.join(study.losses))}", "", f"**{markdown(study.summary['headline']['text'])}**", ""]
    if best := best_run(study):
        use = f"Use it: `{best['command']}`" if best["command"] else "Its weights are not here."
        lines += [f"- Best run: {markdown(best['id'])}, AP {best['ap']}. {use}"]
    lines += [*(f"- {markdown(step)}" for step in next_steps(study)), "", markdown(study.summary["sentence"]), ""]
    for candidate in study.candidates:
        for key in HEADLINES:
            if entry := study.difference(candidate, key):
                name, conclusion = f"{candidate}, {METRICS[key].full_name}", conclusion_words(entry)[0]
                lines.append(f"- {markdown(name)}: {markdown(conclusion)}")
    if lost := failures(study):
        lines += ["", f"**{len(lost)} of {len(study.summary['cells'])} runs without a result:**", ""]
        lines += [f"- {markdown(run['id'])} ({run['status']}): {markdown(run['error'])}" for run in lost]
    for table in tables:
        lines += ["", table.markdown().rstrip("\n")]
    lines += ["", markdown(rate_sentence(study)), ""]
    if not study.plan.get("weights"):  # else it is a note of their table
        lines += [markdown(weights_sentence(study)), ""]
    facts = [f"differs between runs: {key}: {values}" for key, values in differing_settings(study)]
    facts += [*study.summary["signatures"].values(), *study.summary["notes"]]
    facts += [f"{name}: {value}" for name, value, _ in machines(study)]
    return "\n".join([*lines, *(f"- {markdown(fact)}" for fact in facts)]) + "\n"


def report_latex(study: LoadedStudy, tables: list[Table]) -> str:
    r"""Return the tables as LaTeX, a small one of the result first; they need booktabs and graphicx."""
    text = f"{study.summary['headline']['text']} {study.summary['sentence']}"
    head = (
        "% Needs \\usepackage{booktabs,graphicx} and UTF-8; what is wider than the text is made smaller. "
        + json.dumps(text)
    )
    return "\n".join([head, *(table.latex() for table in (result_table(study), *tables))])


def report_json(study: LoadedStudy) -> dict[str, Any]:
    """Return what the report says, for programs: the collected study, and what the page adds to it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "smoothiou": study.plan.get("smoothiou"),
        **study.summary,
        "failed": failures(study),
        "learning_rates": rate_sentence(study),
        "weights": weights_sentence(study),
        "calibration": study.calibration,
        "surroundings": {name: value for name, value, _ in machines(study)},
    }
