"""Which weight makes a box loss pull as strongly as the reference does: measured, for each stage, on real batches.

Losses have gradients of different sizes, so at equal weights they are compared at different balances between boxes and
classes. Here all are measured on the same positives of the same detector; the weight makes their pulls equal.

It is measured at two moments: before training, and after a quarter of a training with the reference. The later one
decides. Before training two thirds of the second stage's positives are the gt boxes themselves, which torchvision
adds to the proposals, and which need no correction; and the start is soon over. Later the ratio changes slowly: Huber's
pull fades as boxes get better, that of an overlap loss does not. Ratio of Huber to 1 - IoU on blood cells (recipe bccd,
800 steps, seed 0) after so many steps:

             0     25    100    200    400    800
    rpn   .339   .207   .188   .095   .075   .060
    roi   2.98   8.21   5.35   4.49   3.82   3.11

So no weight fits a whole training, and none fits both stages: where deltas are not scaled (rpn), Huber is the weaker.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.faults import refuse_long
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build
from smoothiou.engine.devices import Placement, placement_of
from smoothiou.engine.evaluate import open_run
from smoothiou.engine.loading import draw_batches
from smoothiou.engine.open_data import Splits, describe_split, open_splits
from smoothiou.engine.seeding import seed_weights
from smoothiou.engine.train import train_detector
from smoothiou.errors import ConfigError, DataError, InterruptedRun
from smoothiou.lab.pairs import info_of
from smoothiou.lab.stage_gradients import Positives, capture_positives, pulls
from smoothiou.loss_spec import parse_loss, stage_losses
from smoothiou.losses import from_spec
from smoothiou.manifest import SCHEMA_VERSION, manifest
from smoothiou.words import counted

DIGITS = 3
"""Of a proposed weight: more would pretend to know what the spread over batches does not."""


def propose_weights(
    config: RunConfig,
    *,
    losses: Sequence[str],
    reference: str = "huber",
    batches: int = 8,
    steps: int | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    splits: Splits | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure each loss's gradient on the same batches and return the weights that match the reference's.

        weight = mean pull of the reference / mean pull of the loss, in each stage

    The mean runs over all positives of all batches (`stage_gradients.pulls`): each box counts once, where a root mean
    square (which is returned beside it) would be ruled by the few that are far off.

    Args:
        config: detector, recipe and data; its own loss and seed are replaced.
        losses: specifications as in `loss.name`.
        reference: the loss with weight 1.
        batches: how many are measured: those that training would meet next.
        steps: training with the reference before the second measurement, the first of the recipe's own steps; 0: only
            the start is measured; None: `default_steps`.
        seed: decides weights, batches and samples, as `train.seed` does.
        run: a finished run, whose weights are measured instead of the start and of a training; `config` must be its.
        splits: the data, where it is open already.
        quiet: no progress.

    Returns:
        The content of calibration.json. "weights": loss -> stage -> weight; "losses": loss -> stage -> moment ->
        "mean", "rms", "ratio" and its quartiles over batches, "low" and "high"; and how it was measured.

    Raises:
        ConfigError: an unknown loss, a number out of range, or a loss whose gradient is 0 or not finite.
        DataError: no image of the batches has a box.
    """
    steps = default_steps(config) if steps is None else steps
    if batches < 1:
        raise ConfigError(f"--batches: expected 1 or more, got {batches}.")
    if not 0 <= steps <= config.train.steps:
        raise ConfigError(f"--steps: expected 0 to {config.train.steps}, the steps of a whole training, got {steps}.")
    began = time.monotonic()
    names = list(dict.fromkeys([reference, *losses]))
    config = config.replace({
        "loss.name": reference, "train.seed": seed, "train.eval_every": 0, "train.patience": 0, "train.log": "none",
    })  # fmt: skip
    splits = splits or open_splits(config.data)
    refuse_long(splits.train, max_size=config.model.max_size)
    placement = placement_of(config)
    images = DetectionDataset(splits.train, cache_mb=config.train.cache_mb)
    moments: list[dict[str, Any]] = []
    by_loss: dict[str, dict[str, dict[str, Any]]] = {
        loss: {stage: {} for stage in config.loss.stages} for loss in names
    }
    for model, step, moment in _moments(config, splits, placement, steps=steps, run=run, quiet=quiet):
        with closing(draw_batches(images, config, placement, start=step, steps=step + batches)) as drawn:
            captured = capture_positives(
                model, drawn, stages=config.loss.stages, seed=seed, start=step, placement=placement
            )
        moments.append({"name": moment, "step": step, "positives": _count(captured, config, batches)})
        for stage, positives in captured.items():
            where = f"the positives of the {stage} stage ({moment})"
            lengths = {loss: _pulls_of(stage_losses(loss)[stage], positives, placement, where) for loss in names}
            for loss in names:
                by_loss[loss][stage][moment] = _comparison(lengths[reference], lengths[loss])
    last = moments[-1]["name"]
    return {
        "schema_version": SCHEMA_VERSION,
        "reference": reference,
        "moments": moments,
        "decides": last,
        "batches": batches,
        "batch_size": config.train.batch_size,
        "steps": moments[-1]["step"],
        "seed": seed,
        "run": None if run is None else str(run),
        "detector": config.model.name,
        "data": describe_split(splits.train),
        "weights": {
            loss: {stage: rounded(entries[last]["ratio"]) for stage, entries in stages.items()}
            for loss, stages in by_loss.items()
        },
        "losses": by_loss,
        "suggested": {loss: suggested_weight(loss) for loss in names},
        "settings": config.flat(),
        "device": str(placement.device),
        "precision": placement.precision,
        "seconds": time.monotonic() - began,
        "made_by": {key: manifest()[key] for key in ("command", "started", "versions")},
    }


def _moments(
    config: RunConfig, splits: Splits, placement: Placement, *, steps: int, run: str | Path | None, quiet: bool
) -> Iterator[tuple[nn.Module, int, str]]:
    """Yield a detector, its step and the moment's name: of a finished run, or at the start and after a training."""
    if run is not None:
        opened = open_run(Path(run), checkpoint="last", device=config.train.device)
        if opened.classes != splits.train.classes:
            raise DataError(
                f"{run}: expected the classes of the data ({', '.join(splits.train.classes)}), got "
                f"{', '.join(opened.classes)}."
            )
        yield opened.model, opened.step, f"{Path(run).name}, step {opened.step}"
        return
    seed_weights(config.train.seed)
    model = build(config, classes=splits.train.classes).to(placement.device)
    yield model, 0, "start"
    if steps:
        _train(model, config, splits, placement, steps, quiet=quiet)
        yield model, steps, f"after {counted(steps, 'step')}"


def default_steps(config: RunConfig) -> int:
    """Return how long to train before the measurement that decides: a quarter of a training, 1000 steps at most."""
    return min(1000, config.train.steps // 4)


def rounded(weight: float) -> float:
    """Return a weight with three digits."""
    return float(f"{weight:.{DIGITS}g}")


def suggested_weight(loss: str) -> dict[str, Any] | None:
    """Return the weight that the literature gives this loss, with its source; None with options, or for one's own."""
    first, second = stage_losses(loss).values()
    info = info_of(first)
    if info is None or first != second or parse_loss(first)[1]:
        return None
    return {"weight": info.weight, "source": info.weight_source}


def _count(captured: Mapping[str, Sequence[Positives]], config: RunConfig, batches: int) -> dict[str, int]:
    """Return the number of positives of each stage."""
    counts = {stage: sum(len(each.pred_deltas) for each in positives) for stage, positives in captured.items()}
    if not all(counts.values()):
        without = ", ".join(stage for stage, count in counts.items() if not count)
        raise DataError(
            f"No box of {batches} batches of {config.train.batch_size} images is a positive ({without}): there is "
            "no gradient to measure.",
            hint="Raise --batches, and look at the boxes of the training split.",
        )
    return counts


def _train(
    model: nn.Module, config: RunConfig, splits: Splits, placement: Placement, steps: int, *, quiet: bool
) -> None:
    """Take the first steps of a training with the reference; its files are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            train_detector(model, config, Path(folder), splits, placement, quiet=quiet, until=steps)
        except InterruptedRun:  # nothing was kept that could be continued
            raise KeyboardInterrupt from None


def _pulls_of(loss: str, batches: Sequence[Positives], placement: Placement, where: str) -> list[np.ndarray]:
    """Return the pulls of a loss on each batch; every stage has a loss of its own, as in a detector.

    Raises:
        ConfigError: their mean is 0 or not finite.
    """
    module = from_spec(loss)
    if isinstance(module, nn.Module):
        module.to(placement.device)
    stage_loss = StageLoss(loss=module, name=loss)
    lengths = [pulls(stage_loss, positives).numpy() for positives in batches]
    if not 0 < (mean := np.concatenate(lengths).mean()) < float("inf"):
        raise ConfigError(
            f"{loss}: expected a gradient above 0 by {where}, got a mean length of {mean:g}: no weight can match the "
            "reference."
        )
    return lengths


def _comparison(reference: Sequence[np.ndarray], loss: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return size and ratio of a loss's gradient, with the quartiles of the ratio over batches."""
    lengths = np.concatenate(loss)
    ratios = [a.mean() / b.mean() for a, b in zip(reference, loss, strict=True) if len(b) and b.mean() > 0]
    low, high = np.percentile(ratios, [25, 75])
    return {
        "mean": float(lengths.mean()),
        "rms": float(np.sqrt(np.mean(lengths**2))),
        "ratio": float(np.concatenate(reference).mean() / lengths.mean()),
        "low": float(low),
        "high": float(high),
        "batches": len(ratios),
    }
