"""The doctor: what is wrong with a data set, how much of it, where, and what to do. No torch.

    report = examine("data/bccd")
    report.errors, report.warnings, [finding.shown() for finding in report.findings]

`scan.py` reads everything and refuses nothing, `checks.py` lists the checks, `repair.py` writes a repaired copy.
"""

from __future__ import annotations

from smoothiou.data.doctor.checks import CHECKS
from smoothiou.data.doctor.examine import Report, examine, quick_look
from smoothiou.data.doctor.findings import Check, Finding

__all__ = ["CHECKS", "Check", "Finding", "Report", "examine", "quick_look"]
