"""The paper's tables with ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from smoothiou.report.metric import NOTHING
from smoothiou.report.table import Cell, Row, Table
from smoothiou.study.paper import LOSSES, METRICS_3, TABLE_1, TABLE_2, TABLE_3, TITLES, WINS_3
from smoothiou.study.reproduce import count_wins

if TYPE_CHECKING:
    from smoothiou.engine.config import RunConfig

Ours = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""Data set -> metric -> loss -> number."""


def table_1(recipes: Mapping[str, Mapping[str, RunConfig]]) -> Table:
    """Return Table 1 with the values of our recipes beside it.

    Args:
        recipes: data set -> loss -> settings.
    """
    rows = []
    for name, by_loss in recipes.items():
        paper = TABLE_1[name]
        for loss, config in by_loss.items():
            dropout = config.model.roi_dropout
            kept = "1" if dropout == "none" else f"{1 - dropout:g}"
            cells = (
                f"{paper.lr:g}", f"{config.optim.lr:g}", str(paper.proposals), str(config.model.proposals),
                paper.dropout, kept, config.optim.name, str(config.train.steps),
            )  # fmt: skip
            rows.append(Row(f"{TITLES[name]} {loss}", [Cell(text) for text in cells], loss))
    columns = ["rate paper", "rate ours", "proposals paper", "proposals ours", "dropout paper", "stays ours"]
    columns += ["optimizer ours", "steps ours"]
    return Table("paper-1", "Table 1: recipes, the paper's and ours", "data", columns, rows)


def table_2(ours: Ours) -> Table:
    """Return Table 2, mean IoU of all proposed boxes, with ours beside it, and the data sets that each loss wins."""
    rows = []
    for name, metrics in ours.items():
        printed, reproduced = TABLE_2[name], [metrics["mean_iou"][loss] for loss in LOSSES]
        cells = [_cell(value, 3) for value in (*printed, *reproduced)]
        rows.append(Row(TITLES[name], cells + [_cell(_gain(pair), 3, signed=True) for pair in (printed, reproduced)]))
    paper_wins = count_wins([TABLE_2[name] for name in ours])
    our_wins = count_wins([_rounded(metrics["mean_iou"], 3) for metrics in ours.values()])
    wins = [Cell(str(count)) for count in (*paper_wins, *our_wins)]
    rows.append(Row("wins", [*wins, Cell(""), Cell("")], kind="wins"))
    columns = [f"{loss} {whose}" for whose in ("paper", "ours") for loss in LOSSES]
    columns += ["gain paper", "gain ours"]
    return Table("paper-2", "Table 2: mean IoU of all proposed boxes", "data", columns, rows)


def table_3(ours: Ours) -> Table:
    """Return Table 3, COCO's metrics in %, with ours beside it, and first the data sets that each loss wins."""
    rows = []
    for column, loss in enumerate(LOSSES):
        cells = []
        for metric in METRICS_3:
            paper_wins = count_wins([TABLE_3[name][metric] for name in ours])
            our_wins = count_wins([_rounded(metrics[metric], 2) for metrics in ours.values()])
            assert len(ours) < len(TABLE_3) or paper_wins == WINS_3[metric]
            cells += [Cell(str(paper_wins[column])), Cell(str(our_wins[column]))]
        rows.append(Row(f"wins {loss}", cells, loss, "wins"))
    for name, metrics in ours.items():
        for column, loss in enumerate(LOSSES):
            pairs = [(TABLE_3[name][metric][column], metrics[metric][loss]) for metric in METRICS_3]
            cells = [_cell(value, 2) for pair in pairs for value in pair]
            rows.append(Row(f"{TITLES[name]} {loss}", cells, loss, "loss"))
    columns = [f"{word} {whose}" for word in METRICS_3.values() for whose in ("paper", "ours")]
    return Table("paper-3", "Table 3: COCO's metrics in %", "data", columns, rows)


def _rounded(by_loss: Mapping[str, float | None], digits: int) -> list[float | None]:
    """Return the numbers as printed: what looks equal in the table is a tie, as in the paper's."""
    return [None if (value := by_loss[loss]) is None else round(value, digits) for loss in LOSSES]


def _gain(pair: Sequence[float | None]) -> float | None:
    huber, smooth_iou = pair
    return None if huber is None or smooth_iou is None else smooth_iou - huber


def _cell(value: float | None, digits: int, *, signed: bool = False) -> Cell:
    if value is None:
        return Cell(NOTHING)
    rounded = round(value, digits) + 0.0  # -0.0 is 0
    return Cell(f"{rounded:{'+' if signed else ''}.{digits}f}", value=value)
