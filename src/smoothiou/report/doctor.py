"""What the doctor found, in lines for a terminal and as a page with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothiou.files import write_text
from smoothiou.manifest import version
from smoothiou.report.page import render

LABELS = 12
"""Boxes in a picture beside which their classes are written."""


def doctor_lines(found: Mapping[str, Any]) -> str:
    """Return a report as text: findings with count, examples and fix, and one sentence.

    Args:
        found: what `data.doctor.Report.shown` gives, with `path`, and perhaps `page` and `fixed`.
    """
    lines = [_head(found)]
    for finding in found["findings"]:
        lines += ["", f"{finding['severity']:7} {finding['id']} x {finding['count']}", f"        {finding['means']}"]
        lines += [f"        - {example['where']}: {example['message']}" for example in finding["examples"]]
        if (more := finding["count"] - len(finding["examples"])) > 0:
            lines.append(f"          and {more} more")
        lines.append(f"        Fix: {finding['fix']}")
    lines += ["", *(f"note: {note}" for note in found["notes"]), *training_lines(found["training"])]
    if found.get("page"):
        lines.append(f"page: {found['page']}")
    if found.get("fixed"):
        lines.append(f"repaired copy: {found['fixed']['folder']} ({found['fixed']['changes']} changes in fixes.csv)")
    return "\n".join([*lines, doctor_sentence(found)])


def doctor_sentence(found: Mapping[str, Any]) -> str:
    """Return the result in a sentence."""
    checks = _count(len(found["checked"]), "check")
    if found["skipped"]:
        checks += f" ({len(found['skipped'])} not run)"
    looked = f"{found['decoded']} images decoded" if found["decoded"] else "no image decoded"
    if not found["findings"]:
        return f"Nothing found: {checks}, {looked}."
    kinds = [f["id"] for f in found["findings"] if f["severity"] == "error"]
    errors = f"{_count(found['errors'], 'error')} ({', '.join(kinds)})" if kinds else "No error"
    return f"{errors}, {_count(found['warnings'], 'warning')}: {checks}, {looked}, {found['seconds']:.1f} s."


def training_lines(training: Mapping[str, Any]) -> list[str]:
    """Return what a training would meet: boxes in a batch, and how well anchors cover them."""
    lines = []
    if "boxes_per_image" in training:
        lines.append(
            f"training: {training['boxes_per_image']:.2f} boxes per image, {training['boxes_per_batch']:.1f} in a "
            f"batch of {training['batch_size']}"
        )
    if training["anchor_coverage"]:
        shares = ", ".join(
            f"{100 * share:.1f} % of boxes have an anchor with an IoU of {least}"
            for least, share in training["anchor_coverage"].items()
        )
        lines.append(f"anchors of {training['detector']} at {training['min_size']}/{training['max_size']} px: {shares}")
    return lines


def write_doctor(found: Mapping[str, Any], pictures: Mapping[str, Any], page: Path) -> None:
    """Write the page.

    Args:
        found: as for `doctor_lines`.
        pictures: by the id of a finding, what `data.doctor.sheet.pictures` gives.
        page: its path.
    """
    write_text(page, render_doctor(found, pictures))


def render_doctor(found: Mapping[str, Any], pictures: Mapping[str, Any]) -> str:
    """Return the page as one self-contained HTML text."""
    splits = [f"{name} {facts['images']} / {facts['boxes']}" for name, facts in found["splits"].items()]
    facts = [
        ("Data", f"{found['path']} ({found['format']})"),
        ("Images / boxes", f"{found['images']} / {found['boxes']}"),
        ("Splits", ", ".join(splits) or "none"),
        ("Classes", str(len(found["classes"]))),
        ("Looked at", f"{found['decoded'] or 'no'} images decoded, {len(found['checked'])} checks"),
    ]
    return render(
        "doctor.html.j2",
        version=version(),
        found=found,
        sentence=doctor_sentence(found),
        facts=facts,
        pictures=pictures,
        labels=LABELS,
        training=training_lines(found["training"]),
    )


def _head(found: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{name} {facts['images']}" for name, facts in found["splits"].items())
    return (
        f"{found['data']} ({found['format']}): {found['images']} images ({splits}), {found['boxes']} boxes, "
        f"{_count(len(found['classes']), 'class')}"
    )


def _count(number: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{number} {word if number == 1 else plural}"
