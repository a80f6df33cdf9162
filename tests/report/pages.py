"""What the tests of reports share: a reader of pages and of their numbers."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Reads a page as a browser would, and notes what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def _note(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "data", "srcset", "action"):
                self.links.append(value)
            if name == "aria-labelledby":
                self.references += value.split()
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def rows(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def edit_results(folder: Path, loss: str, edit) -> None:
    """Change the results of a loss in their files."""
    for path in sorted(folder.glob(f"cells/{loss}-seed*/result.json")):
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))


def value(found, **wanted):
    """The one value of the rows with these columns."""
    hits = [row for row in found if all(row[key] == str(item) for key, item in wanted.items())]
    assert len(hits) == 1, (wanted, len(hits))
    return float(hits[0]["value"])
