"""From a matplotlib figure to an SVG that stands in a page beside others and follows the page's colours."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Figures are drawn in colours that nobody would choose; each then becomes a CSS colour of the page.
INK, MUTED, GRID, GROUND = "#fe0200", "#fe0201", "#fe0202", "#fe0203"
PALETTE_SIZE = 7
THEME = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)", GROUND: "var(--card)"} | {
    f"#fe010{order}": f"var(--loss-{order})" for order in range(PALETTE_SIZE)
}
STYLE: Any = {
    "svg.fonttype": "none", "font.size": 10.5, "text.color": INK, "text.parse_math": False,
    "axes.edgecolor": MUTED, "axes.labelcolor": MUTED, "axes.facecolor": "none", "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "axes.xmargin": 0.02, "grid.color": GRID, "grid.linewidth": 0.8, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.major.size": 3, "ytick.major.size": 0, "lines.linewidth": 1.7, "lines.markersize": 4.5,
    "figure.facecolor": "none", "legend.facecolor": GROUND,
    "axes.prop_cycle": cycler(color=[f"#fe010{order}" for order in range(PALETTE_SIZE)]),
}  # fmt: skip


def loss_colour(order: int) -> str:
    """Return the drawing colour of the loss at this position in the list."""
    return mpl.rcParams["axes.prop_cycle"].by_key()["color"][order % PALETTE_SIZE]


def ink() -> str:
    """Return the colour of text, in which zero is drawn too."""
    return mpl.rcParams["text.color"]


def ground() -> str:
    """Return the colour of what figures lie on."""
    return mpl.rcParams["legend.facecolor"]


def grid() -> str:
    """Return the colour of what lies behind the data."""
    return mpl.rcParams["grid.color"]


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw with this project's settings alone: no matplotlibrc of the user, and ids that depend on `name`."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE | {"svg.hashsalt": name})
        # Texts stay texts, which the reader's own fonts draw: what matplotlib's font lacks does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in CSS pixels, without pyplot and its global state."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def inline(figure: Figure, name: str, *, title: str, description: str) -> str:
    """Return the figure as an `<svg>` element for the inside of an HTML page.

    Ids are made unique by `name` or dropped, matplotlib's page-wide style and its metadata are taken out,
    and coordinates are rounded to a hundredth of a pixel.

    Args:
        figure: what was drawn inside `drawing(name)`.
        name: unique in the page; letters, digits and hyphens.
        title: short, read aloud first.
        description: what the figure shows, for a reader who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    match = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>(.*)', buffer.getvalue(), re.DOTALL)
    assert match, "matplotlib wrote an SVG without a viewBox"
    view_box, body = match.groups()
    for unused in (r"<metadata>.*?</metadata>", r"<defs>\s*<style.*?</style>\s*</defs>", "<!--.*?-->"):
        body = re.sub(unused, "", body, flags=re.DOTALL)
    body = _unique_ids(body.replace("xlink:href", "href"), name)
    body = re.sub(r"font: ([^;\"]*?)([\d.]+)px [^;\"]*", r"font-size: \2px", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{3,}", _rounded, tag[0]), body)  # not the texts between
    for drawn, css in THEME.items():
        body = body.replace(drawn, css)
    head = (
        f'<svg class="plot" viewBox="{view_box}" role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-description">{html.escape(description)}</desc>'
    )
    return head + re.sub(r">\s+<", "><", body).strip()


def _unique_ids(body: str, name: str) -> str:
    """Keep the ids that are referred to, each with `name` before it."""
    used = sorted(set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body)))
    renamed = {old: f"{name}-{order}" for order, old in enumerate(used)}
    body = re.sub(r' id="([^"]+)"', lambda match: f' id="{renamed[match[1]]}"' if match[1] in renamed else "", body)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda match: match[1] + renamed[match[2]], body)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
