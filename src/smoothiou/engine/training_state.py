"""What a training keeps beside its loop: time and best AP so far, and where rows and checkpoints go."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothiou.detectors import box_loss_state, box_statistics, load_box_loss_state, reduce_statistics
from smoothiou.detectors.box_loss import box_losses
from smoothiou.engine.checkpoint import LAST, PREVIOUS, load_newest, restore_model, save_checkpoint
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.loggers import Logger, finite_row, open_logger
from smoothiou.engine.loop import Row
from smoothiou.engine.measure import measure
from smoothiou.engine.metrics_csv import MetricsCsv
from smoothiou.engine.open_data import Splits
from smoothiou.engine.optim import build_optimizer
from smoothiou.engine.validation import validation_losses
from smoothiou.loss_spec import STAGES
from smoothiou.manifest import refuse_other_plan
from smoothiou.progress import Progress

RESUME_KEYS = ("model", "optimizer", "box_loss", "step", "best", "seconds", "watching", "place")


@dataclass(slots=True)
class Spent:
    """Seconds of a training in all calls together, the part of them spent on the val split, and steps."""

    seconds: float = 0.0
    evaluating: float = 0.0
    steps: int = 0


class TrainingState:
    """The state of a training beside the loop: best AP and time so far, where rows and checkpoints go."""

    progress: Progress

    def __init__(self, model: nn.Module, config: RunConfig, folder: Path, splits: Splits, placement: Placement) -> None:
        self.model, self.config, self.folder, self.splits, self.placement = model, config, folder, splits, placement
        self.optimizer = build_optimizer(model, config.optim)
        self.kind = {
            "device": placement.device.type, "precision": placement.precision, "processes": placement.world_size,
        }  # fmt: skip
        self.best, self.best_step, self.spent = -1.0, 0, Spent()
        self.metrics: MetricsCsv | None = None
        self.logger: Logger | None = None
        self._log_failed = False
        self._clock = time.monotonic()

    def resume(self, *, quiet: bool = False) -> int:
        """Restore the newest whole checkpoint, if there is one, and return the step it was saved after."""
        is_main = self.placement.rank == 0
        checkpoint, warning = load_newest(self.folder, needed=RESUME_KEYS, set_aside=is_main)
        if warning and is_main:
            print(warning, file=sys.stderr)
        step = 0
        if checkpoint is not None:
            restore_model(self.model, checkpoint["model"], path=self.folder / LAST)
            # Another precision or number of processes would end in other weights than the uninterrupted run.
            refuse_other_plan(self.folder, checkpoint["place"], self.kind, what="kind of device, where this run began")
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            load_box_loss_state(self.model, checkpoint["box_loss"])
            step, self.best = checkpoint["step"], checkpoint["best"]
            self.best_step = checkpoint.get("best_step", 0)
            self.spent = Spent(checkpoint["seconds"], checkpoint["watching"], step)
            if is_main and not quiet and (note := _rounding_note(checkpoint.get("rounding") or _rounding())):
                print(note, file=sys.stderr)
        if is_main and step < self.config.train.steps:
            later = [stage for stage in box_losses(self.model) if stage not in STAGES]  # of a cascade
            more = [f"{stage}_{key}" for stage in later for key in ("lambda", "mean_iou", "positives")]
            self.metrics = MetricsCsv(self.folder / "metrics.csv", resume_step=step, more=more)
            self.logger = open_logger(self.config.train.log, self.folder, self.config.flat(), step=step)
        self._clock = time.monotonic()
        return step

    def close(self) -> None:
        """Close the logger, finished or not."""
        if (close := getattr(self.logger, "close", None)) is not None:
            close()

    def update_clock(self) -> None:
        """Add the time since the last call."""
        now = time.monotonic()
        self.spent.seconds += now - self._clock
        self._clock = now

    def statistics(self) -> Mapping[str, torch.Tensor]:
        """Return lambda, mean IoU and positives of the last batch, over all processes."""
        statistics = box_statistics(self.model)
        return reduce_statistics(statistics) if self.placement.world_size > 1 else statistics

    def log(self, row: Row) -> None:
        """Append a row to metrics.csv and show it."""
        if self.metrics is None:
            return
        self.update_clock()
        row = {**row, "seconds": self.spent.seconds}
        self.metrics.write(row)
        self._log_elsewhere(int(row["step"]), row)
        text = f"loss {row['loss']:.3f}  lr {row['lr']:.1e}"
        if (iou := row.get("roi_mean_iou", float("nan"))) == iou:
            text += f"  IoU {iou:.2f}"
        self.progress.update(int(row["step"]), text=text, force=row["step"] == self.progress.total)

    def _log_elsewhere(self, step: int, row: Row) -> None:
        """Give a row to the logger; one that fails, as where its server is down, does not end a training."""
        if self.logger is None:
            return
        try:
            self.logger.log(step, finite_row(row))
        except Exception as error:  # of a service, or of anyone's code
            if not self._log_failed:
                reason = f"{type(error).__name__}: {error}"
                print(f"train.log: step {step} was not taken: {reason}. metrics.csv has every row.", file=sys.stderr)
            self._log_failed = True

    def evaluate(self, step: int) -> Row:
        """Measure the weights on the val split, save the best, and return columns for the row."""
        began = time.monotonic()
        assert self.splits.val is not None
        measurement = measure(
            self.model, self.splits.val, self.config, self.placement, label="val", quiet=True, refine=False
        )
        row = validation_losses(self.model, self.splits.val, self.config, self.placement)
        if measurement is not None:
            ap, ap50 = measurement.metrics["AP"], measurement.metrics["AP50"]
            row |= {"val_AP": ap, "val_AP50": ap50, "val_mean_iou": measurement.localization["mean_iou"]}
            if ap > self.best:
                self.best, self.best_step = ap, step
                save_checkpoint(self.folder / "best.ckpt", {**self._weights(step), "val_AP": ap})
        self.spent.evaluating += time.monotonic() - began
        return row

    def enough(self, step: int) -> bool:
        """Return whether the AP has not risen for `train.patience` evaluations."""
        patience, every = self.config.train.patience, self.config.train.eval_every
        return patience > 0 and step - self.best_step >= patience * every

    def save(self, step: int) -> None:
        """Write last.ckpt; the one before stays as previous.ckpt."""
        self.update_clock()
        self.spent.steps = step
        if self.metrics is None:
            return
        self.metrics.sync()  # before the checkpoint that counts on these rows
        state = {
            "optimizer": self.optimizer.state_dict(), "box_loss": box_loss_state(self.model), "best": self.best,
            "best_step": self.best_step, "seconds": self.spent.seconds, "watching": self.spent.evaluating,
            "place": self.kind, "rounding": _rounding(),
        }  # fmt: skip
        save_checkpoint(self.folder / LAST, {**self._weights(step), **state}, backup=self.folder / PREVIOUS)

    def _weights(self, step: int) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "classes": list(self.splits.train.classes), "step": step}


def _rounding() -> dict[str, Any]:
    """Return what decides about the last digits of a sum on one kind of device."""
    return {"torch": torch.__version__.split("+")[0], "threads": torch.get_num_threads()}


def _rounding_note(before: Mapping[str, Any]) -> str:
    changed = [f"{key} was {before[key]}, is {now}" for key, now in _rounding().items() if before.get(key) != now]
    if not changed:
        return ""
    return f"Continued in other surroundings ({'; '.join(changed)}): the same up to rounding, not bit for bit."
