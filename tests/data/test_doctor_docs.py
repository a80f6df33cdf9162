"""The table of docs/doctor.md against the checks."""

from __future__ import annotations

from pathlib import Path

from smoothiou.data.doctor import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def test_the_table_says_what_the_checks_say():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `") and ("| error |" in line or "| warning |" in line)]
    expected = [
        f"| `{c.id}` | {c.severity} | {c.means} | {c.fix} | {c.mends or '-'} | {'yes' if c.quick else ''} |"
        for c in CHECKS
    ]
    assert rows == expected
