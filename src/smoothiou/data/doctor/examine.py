"""One examination: survey, headers, pixels, checks, and what they found. No torch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smoothiou.data.doctor import checks_boxes, checks_classes, checks_files, checks_training
from smoothiou.data.doctor.check import EXAMPLES, Check, Finding
from smoothiou.data.doctor.decode import decode_all
from smoothiou.data.doctor.survey import Survey, Training, of_datasets, survey
from smoothiou.data.formats.base import Options
from smoothiou.data.records import Dataset
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.files import Limits, allowing
from smoothiou.manifest import SCHEMA_VERSION, version

CHECKS: tuple[Check, ...] = (
    *checks_files.CHECKS,
    *checks_boxes.CHECKS,
    *checks_classes.CHECKS,
    *checks_training.CHECKS,
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of an examination.

    Args:
        survey: of the data set.
        findings: of the checks that found something, errors first.
        checked: ids of the checks that ran.
        limits: on files, under which it was read.
        seconds: that it took.
    """

    survey: Survey
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    limits: Limits
    seconds: float

    @property
    def errors(self) -> int:
        """Number of kinds of errors."""
        return sum(finding.check.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Number of kinds of warnings."""
        return len(self.findings) - self.errors

    @property
    def skipped(self) -> tuple[str, ...]:
        """Ids of the checks that did not run."""
        return tuple(check.id for check in CHECKS if check.id not in self.checked)

    def finding(self, check: str) -> Finding | None:
        """Return what a check found, or None."""
        return next((finding for finding in self.findings if finding.check.id == check), None)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON; its keys are stable."""
        data = self.survey
        published = "has no annotation, as test splits are often published; nothing is measured on it"
        withheld = [f'the split "{split}" {published}' for split in checks_files.withheld(data)]
        with np.errstate(all="ignore"):
            training = checks_training.training_facts(data)
        return {
            "schema_version": SCHEMA_VERSION,
            "version": version(),
            "data": data.name,
            "format": data.format,
            "splits": {
                split: {"images": len(entries), "boxes": sum(len(entry.boxes) for entry in entries)}
                for split, entries in data.splits.items()
            },
            "images": len(data.entries),
            "files": sum(1 for _ in data.files()),
            "decoded": len(data.decoded),
            "boxes": sum(len(entry.boxes) for entry in data.entries),
            "classes": sorted({box.label for entry in data.entries for box in entry.boxes}),
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [finding.as_json() for finding in self.findings],
            "training": training,
            "notes": [*data.notes, *withheld],
            "checked": list(self.checked),
            "skipped": list(self.skipped),
            "seconds": round(self.seconds, 2),
        }


def examine(
    path: str | Path,
    *,
    format: str | None = None,
    options: Options | None = None,
    limits: Limits | None = None,
    training: Training | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    decode: bool = True,
    pictures: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return everything that is wrong with a data set.

    Args:
        path: as for `load_dataset`.
        format: as for `load_dataset`.
        options: how it is read.
        limits: on files.
        training: how it would be trained.
        only: ids of the checks that run; empty for all.
        skip: ids of checks that do not run.
        decode: whether images are decoded; without it, only their headers are read.
        pictures: whether small pictures of the examples are kept.
        progress: called with the number of images decoded and of all.

    Raises:
        DataError: there is no data set.
        ConfigError: no such check, format or labels.
    """
    start = time.monotonic()
    checks = [check for check in choose(only, skip) if decode or check.id != "look-alike"]
    limits = limits or Limits()
    # Pillow's own warnings on odd metadata and large images; what matters of them is found by a check.
    with allowing(limits), warnings.catch_warnings(action="ignore"):
        data = survey(path, format=format, options=options or Options(), training=training or Training())
        from_headers = {check.id: _run(check, data) for check in checks if not check.pixels}
        if decode and (pictures or any(check.pixels for check in checks)):
            pictured = from_headers.values() if pictures else ()
            paths = {path for finding in pictured for path in _example_paths(finding)}
            data.decoded = decode_all([photo for _, photo in data.files()], pictures=paths, progress=progress)
        findings = [from_headers.get(check.id) or _run(check, data) for check in checks]
    return _report(data, findings, limits, start)


def quick_look(datasets: Mapping[str, Dataset], *, training: Training) -> Report:
    """Return what is wrong with splits that were read for a training, without opening any file again.

    Args:
        datasets: by the name of the split; faults that their reader met count.
        training: how they will be trained.
    """
    start = time.monotonic()
    data = of_datasets(datasets, training=training)
    return _report(data, [_run(check, data, quick=True) for check in CHECKS], Limits(), start)


def choose(only: Sequence[str] = (), skip: Sequence[str] = ()) -> tuple[Check, ...]:
    """Return the checks that are to run.

    Raises:
        ConfigError: no such check, or none is left.
    """
    known = [check.id for check in CHECKS]
    for option, name in (*(("--only", name) for name in only), *(("--skip", name) for name in skip)):
        if name not in known:
            raise ConfigError(f"{option}: no check is called {name!r}.", hint=did_you_mean(name, known))
    chosen = tuple(check for check in CHECKS if (not only or check.id in only) and check.id not in skip)
    if not chosen:
        raise ConfigError("--only and --skip leave no check.", hint="Name other checks.")
    return chosen


def _run(check: Check, data: Survey, *, quick: bool = False) -> Finding:
    scanned = data.problems.get(check.id, ())
    if quick and not check.quick:
        return Finding(check=check, examples=tuple(scanned))
    with np.errstate(all="ignore"):  # corners may be anything that a float can be
        return Finding(check=check, examples=(*scanned, *check.find(data)))


def _example_paths(finding: Finding) -> set[Path]:
    entries = (entry for example in finding.examples[:EXAMPLES] for entry in (example.entry, example.other))
    return {entry.path for entry in entries if entry and entry.path}


def _report(data: Survey, findings: list[Finding], limits: Limits, start: float) -> Report:
    faulty = sorted((f for f in findings if f.count), key=lambda finding: finding.check.severity != "error")
    checked = tuple(finding.check.id for finding in findings)
    seconds = time.monotonic() - start
    return Report(survey=data, findings=tuple(faulty), checked=checked, limits=limits, seconds=seconds)
