"""`smoothiou curves`: the paper's Figures 1 to 3, gradients, any other loss, and a page to try them by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from smoothiou.cli.options import Json, Quiet, folder_name
from smoothiou.errors import ConfigError
from smoothiou.loss_spec import split_losses

if TYPE_CHECKING:
    from smoothiou.lab.curves import Slide
    from smoothiou.report.picture import Picture

Figure = Literal["1", "2", "3", "all"]
Drawn = tuple["Picture", Sequence["Slide"]]


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
    """Draw losses while a predicted box slides over the truth, as SVG, PNG and CSV.

    Without options: Figures 1, 2 and 3 of the paper, and the gradients of its losses. With `--losses`: value, gradient
    and value under a size mismatch of any loss, options in brackets.

    Examples:
        smoothiou curves
        smoothiou curves --losses 'huber[delta=0.5],giou,smooth-iou' --html
        smoothiou curves --gallery --out docs/images/losses
    """
    named = None if losses is None else split_losses(losses)
    if gallery and (figure or html):
        raise ConfigError("--gallery draws nothing but its small pictures.", hint="Leave out --figure and --html.")

    from smoothiou.files import write_bytes, write_text
    from smoothiou.lab import SinglePairLoss
    from smoothiou.losses import LOSSES

    for spec in named or ():
        SinglePairLoss(spec)  # what cannot be drawn is said before anything is written
    written = []
    if gallery:
        for name, picture in _gallery(named or tuple(LOSSES)):
            written.append(out / f"{name}.svg")
            write_text(written[-1], picture.svg)
    else:
        from smoothiou.lab import slides_csv

        for picture, slides in _pictures(figure, named):
            files = [out / f"{picture.name}.{ending}" for ending in ("svg", "png", "csv")]
            write_text(files[0], picture.svg)
            write_bytes(files[1], picture.png)
            write_text(files[2], slides_csv(slides))
            written += files
    if html:
        written.append(_page(named or tuple(LOSSES), out, quiet=quiet))
    if json_:
        print(json.dumps({"written": [str(path) for path in written]}))
    else:
        print("\n".join(map(str, written)))


def _pictures(figure: Figure | None, named: tuple[str, ...] | None) -> Iterator[Drawn]:
    from smoothiou.lab import curves as lab
    from smoothiou.report import curve_figures as draw

    wanted = figure or ("all" if named is None else None)
    if wanted in ("1", "all"):
        slides = lab.slides(lab.FIGURE_1)
        yield draw.figure_1(slides), slides
    if wanted in ("2", "all"):
        slides = lab.slides(lab.FIGURE_2_LEFT)
        yield draw.figure_2_left(slides), slides
        slides = lab.slides(lab.FIGURE_2_RIGHT)
        title = "Figure 2 (right): Huber, squared and Smooth IoU loss, each scaled to 1"
        yield draw.overlaid(slides, "figure2-right", title=title, scaled=True), slides
    if wanted in ("3", "all"):
        slides = lab.slides(lab.FIGURE_3, size=lab.MISMATCH)
        title = "Figure 3: the prediction is larger than the truth"
        yield draw.overlaid(slides, "figure3", title=title), slides
    if named is not None:
        slides, mismatch = lab.slides(named), lab.slides(named, size=lab.MISMATCH)
        yield draw.value_panels(slides, "slide", title="Each loss along the slide"), slides
        title = "Each loss along the slide of a larger prediction"
        yield draw.value_panels(mismatch, "mismatch", title=title), mismatch
    if named is not None or wanted == "all":
        slides = lab.slides(named or lab.PAPER)
        yield draw.gradient_panels(slides), slides


def _gallery(named: tuple[str, ...]) -> Iterator[tuple[str, Picture]]:
    from smoothiou.lab import slide
    from smoothiou.report.curve_figures import gallery_picture

    for spec in named:
        name = folder_name(spec)
        yield name, gallery_picture(slide(spec), name)


def _page(named: tuple[str, ...], out: Path, *, quiet: bool) -> Path:
    from smoothiou.files import write_text
    from smoothiou.lab import loss_grid
    from smoothiou.report.explorer import render_explorer

    if not quiet:
        print(f"Computing {len(named)} losses on a grid of boxes ...", file=sys.stderr)
    path = out / "explorer.html"
    write_text(path, render_explorer(loss_grid(named)))
    return path
