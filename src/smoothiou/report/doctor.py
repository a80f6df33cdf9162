"""What the doctor found, in lines for a terminal and as a page with pictures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.files import write_text
from smoothiou.manifest import version
from smoothiou.report.page import render
from smoothiou.words import counted

if TYPE_CHECKING:
    from smoothiou.data.doctor import Training
    from smoothiou.engine.config import RunConfig
    from smoothiou.engine.open_data import Splits

LABELS = 12
"""Boxes in a picture beside which their classes are written."""


def doctor_lines(facts: Mapping[str, Any]) -> str:
    """Return a report as text: findings with count, examples and fix, and one sentence.

    Args:
        facts: as from `data.doctor.Report.as_json`, with `path`, and perhaps `page` and `fixed`.
    """
    splits = ", ".join(f"{name} {split['images']}" for name, split in facts["splits"].items())
    classes = counted(len(facts["classes"]), "class", "classes")
    lines = [
        f"{facts['data']} ({facts['format']}): {counted(facts['images'], 'image')} ({splits}), "
        f"{counted(facts['boxes'], 'box', 'boxes')}, {classes}"
    ]
    for finding in facts["findings"]:
        lines += ["", f"{finding['severity']:7} {finding['id']} x {finding['count']}", f"        {finding['means']}"]
        lines += [f"        - {example['where']}: {example['message']}" for example in finding["examples"]]
        if (more := finding["count"] - len(finding["examples"])) > 0:
            lines.append(f"          and {more} more")
        lines.append(f"        Fix: {finding['fix']}")
    lines += ["", *(f"note: {note}" for note in facts["notes"]), *_training_lines(facts["training"])]
    if facts.get("page"):
        lines.append(f"page: {facts['page']}")
    if facts.get("fixed"):
        fixed = facts["fixed"]
        left = count_findings(fixed["errors"], fixed["warnings"])
        if ids := ", ".join(finding["id"] for finding in fixed["findings"]):
            left += f": {ids}"
        lines.append(f"repaired copy: {fixed['folder']} ({counted(fixed['changes'], 'change')} in fixes.csv; {left})")
    return "\n".join([*lines, _sentence(facts)])


def count_findings(errors: int, warnings: int) -> str:
    """Return `1 error, 2 warnings`."""
    return f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"


def write_doctor(facts: Mapping[str, Any], pictures: Mapping[str, Any], page: Path) -> None:
    """Write the page.

    Args:
        facts: as for `doctor_lines`.
        pictures: by the id of a finding, as from `data.doctor.pictures.example_pictures`.
        page: its path.
    """
    write_text(page, render_doctor(facts, pictures))


def render_doctor(facts: Mapping[str, Any], pictures: Mapping[str, Any]) -> str:
    """Return the page as one self-contained HTML text."""
    splits = [f"{name} {split['images']} / {split['boxes']}" for name, split in facts["splits"].items()]
    rows = [
        ("Data", f"{facts['path']} ({facts['format']})"),
        ("Images / boxes", f"{facts['images']} / {facts['boxes']}"),
        ("Splits", ", ".join(splits) or "none"),
        ("Classes", str(len(facts["classes"]))),
        ("Examined", f"{_decoded(facts)}, {counted(len(facts['checked']), 'check')}"),
    ]
    return render(
        "doctor.html.j2",
        version=version(),
        found=facts,
        sentence=_sentence(facts),
        facts=rows,
        pictures=pictures,
        labels=LABELS,
        training=_training_lines(facts["training"]),
    )


def _sentence(facts: Mapping[str, Any]) -> str:
    checks = counted(len(facts["checked"]), "check")
    if facts["skipped"]:
        checks += f" ({len(facts['skipped'])} not run)"
    decoded = _decoded(facts)
    if not facts["findings"]:
        return f"Nothing found: {checks}, {decoded}."
    kinds = [finding["id"] for finding in facts["findings"] if finding["severity"] == "error"]
    errors = f"{counted(facts['errors'], 'error')} ({', '.join(kinds)})" if kinds else "No error"
    return f"{errors}, {counted(facts['warnings'], 'warning')}: {checks}, {decoded}, {facts['seconds']:.1f} s."


def _decoded(facts: Mapping[str, Any]) -> str:
    return f"{counted(facts['decoded'], 'image')} decoded" if facts["decoded"] else "no image decoded"


def _training_lines(training: Mapping[str, Any]) -> list[str]:
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
    if (size := training.get("nwd_constant")) is not None:
        lines.append(
            f"mean size of a box at {training['min_size']}/{training['max_size']} px: {size:.1f} px; for NWD: "
            f"nwd[constant={size:.1f}]"
        )
    return lines


def quick_line(splits: Splits, config: RunConfig) -> str:
    """Return one line on the splits of a training: how many errors and warnings, and how to see more.

    Args:
        splits: as read; no file is opened again.
        config: the settings of the training.
    """
    from smoothiou.data.doctor import quick_look

    named = {"train": splits.train, "val": splits.val, "test": splits.test}
    datasets = {name: split for name, split in named.items() if split is not None}
    report = quick_look(datasets, training=training_of(config))
    command = f"smoothiou doctor {shlex.quote(config.data.path)}"
    if not report.findings:
        return f"doctor: nothing found at a glance; {command} looks into the images, too"
    ids = ", ".join(finding.check.id for finding in report.findings)
    return f"doctor: {count_findings(report.errors, report.warnings)} ({ids}); see {command}"


def training_of(config: RunConfig) -> Training:
    """Return how data would be trained under some settings, as far as the doctor judges it."""
    from smoothiou.data.doctor import Training
    from smoothiou.detectors.registry import detector_info

    return Training(
        split=config.data.train,
        batch_size=config.train.batch_size,
        detector=config.model.name,
        anchors=detector_info(config.model.name).anchors,
        min_size=config.model.min_size,
        max_size=config.model.max_size,
    )
