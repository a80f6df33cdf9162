"""Pictures of losses: the same bytes each time, readable by machines and in the dark."""

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import Image

from smoothiou.lab.curves import FIGURE_1, FIGURE_2_LEFT, FIGURE_3, MISMATCH, PAPER, slide, slides
from smoothiou.report.curve_figures import (
    differs,
    figure_1,
    figure_2_left,
    gallery_picture,
    gradient_panels,
    overlaid,
    value_panels,
)
from smoothiou.report.picture import PALETTE

SVG = "{http://www.w3.org/2000/svg}"

DRAW = {
    "figure1": lambda: figure_1(slides(FIGURE_1)),
    "figure2-left": lambda: figure_2_left(slides(FIGURE_2_LEFT)),
    "figure3": lambda: overlaid(slides(FIGURE_3, size=MISMATCH), "figure3", title="Figure 3"),
    "gradients": lambda: gradient_panels(slides(PAPER)),
    "slide": lambda: value_panels(slides(["l1", "smooth-l1"]), "slide", title="Slide"),
    "iou": lambda: gallery_picture(slide("iou"), "iou"),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_picture_is_svg_and_png_and_says_what_it_shows(name):
    picture = DRAW[name]()
    assert picture.name == name
    root = ElementTree.fromstring(picture.svg)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text
    assert description is not None
    assert description.text
    assert root.get("role") == "img"
    words = "".join(root.itertext())
    assert "40" in words
    image = Image.open(io.BytesIO(picture.png))
    assert image.width > 2 * float(root.get("width", 0)) * 0.9
    assert image.getpixel((0, 0))[:3] == (255, 255, 255)
    assert "<script" not in picture.svg
    assert "http" not in picture.svg.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.slow
def test_the_same_drawing_is_the_same_bytes_in_another_process():
    code = (
        "import sys; from smoothiou.lab.curves import slide\n"
        "from smoothiou.report.curve_figures import gallery_picture\n"
        "p = gallery_picture(slide('smooth-iou'), 'x'); sys.stdout.buffer.write(p.svg.encode() + p.png)"
    )
    first, second = (subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout
    assert len(first.stdout) > 20_000


def test_every_colour_of_a_picture_has_one_for_the_dark():
    svg = DRAW["gradients"]().svg
    head, rules = svg.split("@media(prefers-color-scheme:dark)")[0], svg.split("@media(prefers-color-scheme:dark)")[1]
    assert PALETTE["card"][0] in head
    rules, body = rules.split("</style>")
    for light, dark in (PALETTE["ink"], PALETTE["muted"], PALETTE["loss-0"], PALETTE["loss-1"]):
        assert light in body
        assert f"{dark}!important" in rules


def test_a_gallery_picture_is_light_enough_for_a_docs_page():
    assert all(len(gallery_picture(slide(loss), loss).svg) < 20_000 for loss in ("huber", "iou", "smooth-iou"))


def test_gradient_and_slope_differ_only_where_something_is_held_constant():
    assert differs(slide("smooth-iou"))
    assert not any(differs(slide(loss)) for loss in ("huber", "l1", "l2", "iou", "smooth-iou[lam=0.5]"))


def test_the_palette_is_the_reports_own():
    style = Path(sys.modules[gallery_picture.__module__].__file__ or "").parent / "templates" / "style.css"
    for name, (light, dark) in PALETTE.items():
        assert f"--{name}: light-dark({light}, {dark})" in style.read_text()
    assert len([name for name in PALETTE if name.startswith("loss-")]) == 7
