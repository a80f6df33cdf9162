"""A confusion matrix as a table whose cells are shaded by their share of the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST = 20
"""Classes in one table: those with the most boxes; diagnostics.json has all."""
BACKGROUND = "background"


def confusion_table(title: str, classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return what the template's `confusion` draws.

    Args:
        title: of the table.
        classes: names, K.
        matrix: (K + 1, K + 1) counts, rows the gt class, columns the detection, last the background.
    """
    ranked = sorted(range(len(classes)), key=lambda row: -sum(matrix[row]))[:MOST]
    drawn = [*sorted(ranked), len(classes)]
    names = [*classes, BACKGROUND]
    rows = []
    for row in drawn:
        total = sum(matrix[row])
        cells = []
        for column in drawn:
            empty = row == column == len(classes)  # nothing that is not there and not found can be counted
            count = matrix[row][column]
            share = count / total if total else 0.0
            cells.append({"text": "" if empty else f"{count:,}", "share": round(share, 3), "right": row == column})
        rows.append({"name": names[row], "total": f"{total:,}", "cells": cells})
    left_out = len(classes) - len(ranked)
    return {"title": title, "columns": [names[column] for column in drawn], "rows": rows, "left_out": left_out}
