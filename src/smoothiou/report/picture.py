"""A figure as files: SVG that follows the reader's light or dark theme, PNG, and PDF."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from smoothiou.report.svg import PALETTE_SIZE, drawing, inline

STYLE = Path(__file__).parent / "templates" / "style.css"
PALETTE: dict[str, tuple[str, str]] = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE.read_text(encoding="utf-8")
    )
}
"""The report's colours by name, (light, dark): `ink`, `muted`, `grid`, `card`, `loss-0`, ..."""

FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif'
PNG_DPI = 160
MARGIN = 0.11
"""Inches around the drawing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One figure in both forms."""

    name: str
    """File name without its ending."""
    svg: str
    png: bytes


def light(name: str) -> str:
    """Return a colour of the report as it is on white."""
    return PALETTE[name][0]


@contextmanager
def drawing_alone(name: str) -> Iterator[None]:
    """Draw with this project's settings, in the colours of the light theme."""
    style: Any = {"text.color": light("ink"), "grid.color": light("grid")}
    style |= {"legend.facecolor": light("card"), "pdf.fonttype": 42}
    style["axes.prop_cycle"] = cycler(color=[light(f"loss-{order}") for order in range(PALETTE_SIZE)])
    style |= dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), light("muted"))
    with drawing(name):
        mpl.rcParams.update(style)
        yield


def picture(figure: Figure, name: str, *, title: str, description: str) -> Picture:
    """Return a figure as SVG and PNG, the same bytes for the same drawing.

    The SVG carries literal colours, which every program can show, and a rule that turns them into those of the dark
    theme where a browser asks for it.

    Args:
        figure: what was drawn inside `drawing_alone(name)`.
        name: letters, digits and hyphens.
        title: short, read aloud first.
        description: what the figure shows, for a reader who cannot see it.
    """
    pixels = io.BytesIO()
    svg = svg_file(figure, name, title=title, description=description)
    figure.savefig(
        pixels, format="png", dpi=PNG_DPI, facecolor=light("card"), pil_kwargs={"optimize": True},
        metadata={"Software": None, "Title": title, "Description": description},
    )  # fmt: skip
    return Picture(name=name, svg=svg, png=pixels.getvalue())


def svg_file(figure: Figure, name: str, *, title: str, description: str) -> str:
    """Return a figure as the content of an SVG file (see `picture`)."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=MARGIN, h_pad=MARGIN)  # type: ignore[call-arg]
    return _standalone(inline(figure, name, title=title, description=description))


def pdf_file(figure: Figure, *, title: str) -> bytes:
    """Return a figure as the content of a PDF file, the same bytes for the same drawing."""
    content = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
    figure.savefig(content, format="pdf", transparent=True, metadata={**nothing, "Title": title})
    return content.getvalue()


def _standalone(body: str) -> str:
    """Turn an `<svg>` for the inside of a page into a file: sizes, a ground, fonts and the dark theme."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', body)
    assert box, "an inline SVG has a viewBox"
    width, height = (f"{float(side):g}" for side in box.groups())
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" class="plot"'
    body = body.replace('<svg class="plot"', head, 1)
    rules = [
        f'[style*="{paint}: {bright}"]{{{paint}:{dark}!important}}'
        for bright, dark in dict(PALETTE.values()).items()
        for paint in ("fill", "stroke")
        if f"{paint}: {bright}" in body
    ]
    ground = PALETTE["card"]
    style = (
        f"text{{font-family:{FONTS};font-variant-numeric:tabular-nums}}"
        f"svg{{stroke-linejoin:round}}.ground{{fill:{ground[0]}}}"
        f"@media(prefers-color-scheme:dark){{.ground{{fill:{ground[1]}}}{''.join(rules)}}}"
    )
    rect = f'<rect class="ground" width="{width}" height="{height}" fill="{ground[0]}"/>'
    return body.replace("</desc>", f"</desc><style>{style}</style>{rect}", 1) + "\n"
