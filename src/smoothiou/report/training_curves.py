"""Training curves: metrics.csv as it was written, smoothed and thinned for the eye."""

from __future__ import annotations

import csv
import math
from itertools import accumulate
from pathlib import Path
from typing import Any

Curve = list[tuple[float, float]]
"""Points (step, value) of one column of one run, in the order of the steps."""

POINTS = 100
"""A training curve is thinned to about this many points, so that a page stays light."""


def read_curves(path: Path) -> dict[str, Curve]:
    """Read metrics.csv column by column, leaving out fields that are empty or no finite number."""
    if not path.is_file():
        return {}
    columns: dict[str, dict[float, float]] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            numbers = {column: number for column, text in row.items() if (number := _number(text)) is not None}
            step = numbers.pop("step", None)
            if step is not None:
                for column, number in numbers.items():
                    # A resumed run may have written a step twice: the later row is the one that counted.
                    columns.setdefault(column, {})[step] = number
    return {column: sorted(points.items()) for column, points in columns.items()}


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def moving_average(points: Curve) -> Curve:
    """Return the curve with each value replaced by the mean of its neighbourhood (see `window`)."""
    half, last = window(len(points)) // 2, len(points) - 1
    sums = [0.0, *accumulate(value for _, value in points)]
    smooth = []
    for index, (step, _) in enumerate(points):
        reach = min(half, index, last - index)  # symmetric up to the ends, so that a slope is not bent there
        smooth.append((step, (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)))
    return smooth


def window(count: int) -> int:
    """Return the width of a moving average in points: a twentieth of the curve, an odd number."""
    return max(1, count // 20) // 2 * 2 + 1


def thin(points: Curve) -> Curve:
    """Return at most about `POINTS` points of a curve, always with its last."""
    thinned = points[:: -(-len(points) // POINTS)]
    return thinned if thinned[-1] == points[-1] else [*thinned, points[-1]]
