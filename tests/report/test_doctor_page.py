"""The page of `smoothiou doctor` in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

import pytest

from smoothiou.data.doctor import CHECKS, examine
from smoothiou.data.doctor.pictures import example_pictures
from smoothiou.report.doctor import doctor_lines, render_doctor
from tests.data.doctor_sets import TRAINING, annotate, boxes_of, voc
from tests.data.test_doctor import saved_again
from tests.report.chromium import Page, find_chromium


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    root = voc(tmp_path_factory.mktemp("doctor") / "voc")
    annotate(
        root, "002", [("cat", (60, 10, 110, 50)), ("a_name_without_any_space_" * 8, (20, 30, 20, 30)), *boxes_of(2)]
    )
    saved_again(root)
    report = examine(root, training=TRAINING, pictures=True)
    shown = {**report.as_json(), "path": str(root), "command": "smoothiou doctor " + "x" * 300}
    return shown, example_pictures(report)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, found):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    folder = tmp_path_factory.mktemp("page")
    (folder / "doctor.html").write_text(render_doctor(*found))
    with Page(program, folder / "profile") as page:
        page.file = folder / "doctor.html"
        yield page


def test_every_finding_has_its_section_and_every_picture_its_boxes(browser, found):
    browser.open(browser.file)
    ids = browser.ask("[...document.querySelectorAll('section.finding')].map((s) => s.id)")
    assert ids == [finding["id"] for finding in found[0]["findings"]]
    assert {"outside-image", "point-box", "look-alike", "rare-class"} <= set(ids)
    for check, count in (("outside-image", 1), ("look-alike", 2)):
        assert browser.ask(f"document.querySelectorAll('#{check} svg image').length") == count
    assert browser.ask("document.querySelectorAll('#outside-image .marked rect:not(.casing)').length") == 1
    assert browser.ask("document.querySelectorAll('#point-box circle:not(.casing)').length") == 1
    loaded = "Promise.all([...document.querySelectorAll('image')].map((i) => {"
    loaded += "const p = new Image(); p.src = i.getAttribute('href'); return p.decode().then(() => p.naturalWidth)}))"
    assert all(width == 100 or width == 200 for width in browser.ask(loaded))
    assert browser.errors == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in browser.requests)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_is_wider_than_the_window(browser, theme, width):
    browser.theme(theme)
    browser.resize(width, 900)
    browser.open(browser.file)
    assert browser.ask("document.documentElement.scrollWidth") == width
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 23, 26)") == (theme == "dark")


def test_the_lines_say_the_same(found):
    lines = doctor_lines(found[0])
    for finding in found[0]["findings"]:
        assert f"{finding['severity']:7} {finding['id']} x {finding['count']}" in lines
    assert {finding["id"] for finding in found[0]["findings"]} <= {check.id for check in CHECKS}
