"""The doctor: what is wrong with a data set, how much of it, where, and how to fix it. No torch.

    report = examine("data/bccd")
    report.errors, report.warnings, [finding.as_json() for finding in report.findings]

`survey.py` reads everything and refuses nothing, `checks_*.py` hold the checks, `repair.py` writes a repaired copy.
"""

from __future__ import annotations

from smoothiou.data.doctor.check import Check, Finding
from smoothiou.data.doctor.examine import CHECKS, Report, examine, quick_look
from smoothiou.data.doctor.survey import Anchors, Training

__all__ = ["CHECKS", "Anchors", "Check", "Finding", "Report", "Training", "examine", "quick_look"]
