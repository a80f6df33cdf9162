"""From a matplotlib figure to an SVG that stands in a page beside others and follows the page's colours."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Figures are drawn in colours that nobody would choose; each then becomes a CSS colour of the page.
INK, MUTED, GRID, GROUND = "#fe0200", "#fe0201", "#fe0202", "#fe0203"
THEME = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)", GROUND: "var(--card)"}
PALETTE_SIZE = 7
for _slot in range(PALETTE_SIZE):
    THEME[f"#fe010{_slot}"] = f"var(--loss-{_slot})"


def loss_colour(order: int) -> str:
    """Return the drawing colour of the loss at this place in the list."""
    return f"#fe010{order % PALETTE_SIZE}"


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Draw with this project's settings alone: no matplotlibrc of the user, and ids that depend on `name`."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": name,
                "font.size": 10.5,
                "text.color": INK,
                "text.parse_math": False,
                "axes.edgecolor": MUTED,
                "axes.labelcolor": MUTED,
                "axes.facecolor": "none",
                "axes.linewidth": 0.8,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "axes.xmargin": 0.02,
                "grid.color": GRID,
                "grid.linewidth": 0.8,
                "xtick.color": MUTED,
                "ytick.color": MUTED,
                "xtick.major.size": 3,
                "ytick.major.size": 0,
                "lines.linewidth": 1.7,
                "lines.markersize": 4.5,
                "figure.facecolor": "none",
            }
        )
        with warnings.catch_warnings():
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
        description: what the figure shows, for who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    assert box, "matplotlib wrote an SVG without a viewBox"
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL).replace("xlink:href", "href")
    body = _own_ids(body, name)
    body = re.sub(r"font: ([^;\"]*?)([\d.]+)px [^;\"]*", r"font-size: \2px", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{3,}", _rounded, tag[0]), body)  # not the texts between
    for drawn, shown in THEME.items():
        body = body.replace(drawn, shown)
    body = re.sub(r">\s+<", "><", body)
    head = (
        f'<svg class="plot" viewBox="{box[1]}" role="img" aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-description">{html.escape(description)}</desc>'
    )
    return head + body.strip()


def _own_ids(body: str, name: str) -> str:
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    renamed = {old: f"{name}-{order}" for order, old in enumerate(sorted(used))}
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{renamed[found[1]]}"' if found[1] in used else "", body)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda found: found[1] + renamed[found[2]], body)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
