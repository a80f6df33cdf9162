"""The interactive page: self-contained, its numbers ours, and moved by hand in a real browser."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import torch

from smoothiou.boxes import aligned_iou, to_xyxy
from smoothiou.lab.grid import NUMBERS, loss_grid, unpack
from smoothiou.lab.pairs import SinglePairLoss
from smoothiou.report.explorer import render_explorer

LOSSES = ("huber", "l2", "iou", "smooth-iou", "huber[delta=0.5]", "tests.lab.test_grid:RightSideOnly")
TARGET = torch.tensor([[30.0, 30, 50, 50]], dtype=torch.float64)


@pytest.fixture(scope="module")
def page_text() -> str:
    return render_explorer(loss_grid(LOSSES))


def expected(loss: str, x: float, y: float, w: float = 20, h: float = 20) -> list[float]:
    """Return value, and minus the gradient by centre and size, straight from the loss."""
    box = torch.tensor([[x, y, w, h]], dtype=torch.float64, requires_grad=True)
    corners = to_xyxy(box, box_format="cxcywh")
    value, by_corner = SinglePairLoss(loss)(corners, TARGET)
    (gradient,) = torch.autograd.grad(corners, box, by_corner)
    return [float(value), *(-gradient[0]).tolist()]


def test_the_page_loads_nothing_is_small_and_the_same_each_time(page_text):
    assert "default-src 'none'" in page_text
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page_text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "only the name of SVG, which nothing loads"
    assert not re.search(r"(src|href)\s*=|@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|import\(", page_text)
    assert len(page_text) < 1_000_000
    assert render_explorer(loss_grid(LOSSES)) == page_text


def test_the_page_holds_the_numbers_of_every_loss(page_text):
    element = re.search(r'<script type="application/json" id="data">(.*?)</script>', page_text, re.DOTALL)
    assert element
    losses = json.loads(element[1])["losses"]
    assert [loss["name"] for loss in losses] == list(LOSSES)
    for loss in losses:
        stored = unpack(base64.b64decode(loss["packed"]), len(NUMBERS), whole=loss["whole"])
        value, x, y, w, h = expected(loss["name"], 47, 53, 14, 28)
        first = 40 if loss["whole"] else 0
        assert stored[:, 1, 3, first + 13, first + 7] == pytest.approx([value, -x, -y, -w, -h], rel=1e-3, abs=1e-7)
        assert f'data-loss="{loss["name"]}"' in page_text


def test_the_script_holds_no_loss():
    script = (Path(__file__).parents[2] / "src/smoothiou/report/templates/explorer.js").read_text()
    assert not re.search(r"huber|union|intersection|delta|lambda", script, re.IGNORECASE)


def test_a_box_is_moved_by_mouse_keys_and_sliders_and_the_page_shows_the_losses(browser, page_text, tmp_path):
    (tmp_path / "explorer.html").write_text(page_text)
    page = browser
    page.set_viewport_size({"width": 1200, "height": 1000})
    page.goto((tmp_path / "explorer.html").as_uri() + "#x=20&y=40&w=20&h=20&map=iou")
    page.wait_for_selector("html[data-ready=yes]")

    def to_window(x: float, y: float) -> list[float]:
        matrix = "document.querySelector('#scene svg').getScreenCTM()"
        return page.evaluate(
            f"(() => {{ const p = new DOMPoint({x}, {y}).matrixTransform({matrix}); return [p.x, p.y] }})()"
        )

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        page.mouse.move(*to_window(*start))
        page.mouse.down()
        page.mouse.move(*to_window(*end), steps=4)
        page.mouse.up()

    def shows(x: int, y: int, w: int = 20, h: int = 20) -> bool:
        assert page.inner_text("#centre") == f"({x}, {y})"
        assert page.inner_text("#size") == f"{w} × {h}"
        for loss in LOSSES:
            cells = page.locator(f"#numbers tr[data-loss='{loss}'] td[data-value]")
            values = [float(value) for value in cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)")]
            assert values == pytest.approx(expected(loss, x, y, w, h), rel=1e-3, abs=1e-7)
        box = to_xyxy(torch.tensor([[x, y, w, h]], dtype=torch.float64), box_format="cxcywh")
        assert float(page.inner_text("#iou")) == pytest.approx(float(aligned_iou(box, TARGET)), abs=1e-3)
        return True

    assert shows(20, 40)
    drag((14, 45), (14 + 31, 45 - 8))  # taken at its edge: the box must not jump under the pointer
    assert shows(51, 32)
    drag((5, 70), (5, 70))  # a place beside the box takes it there
    assert shows(5, 70)
    drag((5, 70), (-7, 90))  # the edge of the grid
    assert shows(0, 80)

    page.click("#places button[data-x='40']")
    page.focus("#box")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    assert shows(39, 35)
    from playwright.sync_api import expect

    expect(page.locator("#spoken")).to_contain_text("centre 39, 35")
    expect(page).to_have_url(re.compile("x=39&y=35"))
    page.focus("#width")
    page.keyboard.press("ArrowRight")
    assert shows(39, 35, 28)

    arrows = page.locator("#arrows .arrow").count()
    page.check("#numbers tr[data-loss='l2'] input[type=checkbox]")
    assert page.locator("#arrows .arrow").count() == arrows + 1
    drawn = page.evaluate("document.querySelector('#scene canvas').toDataURL()")
    page.check("#numbers tr[data-loss='huber'] input[type=radio]")
    assert page.inner_text("#map-name") == "huber"
    assert page.evaluate("document.querySelector('#scene canvas').toDataURL()") != drawn

    page.click("#places button[data-x='8']")  # far off, where IoU pulls nowhere
    assert page.locator("#arrows [data-loss=iou] circle").count() == 4
    assert page.locator("#arrows [data-loss=huber] circle").count() == 0

    for theme, ground in (("light", "rgb(247, 247, 245)"), ("dark", "rgb(20, 23, 26)")):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
