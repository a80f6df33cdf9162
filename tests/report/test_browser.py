"""The page of a study in a browser: what its script does, and that it fits wide and narrow windows."""

from __future__ import annotations

import pytest

from smoothiou.report.write import write_report
from tests.report.fake_study import make_study


@pytest.fixture
def report(tmp_path, without_panels):
    return write_report(make_study(tmp_path))[0]


def test_tables_sort_and_the_theme_changes_and_nothing_overflows(browser, report):
    browser.goto(report.as_uri())
    seeds = browser.locator("#table-runs tbody th")
    order = seeds.all_inner_texts()
    browser.click("#table-runs thead th:nth-child(4)")  # AP
    cells = browser.locator("#table-runs tbody tr td:nth-child(4)").all_inner_texts()
    assert cells == sorted(cells, key=float, reverse=True)
    assert sorted(seeds.all_inner_texts()) == sorted(order)

    ground = "getComputedStyle(document.body).backgroundColor"
    light = browser.evaluate(ground)
    browser.click("#theme")
    assert browser.evaluate(ground) != light
    for width in (1280, 400):
        browser.set_viewport_size({"width": width, "height": 900})
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        headings = "[...document.querySelectorAll('h1, h2, h3, .sentence, caption span')]"
        assert max(browser.evaluate(f"{headings}.map(e => e.getBoundingClientRect().right)")) <= width


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 400])
def test_wide_tables_scroll_in_their_own_box_and_no_heading_is_cut(browser, without_panels, tmp_path, width):
    losses = ("huber", "smooth-iou[lam=box]", "giou")
    write_report(make_study(tmp_path, losses=losses, steps=40))
    browser.set_viewport_size({"width": width, "height": 900})
    browser.goto(f"file://{tmp_path}/report.html")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    headings = "[...document.querySelectorAll('th, caption span')]"
    assert browser.evaluate(f"{headings}.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText)") == []
    # Every caption is seen whole, and the name of a row stays where its table is scrolled.
    assert browser.evaluate(
        f"""() => [...document.querySelectorAll('.scroll')].every(box => {{
            box.scrollLeft = box.scrollWidth;
            const inside = e => e.getBoundingClientRect().left >= box.getBoundingClientRect().left - 1
                && e.getBoundingClientRect().right <= innerWidth;
            return inside(box.querySelector('caption span'))
                && ({width} > 640 || inside(box.querySelector('tbody th')));
        }})"""
    )
