"""Names of classes and images in a page are words, whatever they look like; and a page shows its own pictures only."""

from __future__ import annotations

import base64
import json
from collections import Counter
from html.parser import HTMLParser

import pytest

from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.pages import Page

EVIL = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    '"><b onmouseover="alert(3)">',
    "{{ 7 * 7 }}",
)
EVIL_MARKDOWN = ("[a](javascript:alert(4))", "| x | `y` |", r"\input{/etc/passwd}")


pytestmark = pytest.mark.usefixtures("without_panels")


class Attributes(HTMLParser):
    """Counts the names of attributes as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.update(name for name, _ in attrs)


def attributes(text: str) -> Counter[str]:
    return Attributes(text).found


@pytest.fixture
def folder(tmp_path):
    folder = make_study(tmp_path / "evil", classes=(*EVIL, *EVIL_MARKDOWN))
    write_report(folder)
    return folder


def test_names_of_classes_are_words_in_the_page(folder, tmp_path):
    text = (folder / "report.html").read_text()
    assert not [name for name in EVIL[:3] if name in text]
    assert "{{ 7 * 7 }}" in text
    # A browser builds the same page as from plain names: no tag and no attribute more.
    plain = make_study(tmp_path / "plain", classes=[f"class {number}" for number in range(len(EVIL + EVIL_MARKDOWN))])
    write_report(plain)
    other = (plain / "report.html").read_text()
    assert Page(text).tags == Page(other).tags
    assert attributes(text) == attributes(other)
    assert "onmouseover" not in attributes(text)


def test_names_of_classes_are_words_in_markdown_and_latex(folder):
    markdown = "".join(path.read_text() for path in folder.glob("*.md"))
    assert "[a](javascript" not in markdown
    assert "<script>" not in markdown
    latex = "".join(path.read_text() for path in folder.glob("*.tex"))
    assert r"\input{" not in latex


def test_a_page_shows_no_file_from_outside_its_study(tmp_path):
    folder = make_study(tmp_path / "study", gallery=3, seeds=(0,))
    (tmp_path / "secret.txt").write_text("my password")
    (folder / "gallery" / "link.jpg").symlink_to(tmp_path / "secret.txt")
    comparison = next(folder.rglob("comparison.json"))
    content = json.loads(comparison.read_text())
    names = ("../secret.txt", str(tmp_path / "secret.txt"), "gallery/link.jpg")
    for picture, name in zip(content["gallery"], names, strict=True):
        picture["image"] = name
    comparison.write_text(json.dumps(content))
    write_report(folder)
    assert base64.b64encode(b"my password").decode() not in (folder / "report.html").read_text()
