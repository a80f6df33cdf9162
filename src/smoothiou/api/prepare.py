"""A study that is checked and planned: what it will cost, and its trainings to the report."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.api.cell_progress import StudyProgress
from smoothiou.api.say import Say
from smoothiou.api.study import Study
from smoothiou.engine.config import RunConfig
from smoothiou.report.summary_lines import data_lines, watch_lines
from smoothiou.study import RayOptions, collect, estimate, lock_study, write_or_continue
from smoothiou.study.cells import features_folder
from smoothiou.study.continuation import continued
from smoothiou.study.plan import cuts_in_words
from smoothiou.study.power import power_of
from smoothiou.study.until import next_seeds
from smoothiou.words import counted

if TYPE_CHECKING:
    from smoothiou.engine.open_data import Splits
    from smoothiou.lab.calibration import Calibration
    from smoothiou.study.stage_weights import StageWeights


@dataclass(frozen=True, kw_only=True)
class PreparedStudy:
    """A study of which everything has been checked, and nothing written.

    Args:
        folder: of the study.
        config: what all cells share.
        splits: the data; `opening` is how many seconds it took to read.
        plan: of what was asked for; the folder may hold more.
        planned: (seeds, weights) -> the plan with these instead.
        calibration: where losses are to pull as the baseline does; else None.
        jobs: cells at once on this machine.
        ray: for a Ray cluster; None: this machine.
        baseline: that was asked for by name, if any.
        overwrite: start anew.
        quiet: no progress.
        say: takes a line for people.
    """

    folder: Path
    config: RunConfig
    splits: Splits
    opening: float
    plan: dict[str, Any]
    planned: Callable[[Sequence[int], Mapping[str, StageWeights] | None], dict[str, Any]]
    calibration: Calibration | None
    jobs: int
    ray: RayOptions | None
    baseline: str | None
    overwrite: bool
    quiet: bool
    say: Say

    def estimate(self) -> dict[str, Any]:
        """Return "estimate" (what it costs), "power" (what it can detect), "to_calibrate" and "cells"."""
        plan, happened = continued(self.folder, self.plan, overwrite=self.overwrite, baseline=self.baseline)
        if happened:
            self.say(happened)
        earlier = self.folder.parent if self.overwrite else self.folder  # cells that are overwritten do not count
        device = "auto" if self.ray else self.config.train.device
        timed = self.config.replace({"loss.name": plan["baseline"], "train.device": device})
        time_run = functools.partial(_time_run, timed, self.splits, opening=self.opening, jobs=self.jobs)
        cost = estimate(plan, earlier, jobs=self.jobs, time_run=time_run)
        power = power_of(plan, earlier, run_seconds=cost["run_seconds"], jobs=self.jobs)
        new = self.calibration.new if self.calibration else []
        return {
            "study": str(self.folder), "estimate": cost, "power": power, "to_calibrate": new, "cells": plan["cells"],
        }  # fmt: skip

    def run(self) -> Study:
        """Train the cells that are not done, with further seeds where the plan's rule asks for them, and report.

        Returns:
            The study; cells may have failed (`Study.refuse_missing`).
        """
        has_rule = "until" in self.plan
        with lock_study(self.folder):
            plan = self.plan
            if self.calibration:
                weights = self.calibration.measure(plan, self.splits, quiet=self.quiet, say=self.say)
                plan = self.planned(plan["seeds"], weights)
            plan, happened = write_or_continue(self.folder, plan, overwrite=self.overwrite, baseline=self.baseline)
            if self.calibration:
                self.calibration.write()
            if happened:
                self.say(happened)
            more = [loss for loss in plan["losses"] if loss not in self.plan["losses"]]
            more += [f"seed {seed}" for seed in plan["seeds"] if seed not in self.plan["seeds"] and not has_rule]
            if more:
                self.say(f"The study also holds {', '.join(more)}; its report compares all with {plan['baseline']}.")
            self._train(plan)
            while has_rule and (added := self._more_seeds(plan)):
                grown = self.planned([*plan["seeds"], *added], plan["weights"] or None)
                plan, _ = write_or_continue(self.folder, grown)
                self._train(plan)
            shutil.rmtree(features_folder(self.folder), ignore_errors=True)
            began = time.monotonic()
            study = report_study(self.folder, plan)
            self.say(f"Report written in {time.monotonic() - began:.0f} s.")
            return study

    def _train(self, plan: Mapping[str, Any]) -> None:
        run_plan(self.folder, plan, jobs=self.jobs, quiet=self.quiet, say=self.say, ray=self.ray)

    def _more_seeds(self, plan: Mapping[str, Any]) -> list[int]:
        """Look at the study and return the seeds to add: none where its rule says stop, or cells are still missing."""
        from smoothiou.study.comparison import compare_cells

        compare_cells(self.folder, plan)
        decision = collect(self.folder)["until"]
        if not decision:
            return []
        self.say(decision["sentence"])
        left = plan["until"]["most_seeds"] - len(plan["seeds"])
        number = min(max(1, self.jobs // len(plan["losses"])), left)
        return next_seeds(plan["seeds"], number=number) if decision["go_on"] else []


def run_plan(
    folder: Path, plan: Mapping[str, Any], *, jobs: int, quiet: bool, say: Say, ray: RayOptions | None = None
) -> None:
    """Train the cells that are not done: in this process, in several, or on the machines of a Ray cluster."""
    from smoothiou.study import run_cells, run_on_ray, run_parallel, train_cell

    progress = StudyProgress(say, starts=jobs > 1)
    if ray:
        run_on_ray(folder, plan, ray, on_event=progress, say=say)
    elif jobs == 1:
        run_cells(folder, plan, functools.partial(train_cell, quiet=quiet), on_event=progress)
    else:
        run_parallel(folder, plan, jobs=jobs, on_event=progress)


def report_study(folder: Path, plan: Mapping[str, Any]) -> Study:
    """Write the report of the cells that are done, and return the study as its files now tell it."""
    from smoothiou.report.write import write_report
    from smoothiou.study.comparison import compare_cells

    compare_cells(folder, plan)
    write_report(folder)
    return Study(folder)


def describe_plan(plan: Mapping[str, Any], say: Say) -> None:
    """Say what will be trained on what."""
    settings, losses, seeds = plan["settings"], len(plan["losses"]), len(plan["seeds"])
    say(data_lines(plan["data"]))
    for line in watch_lines(settings, plan["data"]):
        say(line)
    say(
        f"{counted(losses, 'loss', 'losses')} x {counted(seeds, 'seed')}, {counted(settings['train.steps'], 'step')} "
        f"of {counted(settings['train.batch_size'], 'image')} each, {settings['model.name']}; "
        f"classes: {', '.join(plan['classes'])}"
    )
    if cuts := plan.get("cuts"):
        say(cuts_in_words(cuts))
    if rule := plan.get("until"):
        say(
            f"Seeds are added until every AP difference is known to +-{100 * rule['half_width']:g} points, at most "
            f"{rule['most_seeds']}."
        )


def _time_run(config: RunConfig, splits: Splits, *, opening: float, jobs: int) -> tuple[float, str]:
    """Return the seconds of a run, data and all, and how they were estimated."""
    from smoothiou.engine.timing import IMAGES, STEPS, time_run
    from smoothiou.study.local import threads_of_each

    threads = threads_of_each(jobs) if jobs > 1 else None
    timing = time_run(config, splits, threads=threads)
    shared = f" on {counted(threads, 'thread')}, as each of {jobs} jobs has" if threads else ""
    images = min(IMAGES, len(splits.test.records))
    steps = counted(min(STEPS, config.train.steps), "step")
    how = f"{steps} and an evaluation of {counted(images, 'image')}, timed here{shared}"
    return opening + timing.seconds, how
