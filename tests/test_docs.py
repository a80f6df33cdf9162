"""The pages name files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_file_and_page_that_is_named_exists(page: Path):
    text = page.read_text()
    rooms = "|".join(folder.name for folder in (ROOT / "src" / "smoothiou").iterdir() if folder.is_dir())
    sources = re.findall(rf"`((?:{rooms})/[a-z0-9_/]+\.py)`", text)
    missing = [name for name in sources if not (ROOT / "src" / "smoothiou" / name).is_file()]
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing += [name for name in links if not (page.parent / name).exists()]
    assert not missing
