"""The simulations of a command: which to run, with their progress, from names of losses to finished results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from smoothiou.data.box_list import read_box_list
from smoothiou.errors import ConfigError
from smoothiou.lab.cases import points_for
from smoothiou.lab.gradients import exact_gradient
from smoothiou.lab.keep import Kept
from smoothiou.lab.published import PUBLISHED
from smoothiou.lab.real_boxes import CASES, SPEEDS, simulate_boxes
from smoothiou.lab.simulation import simulate as simulate_regression
from smoothiou.lab.team import Team
from smoothiou.loss_spec import parse_loss
from smoothiou.losses import load_loss
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.progress import Progress

DEFAULT = ("iou", "giou", "diou", "ciou", "smooth-iou", "huber")
STEPS = 200

Told = Callable[[int, float, float], None]
Job = Callable[[Told, Team], Kept]


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    steps: int
    run: Job


def simulate(
    losses: Sequence[str] | None,
    *,
    gradients: Literal["exact", "published", "both"],
    cases: str,
    seed: int,
    boxes: Path | None,
    match_gradient: bool,
    out: Path,
    quiet: bool,
) -> list[Kept]:
    """Run the regression experiment, and on real boxes its successor, for every loss; keep what is done.

    Args:
        losses: as on the command line; None: the paper's four, smooth-iou and huber; `all` stands for the whole shelf.
        gradients: exact ones, those of the published code (for losses that it has), or both.
        cases: `full` or a number.
        seed: of anchors.
        boxes: annotation file or data set for the successor; None: the original experiment alone.
        match_gradient: see `lab.real_boxes`.
        out: folder of the results.
        quiet: no progress.

    Returns:
        The results, in the order of the losses: published and exact gradients, then real boxes.

    Raises:
        ConfigError: a loss, a number of cases or a combination that does not exist.
        DataError: the boxes cannot be read.
    """
    named = _named(losses)
    points = points_for(cases)
    jobs: list[_Job] = []
    if gradients != "exact":
        jobs += [_regression(loss, "published", points, seed, out) for loss in _published(losses, gradients)]
    if gradients != "published":
        for loss in named:
            exact_gradient(loss)  # what is wrong with a loss is said before any of them runs
        jobs += [_regression(loss, "exact", points, seed, out) for loss in named]
    if boxes is not None:
        found = read_box_list(boxes)
        truths = np.array(found.boxes, dtype=np.float64)
        number = CASES if cases == "full" else int(cases)
        for loss in named:
            name, options = parse_loss(loss)
            load_loss(name, **options)

            def run(told: Told, team: Team, loss: str = loss) -> Kept:
                return simulate_boxes(
                    loss, truths, out=out, source=found.name, cases=number, seed=seed, match_gradient=match_gradient,
                    on_step=told,
                )  # fmt: skip

            jobs.append(_Job(f"{loss} on {found.name}", STEPS * len(SPEEDS), run))
    return _run(jobs, quiet=quiet)


def _named(losses: Sequence[str] | None) -> tuple[str, ...]:
    if losses is None:
        return DEFAULT
    every = [name for loss in losses for name in (CATALOGUE if loss == "all" else (loss,))]
    return tuple(dict.fromkeys(every))


def _published(losses: Sequence[str] | None, gradients: str) -> list[str]:
    """Return the losses that have a published gradient; GIoU brings its mended variant along."""
    named = _named(losses)
    chosen = [loss for loss in named if loss in PUBLISHED]
    missing = [loss for loss in named if loss not in PUBLISHED]
    explicit = losses is not None and "all" not in losses
    if gradients == "published" and explicit and missing:
        raise ConfigError(
            f"--gradients published: the published code has no {missing[0]}.",
            hint=f"It has {', '.join(PUBLISHED)}; leave the others out, or use --gradients both.",
        )
    if "giou" in chosen and "giou-clamped" not in chosen:
        chosen.insert(chosen.index("giou") + 1, "giou-clamped")
    return chosen


def _regression(loss: str, gradients: Literal["exact", "published"], points: int, seed: int, out: Path) -> _Job:
    def run(told: Told, team: Team) -> Kept:
        return simulate_regression(
            loss, out=out, gradients=gradients, points=points, seed=seed, team=team, on_step=told
        )  # fmt: skip

    return _Job(f"{loss} ({gradients})", STEPS, run)


def _run(jobs: Sequence[_Job], *, quiet: bool) -> list[Kept]:
    results = []
    with Team() as team, _Progress(jobs, quiet=quiet) as progress:
        for job in jobs:
            kept = job.run(progress.told(job), team)
            progress.done(job, kept)
            results.append(kept)
    return results


class _Progress(Progress):
    """A progress line over all steps; each job that is done leaves one."""

    def __init__(self, jobs: Sequence[_Job], *, quiet: bool) -> None:
        super().__init__("", total=sum(job.steps for job in jobs), quiet=quiet)
        self.jobs, self.finished, self.steps = len(jobs), 0, 0

    def told(self, job: _Job) -> Told:
        label, before = f"[{self.finished + 1}/{self.jobs}] {job.name}  step", self.steps

        def tell(number: int, error: float, mean_iou: float) -> None:
            self.steps = before + number
            self.update(self.steps, text=f"error {error:.3f}  IoU {mean_iou:.3f}", label=label)

        return tell

    def done(self, job: _Job, kept: Kept) -> None:
        self.finished += 1
        how = f"{kept.result['seconds']:.1f} s" if kept.fresh else "computed before"
        self.print(f"[{self.finished}/{self.jobs}] {job.name}: {how}")
