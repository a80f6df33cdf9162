"""The page of `smoothiou doctor` in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

import pytest

from smoothiou.data.doctor import CHECKS, examine
from smoothiou.data.doctor.pictures import example_pictures
from smoothiou.report.doctor import doctor_lines, render_doctor
from tests.data.doctor_faults import saved_again
from tests.data.doctor_sets import TRAINING, annotate, boxes_of, voc


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


@pytest.fixture
def page(browser, found, tmp_path):
    (tmp_path / "doctor.html").write_text(render_doctor(*found))
    browser.goto((tmp_path / "doctor.html").as_uri())
    return browser


def test_every_finding_has_its_section_and_every_picture_its_boxes(page, found):
    ids = page.locator("section.finding").evaluate_all("sections => sections.map((s) => s.id)")
    assert ids == [finding["id"] for finding in found[0]["findings"]]
    assert {"outside-image", "point-box", "look-alike", "rare-class"} <= set(ids)
    assert page.locator("#outside-image svg image").count() == 1
    assert page.locator("#look-alike svg image").count() == 2
    assert page.locator("#outside-image .marked rect:not(.casing)").count() == 1
    assert page.locator("#point-box circle:not(.casing)").count() == 1
    decode = "images => Promise.all(images.map((i) => { const p = new Image(); p.src = i.getAttribute('href');"
    decode += "return p.decode().then(() => p.naturalWidth) }))"
    assert all(width in (100, 200) for width in page.locator("image").evaluate_all(decode))


def test_nothing_is_wider_than_the_window_in_either_theme(page):
    for theme, ground in (("light", "rgb(247, 247, 245)"), ("dark", "rgb(20, 23, 26)")):
        page.emulate_media(color_scheme=theme)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        for width in (1200, 400):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_lines_say_the_same(found):
    lines = doctor_lines(found[0])
    for finding in found[0]["findings"]:
        assert f"{finding['severity']:7} {finding['id']} x {finding['count']}" in lines
    assert {finding["id"] for finding in found[0]["findings"]} <= {check.id for check in CHECKS}
