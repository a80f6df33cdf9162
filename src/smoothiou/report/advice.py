"""What to do next: which run to use, whether trainings were long enough, and what would make the result known."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.report.metric import METRICS
from smoothiou.study.headline import TRAIN_LONGER

SPREAD = 0.03
"""Standard deviation of AP over seeds above which trainings are unsteady."""
LAST = 0.2
"""Part of a training, its end, that tells whether it was long enough."""
RISE = 0.01
"""Rise of validation AP in that part above which a training ended too early."""


def next_steps(study: LoadedStudy) -> list[str]:
    """Return sentences on what to do next, the most urgent first."""
    until, advice = study.summary["until"].get("sentence"), study.summary["headline"]["advice"]
    reasons = list(_undertrained(study))
    if reasons:  # which say more than the general advice
        advice = [line for line in advice if line != TRAIN_LONGER]
    elif study.finished:
        advice = [*advice, _long_enough(study)]
    return list(dict.fromkeys([*([until] if until else []), *reasons, *advice]))  # seeds of short trainings tell little


def best_run(study: LoadedStudy) -> dict[str, str] | None:
    """Return the run to use, with the command that does: highest AP among the runs of the better loss, else of all.

    None where no run has an AP; no command where results are kept without weights.
    """
    winners = [row for row in study.summary["differences"] if row["metric"] == "AP" and row["verdict"] == "better"]
    kind = study.summary["headline"]["kind"]
    loss = max(winners, key=lambda row: row["mean"])["candidate"] if winners else None
    if kind == "worse":
        loss = study.baseline
    runs = [cell for cell in study.finished if loss in (None, cell["loss"]) and _ap(cell) is not None]
    if not runs:
        return None
    cell = max(runs, key=_ap)
    folder = study.folder / "cells" / cell["id"]
    return {
        "id": cell["id"],
        "ap": METRICS["AP"].format(_ap(cell)),
        "among": f"among those of {loss}, its best loss" if loss else "of all, for no loss is known to be better",
        "command": f"smoothiou predict {shlex.quote(str(folder))} IMAGES" if any(folder.glob("*.ckpt")) else "",
    }


def _ap(cell: dict[str, Any]) -> Any:
    return cell["result"]["metrics"].get("AP")


def _undertrained(study: LoadedStudy) -> Iterator[str]:
    """Yield each sign of a training that was too short."""
    no_tighter, apart = [], []
    for loss, runs in (study.probe.get("groups") or {}).items():
        before = fmean(run["mean_before"] for run in runs.values())
        after = [run["refined_mean_iou"] for run in runs.values() if run["refined_mean_iou"] is not None]
        if after and fmean(after) <= before:
            no_tighter.append(f"{loss} makes boxes no tighter (mean IoU {before:.3f} before, {fmean(after):.3f} after)")
    for loss in study.losses:
        spread = (study.summary["summary"][loss].get("AP") or {}).get("sd")
        if spread is not None and spread > SPREAD:
            apart.append(f"{loss} varies by {100 * spread:.1f} points")
    if no_tighter:
        yield f"Train longer: the second stage of {'; that of '.join(no_tighter)}."
    if apart:
        yield (
            f"AP of {', that of '.join(apart)} (standard deviation) from seed to seed, as it does after short "
            "trainings: train longer before adding seeds."
        )
    rising = {}
    for loss in study.losses:
        rises = [rise for cell in study.finished if cell["loss"] == loss if (rise := _rise(study, cell))]
        if rises and fmean(points * LAST / part for points, part in rises) > RISE:
            points, part = (fmean(values) for values in zip(*rises, strict=True))
            rising[loss] = f"{loss} {100 * points:+.1f} points in its last {100 * part:.0f} %"
    if rising:
        yield f"Train longer: validation AP still rose ({', '.join(rising.values())})."


def _long_enough(study: LoadedStudy) -> str:
    several_seeds = any((study.summary["summary"][loss].get("AP") or {}).get("sd") is not None for loss in study.losses)
    if any(_rise(study, cell) for cell in study.finished):
        agree = "runs of a loss agree, and " if several_seeds else ""
        return f"Trainings look long enough: {agree}validation AP no longer rises."
    agree = "Runs of a loss agree. " if several_seeds else ""
    measured = any(study.curves[cell["id"]].get("val_AP") for cell in study.finished)
    why = (
        "validation AP was measured at the end alone (--train.eval_every)"
        if measured
        else "no validation AP was kept, which takes --train.eval_every and a val split (--data.val or --data.cut)"
    )
    return f"{agree}Whether longer trainings would end higher is not known: {why}."


def _rise(study: LoadedStudy, cell: dict[str, Any]) -> tuple[float, float] | None:
    """Return how much validation AP rose at the end of a training, and in what part of it; None where that is unknown.

    The part is the last fifth, or a longer one where nothing was measured at its beginning.
    """
    points = [point for point in study.curves[cell["id"]].get("val_AP") or [] if point[0] > 0]
    earlier = [point for point in points if point[0] <= (1 - LAST) * points[-1][0]]
    return (points[-1][1] - earlier[-1][1], 1 - earlier[-1][0] / points[-1][0]) if earlier else None
