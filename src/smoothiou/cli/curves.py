"""`smoothiou curves`: the paper's Figures 1 to 3, gradients, any other loss, and a page to try them by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from smoothiou.api.settings import folder_name
from smoothiou.cli.options import Json, Quiet
from smoothiou.errors import ConfigError
from smoothiou.files import write_bytes, write_text
from smoothiou.loss_spec import split_losses
from smoothiou.words import counted

if TYPE_CHECKING:
    from smoothiou.lab.curves import Slide
    from smoothiou.report.picture import Picture

Figure = Literal["1", "2", "3", "all"]


def curves(
    *,
    figure: Annotated[Figure | None, Parameter(help="Draw this figure of the paper alone.")] = None,
    losses: Annotated[str | None, Parameter(help="Draw these instead, for example `huber,giou,smooth-iou`.")] = None,
    out: Annotated[Path, Parameter(help="Folder for the files.")] = Path("runs/curves"),
    html: Annotated[bool, Parameter(negative="", help="Also write explorer.html, to move a box by hand.")] = False,
    gallery: Annotated[bool, Parameter(negative="", help="Draw only one small SVG for each loss.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw losses while a predicted box slides over its target, as SVG, PNG and CSV.

    Without options: Figures 1, 2 and 3 of the paper, and the gradients of its losses. With `--losses`: value, gradient
    and value under a size mismatch of any loss, options in brackets.

    Examples:
        smoothiou curves
        smoothiou curves --losses 'huber[delta=0.5],giou,smooth-iou' --html
        smoothiou curves --gallery --out docs/images/losses
    """
    chosen = None if losses is None else split_losses(losses)
    if gallery and (figure or html):
        raise ConfigError("--gallery draws nothing but its small pictures.", hint="Leave out --figure and --html.")

    from smoothiou.lab.grid import loss_grid
    from smoothiou.lab.pairs import SinglePairLoss
    from smoothiou.losses import LOSSES
    from smoothiou.report.explorer import render_explorer

    for spec in chosen or ():
        SinglePairLoss(spec)  # a loss that cannot be drawn is reported before anything is written
    specs = chosen or tuple(LOSSES)
    written = _draw_gallery(specs, out) if gallery else _draw_figures(figure, chosen, out)
    if html:
        if not quiet:
            print(f"Computing {counted(len(specs), 'loss', 'losses')} on a grid of boxes ...", file=sys.stderr)
        written.append(out / "explorer.html")
        write_text(written[-1], render_explorer(loss_grid(specs)))
    if json_:
        print(json.dumps({"written": [str(path) for path in written]}))
    else:
        print("\n".join(map(str, written)))


def _draw_gallery(specs: Sequence[str], out: Path) -> list[Path]:
    from smoothiou.lab.curves import slide
    from smoothiou.report.curve_figures import gallery_picture

    files = {out / f"{folder_name(spec)}.svg": spec for spec in specs}
    for file, spec in files.items():
        write_text(file, gallery_picture(slide(spec), folder_name(spec)).svg)
    return list(files)


def _draw_figures(figure: Figure | None, chosen: tuple[str, ...] | None, out: Path) -> list[Path]:
    from smoothiou.lab.curves import slides_csv

    written = []
    for picture, slides in _pictures(figure, chosen):
        svg, png, table = (out / f"{picture.name}.{ending}" for ending in ("svg", "png", "csv"))
        write_text(svg, picture.svg)
        write_bytes(png, picture.png)
        write_text(table, slides_csv(slides))
        written += [svg, png, table]
    return written


def _pictures(figure: Figure | None, chosen: tuple[str, ...] | None) -> Iterator[tuple[Picture, Sequence[Slide]]]:
    from smoothiou.lab import curves as lab
    from smoothiou.report import curve_figures as draw

    figure = figure or ("all" if chosen is None else None)
    if figure in ("1", "all"):
        slides = lab.slides(lab.FIGURE_1)
        yield draw.figure_1(slides), slides
    if figure in ("2", "all"):
        slides = lab.slides(lab.FIGURE_2_LEFT)
        yield draw.figure_2_left(slides), slides
        slides = lab.slides(lab.FIGURE_2_RIGHT)
        title = "Figure 2 (right): Huber, squared and Smooth IoU loss, each scaled to 1"
        yield draw.overlaid(slides, "figure2-right", title=title, scaled=True), slides
    if figure in ("3", "all"):
        slides = lab.slides(lab.FIGURE_3, size=lab.MISMATCH)
        yield draw.overlaid(slides, "figure3", title="Figure 3: the prediction is larger than the target"), slides
    if chosen is not None:
        slides, mismatch = lab.slides(chosen), lab.slides(chosen, size=lab.MISMATCH)
        yield draw.value_panels(slides, "slide", title="Each loss along the slide"), slides
        title = "Each loss along the slide of a larger prediction"
        yield draw.value_panels(mismatch, "mismatch", title=title), mismatch
    if chosen is not None or figure == "all":
        slides = lab.slides(chosen or lab.PAPER)
        yield draw.gradient_panels(slides), slides
