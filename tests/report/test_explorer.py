"""The interactive page: self-contained, its numbers ours, and moved by hand in a real browser."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import torch

from smoothiou.boxes import aligned_iou, to_xyxy
from smoothiou.lab.grid import loss_grid
from smoothiou.lab.grid import NUMBERS, unpack
from smoothiou.lab.pairs import SinglePairLoss
from smoothiou.report.explorer import render_explorer
from tests.report.chromium import Page, find_chromium

LOSSES = ("huber", "l2", "iou", "smooth-iou", "huber[delta=0.5]", "tests.lab.test_grid:RightSideOnly")


@pytest.fixture(scope="module")
def page_text() -> str:
    return render_explorer(loss_grid(LOSSES))


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def expected(loss: str, x: float, y: float, w: float = 20, h: float = 20) -> list[float]:
    """Return value, and minus the gradient by centre and size, straight from the loss."""
    box = torch.tensor([[x, y, w, h]], dtype=torch.float64, requires_grad=True)
    corners = to_xyxy(box, box_format="cxcywh")
    truth = torch.tensor([[30.0, 30, 50, 50]], dtype=torch.float64)
    value, by_corner = SinglePairLoss(loss)(corners, truth)
    (gradient,) = torch.autograd.grad(corners, box, by_corner)
    return [float(value), *(-gradient[0]).tolist()]


def test_the_page_loads_nothing_and_is_small(page_text):
    assert "default-src 'none'" in page_text
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page_text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "only the name of SVG, which nothing loads"
    assert not re.search(r"(src|href)\s*=|@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|import\(", page_text)
    assert len(page_text) < 1_000_000


def test_equal_grids_give_equal_pages(page_text):
    assert render_explorer(loss_grid(LOSSES)) == page_text


def test_the_page_holds_the_numbers_of_every_loss(page_text):
    data = data_of(page_text)
    assert [loss["name"] for loss in data["losses"]] == list(LOSSES)
    for loss in data["losses"]:
        stored = unpack(base64.b64decode(loss["packed"]), len(NUMBERS), whole=loss["whole"])
        value, x, y, w, h = expected(loss["name"], 47, 53, 14, 28)
        first = 40 if loss["whole"] else 0
        assert stored[:, 1, 3, first + 13, first + 7] == pytest.approx([value, -x, -y, -w, -h], rel=1e-3, abs=1e-7)
        assert f'data-loss="{loss["name"]}"' in page_text


def test_the_script_holds_no_loss():
    script = (Path(__file__).parents[2] / "src/smoothiou/report/templates/explorer.js").read_text()
    assert not re.search(r"huber|union|intersection|delta|lambda", script, re.IGNORECASE)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, page_text):
    """The page, open in Chromium without a window."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "explorer.html").write_text(page_text)
    with Page(program, folder / "profile") as page:
        page.file = folder / "explorer.html"
        yield page


def row(page: Page, loss: str) -> list[float]:
    """Return the numbers that the table shows for a loss, as stored."""
    selector = f"#numbers tr[data-loss='{loss}']"
    return page.ask(
        f'[...document.querySelector("{selector}").cells].slice(2).map((cell) => Number(cell.dataset.value))'
    )


def where(page: Page) -> tuple[int, int]:
    return tuple(page.ask("document.getElementById('centre').textContent.match(/\\d+/g).map(Number)"))


def to_window(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return the place in the window of a place of the scene."""
    code = (
        f"(() => {{ const p = new DOMPoint({x}, {y}).matrixTransform("
        "document.querySelector('#scene svg').getScreenCTM()); return [p.x, p.y]; })()"
    )
    return tuple(page.ask(code))


def test_dragging_moves_the_box_and_shows_what_python_says(browser):
    browser.resize(1200, 1000)
    browser.open(browser.file, "#x=20&y=40&w=20&h=20&map=iou")
    assert where(browser) == (20, 40)
    # Taken at its edge and not at its centre: the box must not jump under the hand.
    browser.drag(to_window(browser, 14, 45), to_window(browser, 14 + 31, 45 - 8))
    assert where(browser) == (51, 32)
    for loss in LOSSES:
        assert row(browser, loss) == pytest.approx(expected(loss, 51, 32), rel=1e-3, abs=1e-7)
    box = to_xyxy(torch.tensor([[51.0, 32, 20, 20]]), box_format="cxcywh")
    overlap = float(aligned_iou(box, torch.tensor([[30.0, 30, 50, 50]])))
    assert float(browser.ask("document.getElementById('iou').textContent")) == pytest.approx(overlap, abs=1e-3)
    assert browser.ask("document.querySelectorAll('#arrows .arrow').length") == 3
    assert not browser.errors
    assert {url.split("#")[0] for url in browser.requests} <= {browser.file.as_uri(), "about:blank"}


def test_a_place_beside_the_box_takes_it_there_and_a_finger_works_too(browser):
    browser.open(browser.file, "#x=20&y=40&w=20&h=20&map=iou")
    browser.drag(to_window(browser, 60, 70), to_window(browser, 60, 70))
    assert where(browser) == (60, 70)
    browser.touch(to_window(browser, 60, 70), to_window(browser, 30, 20))
    assert where(browser) == (30, 20)
    browser.drag(to_window(browser, 30, 20), to_window(browser, -7, -7))
    assert where(browser) == (0, 0)  # the edge of the grid


def test_keys_move_the_box_and_a_reader_is_told(browser):
    browser.open(browser.file, "#x=40&y=40&w=20&h=20&map=iou")
    browser.ask("document.getElementById('box').focus()")
    browser.press("ArrowLeft")
    browser.press("ArrowUp", shift=True)
    assert where(browser) == (39, 35)
    browser.wait("document.getElementById('spoken').textContent.includes('centre 39, 35')")
    browser.wait("location.hash.includes('x=39&y=35')")
    for loss in LOSSES:
        assert row(browser, loss) == pytest.approx(expected(loss, 39, 35), rel=1e-3, abs=1e-7)


def test_sizes_places_arrows_and_map_are_chosen(browser):
    browser.open(browser.file, "#x=40&y=40&w=20&h=20&map=huber")
    browser.ask("document.getElementById('width').focus()")
    browser.press("ArrowRight")
    assert browser.ask("document.getElementById('size').textContent") == "28 × 20"
    browser.click("#places button[data-x='20']")
    assert where(browser) == (20, 40)
    assert row(browser, "l2") == pytest.approx(expected("l2", 20, 40, 28, 20), rel=1e-3)
    count = "document.querySelectorAll('#arrows .arrow').length"
    before = browser.ask(count)
    browser.click("#numbers tr[data-loss='l2'] input[type=checkbox]")
    assert browser.ask(count) == before + 1
    pixels = "document.querySelector('#scene canvas').toDataURL().length"
    drawn = browser.ask(pixels)
    browser.click("#numbers tr[data-loss='iou'] input[type=radio]")
    assert browser.ask("document.getElementById('map-name').textContent") == "iou"
    assert browser.ask(pixels) != drawn
    assert not browser.errors


def test_where_the_boxes_do_not_touch_iou_pulls_nowhere(browser):
    browser.open(browser.file, "#x=8&y=14&w=20&h=20&map=iou")
    assert row(browser, "iou") == [1, 0, 0, 0, 0]
    assert browser.ask("document.querySelectorAll('#arrows [data-loss=iou] circle').length") == 4
    assert browser.ask("document.querySelectorAll('#arrows [data-loss=huber] circle').length") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_a_narrow_window_in_both_themes(browser, theme):
    browser.theme(theme)
    browser.resize(400, 800)
    browser.open(browser.file)
    assert browser.ask("document.documentElement.scrollWidth") <= 400
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(247, 247, 245)", "dark": "rgb(20, 23, 26)"}[theme]
    browser.resize(1200, 1000)
    browser.theme("light")
