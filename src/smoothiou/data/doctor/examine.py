"""One examination: survey, headers, pixels, checks, and what they found. No torch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smoothiou.data.doctor.case import Case
from smoothiou.data.doctor.check_files import withheld
from smoothiou.data.doctor.check_training import training_facts
from smoothiou.data.doctor.checks import CHECKS
from smoothiou.data.doctor.findings import SHOWN, Check, Finding
from smoothiou.data.doctor.photos import look_at_all
from smoothiou.data.doctor.scan import of_datasets, survey
from smoothiou.data.records import Dataset
from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.files import Limits, allowing
from smoothiou.manifest import SCHEMA_VERSION, version

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an examination found.

    Args:
        case: what was examined.
        findings: of the checks that found something, errors first.
        checked: ids of the checks that ran.
        skipped: ids of the others.
        seconds: that it took.
    """

    case: Case
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: float

    @property
    def errors(self) -> int:
        """How many kinds of errors were found."""
        return sum(finding.check.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many kinds of warnings were found."""
        return len(self.findings) - self.errors

    def _withheld(self) -> list[str]:
        published = "has no annotation, as test splits are often published; nothing is measured on it"
        return [f'the split "{split}" {published}' for split in withheld(self.case)]

    def finding(self, check: str) -> Finding | None:
        """Return what a check found, or None."""
        return next((finding for finding in self.findings if finding.check.id == check), None)

    def shown(self) -> dict[str, Any]:
        """Return the report as JSON; its keys are stable."""
        survey, files = self.case.survey, list(self.case.files())
        with np.errstate(all="ignore"):
            training = training_facts(self.case)
        return {
            "schema_version": SCHEMA_VERSION,
            "version": version(),
            "data": survey.name,
            "format": survey.format,
            "splits": {
                split: {"images": len(entries), "boxes": sum(len(entry.boxes) for entry in entries)}
                for split, entries in survey.splits.items()
            },
            "images": len(self.case.entries),
            "files": len(files),
            "decoded": len(self.case.looks),
            "boxes": sum(len(entry.boxes) for entry in self.case.entries),
            "classes": sorted({box.label for entry in self.case.entries for box in entry.boxes}),
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [finding.shown() for finding in self.findings],
            "training": training,
            "notes": [*survey.notes, *self._withheld()],
            "checked": list(self.checked),
            "skipped": list(self.skipped),
            "seconds": round(self.seconds, 2),
        }


def examine(
    path: str | Path,
    *,
    config: RunConfig | None = None,
    format: str | None = None,
    labels: str = "",
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    decode: bool = True,
    pictures: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Return everything that is wrong with a data set.

    Args:
        path: as for `load_dataset`.
        config: the settings it would be trained with: resolution, anchors, batch, limits on files.
        format: as for `load_dataset`.
        labels: as for `load_dataset`.
        only: ids of the checks that run; empty for all.
        skip: ids of checks that do not run.
        decode: whether images are decoded; without it, only their headers are read.
        pictures: whether small pictures of the examples are kept.
        progress: is told how many of how many images are decoded.

    Raises:
        DataError: there is no data set.
        ConfigError: no such check, format or labels.
    """
    began = time.monotonic()
    config = config or RunConfig()
    chosen = [check for check in choose(only, skip) if decode or check.id != "look-alike"]
    limits = Limits(pixels=config.data.max_pixels, links=config.data.follow_links)
    # Pillow's own words on odd metadata and large images; what matters of them is found by a check.
    with allowing(limits), warnings.catch_warnings(action="ignore"):
        found = survey(path, data=config.data, format=format, labels=labels)
        case = Case(found, config)
        early = {check.id: _find(check, case) for check in chosen if not check.pixels}
        if decode and (pictures or any(check.pixels for check in chosen)):
            shown = {e.path for finding in early.values() for e in _entries(finding) if e.path} if pictures else set()
            shots = [entry.photo for entry in case.files() if entry.photo]
            case.looks = look_at_all(shots, pictures=shown, progress=progress)
        findings = [early.get(check.id) or _find(check, case) for check in chosen]
    return _report(case, findings, began)


def quick_look(datasets: Mapping[str, Dataset], *, config: RunConfig) -> Report:
    """Return what is wrong with splits that were read for a training, without opening any file again.

    Args:
        datasets: by the name of the split; faults that their reader met count.
        config: the settings of the training.
    """
    began = time.monotonic()
    case = Case(of_datasets(datasets), config)
    return _report(case, [_find(check, case, quick=True) for check in CHECKS], began)


def choose(only: Sequence[str] = (), skip: Sequence[str] = ()) -> tuple[Check, ...]:
    """Return the checks that are to run.

    Raises:
        ConfigError: no such check, or none is left.
    """
    known = [check.id for check in CHECKS]
    for option, names in (("--only", only), ("--skip", skip)):
        for name in names:
            if name not in known:
                raise ConfigError(f"{option}: no check is called {name!r}.", hint=did_you_mean(name, known))
    chosen = tuple(check for check in CHECKS if (not only or check.id in only) and check.id not in skip)
    if not chosen:
        raise ConfigError("--only and --skip leave no check.", hint="Name other checks.")
    return chosen


def _find(check: Check, case: Case, *, quick: bool = False) -> Finding:
    scanned = case.survey.problems.get(check.id, ())
    if quick and not check.quick:
        return Finding(check=check, examples=tuple(scanned))
    with np.errstate(all="ignore"):  # corners may be anything that a float can be
        return Finding(check=check, examples=(*scanned, *check.find(case)))


def _entries(finding: Finding) -> list[Any]:
    return [entry for e in finding.examples[:SHOWN] for entry in (e.entry, e.other) if entry]


def _report(case: Case, findings: list[Finding], began: float) -> Report:
    ran = [finding.check.id for finding in findings]
    found = sorted((f for f in findings if f.count), key=lambda finding: finding.check.severity != "error")
    return Report(
        case=case,
        findings=tuple(found),
        checked=tuple(ran),
        skipped=tuple(check.id for check in CHECKS if check.id not in ran),
        seconds=time.monotonic() - began,
    )
