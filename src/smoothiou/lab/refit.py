"""The quickest honest ranking of box losses: one trained trunk, and only the box regressor trained anew with each.

A training with each loss changes everything at once: features, proposals, classification, and the noise of all three.
Here the trunk is frozen, what its second stage sees of many boxes is computed once (`experiment.crops`), and the
regressor, from random weights, is trained to its end with each loss and seed (`experiment.regressor`). For one seed all
losses share the initial weights and every batch, so what is left between them is the loss.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from smoothiou.detectors.box_loss import StageLoss, try_loss
from smoothiou.engine.evaluate import OpenedRun, open_run
from smoothiou.engine.measure import facts_of
from smoothiou.engine.open_data import Splits, open_splits
from smoothiou.engine.run_folder import lock_run_folder
from smoothiou.errors import ConfigError, DivergedError, InterruptedRun
from smoothiou.files import file_digest, finite, read_json, write_json
from smoothiou.lab.crops import Crops, test_crops, training_crops
from smoothiou.lab.probe import entry, require_boxes, require_classes
from smoothiou.lab.regressor import Regressor, hidden_crops, learn, refined_boxes
from smoothiou.loss_spec import parse_loss
from smoothiou.losses import load_loss
from smoothiou.manifest import SCHEMA_VERSION, manifest, refuse_other_plan
from smoothiou.metrics.refinement import DEFINITION
from smoothiou.progress import Progress, duration
from smoothiou.study.plan import cell_ids
from smoothiou.study.probes import compare_probes


@dataclass(frozen=True, kw_only=True, slots=True)
class Refit:
    """How the regressors are trained; equal for all losses and seeds.

    Args:
        depth: "head": box head and last layer from random weights; "last": the last layer on the trained box head.
        steps, batch, rate: of each training; `batch` boxes a step, the peak of the learning rate.
        boxes: crops to learn from.
        test_boxes: probes to test on, where the split has more.
    """

    depth: Literal["head", "last"] = "head"
    steps: int = 600
    batch: int = 256
    rate: float = 0.001
    boxes: int = 64_000
    test_boxes: int = 20_000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "boxes", "test_boxes"):
            if getattr(self, name) < 1:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option}: expected 1 or more, got {getattr(self, name)}.")
        if not 0 < self.rate < float("inf"):
            raise ConfigError(f"--rate: expected a number above 0, got {self.rate}.")


def refit(
    run: str | Path,
    *,
    losses: tuple[str, ...],
    seeds: tuple[int, ...],
    out: str | Path,
    settings: Refit | None = None,
    checkpoint: str = "last",
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Rank losses by the box regressors that they train on the crops of one run, and keep every result in a folder.

    A loss and seed that is done is not done again; more losses and seeds extend what lies there.

    Args:
        run: folder of a trained run.
        losses: specifications as in `loss.name`, the baseline first.
        seeds: of initial weights and batches, shared by all losses.
        out: folder for cells/, refit.json.
        settings: how to train.
        checkpoint: "last" or "best".
        device: instead of the run's own.
        overwrite: delete the results of other settings that lie in `out`.
        quiet: no progress.

    Returns:
        What `compare_probes` gives of all results in the folder, with "data", "refit" (how, on what, and the time it
        took), "cells" (loss, seed, seconds, curve) and "failed" (loss, seed, error).

    Raises:
        CheckpointError: no run, or weights that do not fit.
        DataError: the data cannot be read, has other classes or no box.
        ConfigError: an unknown loss, or a folder that holds something else.
        InterruptedRun: a signal; the training at hand is lost, those before it are kept.
    """
    settings, folder, out = settings or Refit(), Path(run), Path(out)
    for loss in losses:
        loaded = _load(loss)
        if getattr(loaded, "needs_images", False):
            raise ConfigError(
                f"--losses: {loss}: here batches are drawn from the crops of all images, and no image is whole.",
                hint="Name another lambda.",
            )
        try_loss(loaded, name=loss)
    opened = open_run(folder, checkpoint=checkpoint, device=device)
    splits = open_splits(opened.config.data)
    for data in (splits.train, splits.test):
        require_classes(folder, opened, data)
        require_boxes(data)
    identity = {
        "checkpoint": file_digest(folder / f"{checkpoint}.ckpt"),
        "precision": opened.placement.precision,
        "data.train.fingerprint": splits.train.fingerprint,
        "data.test.fingerprint": splits.test.fingerprint,
        "schema_version": SCHEMA_VERSION,
        **asdict(settings),
        "probe": DEFINITION,
    }
    with lock_run_folder(out):
        _prepare(out, identity, overwrite=overwrite)
        stored = read_json(out / "refit.json") if (out / "refit.json").is_file() else {}
        asked = [(loss, seed) for seed in seeds for loss in losses]
        paths = _paths(out, [*stored.get("losses", []), *losses])
        todo = [(loss, seed) for loss, seed in asked if not _done(paths[loss], seed)]
        facts = stored.get("facts", {})
        content = {"schema_version": SCHEMA_VERSION, "identity": identity, "losses": list(paths), "facts": facts}
        write_json(out / "refit.json", content)
        if todo:
            facts = _train(opened, splits, settings, todo, paths, quiet=quiet)
            content["facts"] = {**facts, "run": str(folder), "checkpoint": checkpoint, "manifest": manifest()}
            write_json(out / "refit.json", content)
        return _collected(content, paths, splits, baseline=losses[0])


def _train(
    opened: OpenedRun,
    splits: Splits,
    settings: Refit,
    todo: list[tuple[str, int]],
    paths: Mapping[str, Path],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Compute the crops, train what is to be done, and return what was learnt from and what it cost."""
    began = time.monotonic()
    flip = opened.config.train.flip > 0
    crops = training_crops(opened, splits.train, boxes=settings.boxes, flip=flip, quiet=quiet)
    test = test_crops(opened, splits.test, boxes=settings.test_boxes, quiet=quiet)
    facts = {
        "train_boxes": len(crops), "train_images": crops.images, "test_boxes": len(test), "test_images": test.images,
        "crops_mb": crops.megabytes + test.megabytes, "crops_seconds": time.monotonic() - began,
        "detector": opened.config.model.name, "device": str(opened.placement.device),
        "precision": opened.placement.precision,
        "threads": torch.get_num_threads(), "run_loss": opened.config.loss.name, "run_step": opened.step,
    }  # fmt: skip
    if not quiet:
        print(
            f"{facts['train_boxes']} crops to learn from ({facts['train_images']} images), {facts['test_boxes']} to "
            f"test on ({facts['test_images']}): {facts['crops_mb']:.0f} MB in {duration(facts['crops_seconds'])}",
            file=sys.stderr,
        )
    model: Any = opened.model
    heads = model.roi_heads
    if settings.depth == "last":
        crops, test = (hidden_crops(some, heads.box_head, opened.placement) for some in (crops, test))
    regressor = Regressor(heads, depth=settings.depth).to(opened.placement.device)
    place = 0
    try:
        with _Progress(len(todo), settings.steps, quiet=quiet) as progress:
            for place, (loss, seed) in enumerate(todo):
                cell = _cell(loss, seed, regressor, crops, test, settings, opened, progress.of_cell(place, loss, seed))
                write_json(paths[loss] / f"seed{seed}.json", cell)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"Interrupted: {place} of {len(todo)} trainings are kept.", hint="Give the same command again to continue."
        ) from None
    return facts


def _cell(
    loss: str,
    seed: int,
    regressor: Regressor,
    crops: Crops,
    test: Crops,
    settings: Refit,
    opened: OpenedRun,
    tell: Callable[[int, float], object],
) -> dict[str, Any]:
    """Train with one loss and seed, and return its curve and what it makes of every probe."""
    began = time.monotonic()
    content = {"schema_version": SCHEMA_VERSION, "loss": loss, "seed": seed}
    stage = StageLoss(loss=_load(loss), name=loss)
    if isinstance(stage.loss, nn.Module):
        stage.loss.to(opened.placement.device)
    try:
        curve = learn(
            regressor, crops, test, stage, seed=seed, steps=settings.steps, batch=settings.batch, rate=settings.rate,
            place=opened.placement, tell=tell,
        )  # fmt: skip
    except DivergedError as error:
        return {**content, "error": str(error)}
    after = refined_boxes(regressor, test, place=opened.placement).double().cpu().numpy()
    before, truths = (boxes.double().cpu().numpy() for boxes in (test.proposals, test.truths))
    numbers = test.numbers.cpu().numpy()
    images = [
        entry(int(number), before[rows], after[rows], truths[rows])
        for number in sorted(set(numbers.tolist()))
        for rows in [numbers == number]
    ]
    return {**content, "seconds": time.monotonic() - began, "curve": curve, "images": images}


def _collected(
    content: Mapping[str, Any], paths: Mapping[str, Path], splits: Splits, *, baseline: str
) -> dict[str, Any]:
    """Return what all results in the folder say together; the files are read, so that old and new count alike."""
    cells = [read_json(file) for path in paths.values() for file in sorted(path.glob("seed*.json"))]
    done = [cell for cell in cells if "images" in cell]
    groups: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for loss in dict.fromkeys([baseline, *paths]):
        seeds = {cell["seed"]: cell["images"] for cell in done if cell["loss"] == loss}
        groups |= {loss: dict(sorted(seeds.items()))} if seeds else {}
    found = compare_probes(groups, baseline=baseline) if baseline in groups else {}
    return finite(
        {
            "schema_version": SCHEMA_VERSION,
            **found,
            "data": facts_of(splits.test),
            "train_data": facts_of(splits.train),
            "refit": {**content["identity"], **content["facts"]},
            "cells": [{key: cell[key] for key in ("loss", "seed", "seconds", "curve")} for cell in done],
            "failed": [{key: cell[key] for key in ("loss", "seed", "error")} for cell in cells if "images" not in cell],
        }
    )


def _load(loss: str) -> Any:
    name, options = parse_loss(loss)
    return load_loss(name, **options)


def _prepare(out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make the folder ready, or refuse one that holds something else."""
    if (out / "refit.json").is_file():
        if not overwrite:
            found = read_json(out / "refit.json").get("identity", {})
            refuse_other_plan(out, found, identity, what="refit")
            return
        shutil.rmtree(out / "cells", ignore_errors=True)
        for name in ("refit.json", "probe.json", "probe.html"):
            (out / name).unlink(missing_ok=True)
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ConfigError(f"{out} holds files that are no refit.", hint="Choose another folder with --out.")


def _paths(out: Path, losses: list[str]) -> dict[str, Path]:
    """Return the folder of each loss's results, those that lie there first."""
    known = list(dict.fromkeys(losses))
    return {loss: out / "cells" / name for loss, name in cell_ids(known).items()}


def _done(path: Path, seed: int) -> bool:
    file = path / f"seed{seed}.json"
    return file.is_file() and "images" in read_json(file)


class _Progress(Progress):
    """A progress line over the steps of all trainings; in a log, a line for each that is done."""

    def __init__(self, cells: int, steps: int, *, quiet: bool) -> None:
        super().__init__("", total=cells * steps, seconds=math.inf, quiet=quiet)
        self.cells, self.steps = cells, steps

    def of_cell(self, place: int, loss: str, seed: int) -> Callable[[int, float], object]:
        """Return what a training tells its step and mean IoU."""
        label = f"[{place + 1}/{self.cells}] {loss} seed {seed}  step"

        def tell(step: int, iou: float) -> None:
            self.update(place * self.steps + step, text=f"IoU {iou:.4f}", label=label, force=step == self.steps)

        return tell
