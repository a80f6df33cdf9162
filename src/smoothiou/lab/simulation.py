"""The DIoU paper's regression experiment for one loss: 1,715,000 boxes, 200 steps, one result.

from smoothiou.lab import simulate
result = simulate("giou", gradients="exact", out="runs/simulate").result
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smoothiou.lab.cases import ALL_POINTS, RADIUS, RATIOS, SCALES, Cases, draw_cases
from smoothiou.lab.descent import EVERY, Descent, descend
from smoothiou.lab.gradients import exact_gradient, published_gradient
from smoothiou.lab.keep import LOSSES, Computed, Kept, keep
from smoothiou.lab.team import Team
from smoothiou.manifest import version

Gradients = Literal["exact", "published"]
DISTANCE_EDGES = np.linspace(0, RADIUS, 13)


def simulate(
    loss: str,
    *,
    out: str | Path,
    gradients: Gradients = "exact",
    points: int = ALL_POINTS,
    seed: int = 0,
    team: Team | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Kept:
    """Run the DIoU paper's experiment with one loss, or return what lies in `out` already.

    Args:
        loss: as on the command line, `giou` or `smooth-iou[lam=box]`.
        out: folder of results, one folder in it for each.
        gradients: `exact`: the loss's own; `published`: what the paper's code computes in its place.
        points: anchor centres, 1 to 5,000, with 343 cases each.
        seed: of the anchor centres.
        team: processes that share the work; None: this one does it alone. Changes no number.
        on_step: told after each step: its number, mean error and mean IoU.

    Returns:
        The result: `error` and `mean_iou` after 0, 1, ... 200 steps and `above` and `inverted` after `counted`
        steps, all as means over the cases (`inverted`: a count), and `maps`.

    Raises:
        ConfigError: there is no such loss, or it has no gradient of this kind.
        DivergedError: a box became infinite or no number.
    """
    gradient = exact_gradient(loss) if gradients == "exact" else published_gradient(loss)
    config = {"kind": "regression", "loss": loss, "gradients": gradients, "points": points, "seed": seed}

    def compute() -> Computed:
        cases = draw_cases(points, seed=seed)
        descent = descend(cases.anchors, cases.targets, gradient, team=team, on_step=on_step)
        return _summary(descent, cases, config)

    code = ("lab/cases.py", "lab/descent.py", "lab/gradients.py", "lab/published.py", "lab/share.py")
    code += ("lab/simulation.py",)
    return keep(Path(out), config, compute, code=code if gradients == "published" else (*code, *LOSSES))


def _summary(descent: Descent, cases: Cases, config: dict[str, Any]) -> Computed:
    steps = len(descent.error) - 1
    error = (descent.boxes - cases.targets).abs().sum(0).view(cases.grid).double().numpy()
    iou = descent.iou.view(cases.grid).double().numpy()
    signature = "|".join(
        (
            "regression error", f"loss:{config['loss']}", f"gradients:{config['gradients']}", f"cases:{len(cases)}",
            f"seed:{config['seed']}", "float32", f"smoothiou:{version()}",
        )
    )  # fmt: skip
    result = {
        "cases": len(cases),
        "steps": steps,
        "counted": list(range(0, steps + 1, EVERY)),
        "error": descent.error,
        "mean_iou": descent.mean_iou,
        "above": {f"{threshold:g}": shares for threshold, shares in descent.above.items()},
        "inverted": descent.inverted,
        "maps": {
            "distance_edges": DISTANCE_EDGES.tolist(),
            "scales": list(SCALES),
            "ratios": list(RATIOS),
            "error_by_distance_and_scale": _by_distance(error, cases.points),
            "iou_by_distance_and_scale": _by_distance(iou, cases.points),
            "error_by_ratios": error.mean(axis=(1, 3)).tolist(),
            "iou_by_ratios": iou.mean(axis=(1, 3)).tolist(),
        },
        "seconds": descent.seconds,
        "workers": descent.workers,
        "case_steps_per_second": len(cases) * steps / max(descent.seconds, 1e-9),
        "signature": signature,
    }
    arrays = {
        "points": cases.points.astype(np.float32),
        "error_by_point": error.mean(axis=(0, 1, 2)).astype(np.float32),
        "iou_by_point": iou.mean(axis=(0, 1, 2)).astype(np.float32),
    }
    return result, arrays


def _by_distance(values: np.ndarray, points: np.ndarray) -> list[list[float | None]]:
    """Return means per (distance of the anchor's centre, scale); None where no centre was drawn."""
    by_scale = values.mean(axis=(0, 2))
    place = np.digitize(np.hypot(points[:, 0], points[:, 1]), DISTANCE_EDGES[1:-1])
    return [
        [float(row[place == ring].mean()) if np.any(place == ring) else None for row in by_scale]
        for ring in range(len(DISTANCE_EDGES) - 1)
    ]
