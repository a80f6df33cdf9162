"""`smoothiou losses`: the shelf; the table without torch."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import TYPE_CHECKING

from smoothiou.cli.options import Json

if TYPE_CHECKING:
    from smoothiou.losses.catalogue import LossCard

COLUMNS = ("loss", "range", "disjoint", "frame", "weight", "gives")


def losses(name: str = "", *, json_: Json = False) -> None:
    """List the box losses, or print the formula, options and reference of one.

    Args:
        name: a loss; empty for the list.
    """
    from smoothiou.losses.catalogue import CATALOGUE, no_such_loss

    name = name.partition("[")[0]  # of a loss with options
    if name and name not in CATALOGUE:
        raise no_such_loss(name)
    cards = [CATALOGUE[name]] if name else list(CATALOGUE.values())
    if json_:
        print(json.dumps({card.name: dataclasses.asdict(card) for card in cards}, indent=1))
    else:
        print(_explain(cards[0]) if name else _table(cards))


def _table(cards: list[LossCard]) -> str:
    rows = [COLUMNS, *((c.name, c.range, _disjoint(c), _frame(c), f"{c.weight:g}", c.summary) for c in cards)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    notes = (
        "range     of the loss of one box",
        "disjoint  whether a box that does not touch its target is still pulled to it",
        "frame     codes: the deltas; any: the same in pixels and relative to the anchor; pixels: measured in them",
        "weight    a factor that its sources train with; `smoothiou calibrate DATA` measures one for your data",
        "`smoothiou losses NAME` prints formula, options and reference; `smoothiou curves --losses NAME` draws it.",
    )
    return "\n".join([*lines, "", *notes])


def _explain(card: LossCard) -> str:
    """Return all about one loss."""
    from smoothiou.losses.explain import options_of, text_of

    options = ", ".join(f"{option}={default!r}" for option, default in options_of(card.name).items())
    rows = {
        "loss": card.name,
        "gives": card.summary,
        "formula": card.formula,
        "range": card.range,
        "disjoint": _disjoint(card),
        "frame": _frame(card),
        "symmetric": "yes" if card.symmetric else "no: prediction and target cannot change places",
        "weight": f"{card.weight:g} ({card.weight_source})",
        "options": options or "none",
        "reference": card.reference,
    }
    if card.also_called:
        rows["names"] = card.also_called
    text = "\n".join(
        textwrap.fill(value, 110, initial_indent=f"{key:11}", subsequent_indent=" " * 11, break_on_hyphens=False)
        for key, value in rows.items()
    )
    return f"{text}\n\n{text_of(card.name)}"


def _disjoint(card: LossCard) -> str:
    return "no pull" if card.vanishes_when_disjoint else "pulled"


def _frame(card: LossCard) -> str:
    return "codes" if card.space == "codes" else card.frame
