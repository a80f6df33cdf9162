"""The quickest honest ranking of box losses: one trained trunk, and only the box regressor trained anew with each.

A training with each loss changes everything at once: features, proposals, classification, and the noise of all three.
Here the trunk is frozen, the input of its second stage for many boxes is computed once (`lab.crops`), and the
regressor, from random weights, is trained to its end with each loss and seed (`lab.regressor`). For one seed all
losses share the initial weights and every batch, so what is left between them is the loss.
"""

from __future__ import annotations

import functools
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smoothiou.data.faults import refuse_long
from smoothiou.detectors.box_loss import try_loss
from smoothiou.detectors.stage_loss import StageLoss
from smoothiou.engine.evaluate import OpenedRun, open_run
from smoothiou.engine.measure import facts_of
from smoothiou.engine.open_data import Splits, open_splits, other_data
from smoothiou.engine.run_folder import lock_folder
from smoothiou.errors import ConfigError, DivergedError, InterruptedRun
from smoothiou.files import file_digest, finite, read_json, write_json
from smoothiou.lab.crops import Crops, probe_crops, training_crops
from smoothiou.lab.probe import image_entry, require_boxes, require_classes
from smoothiou.lab.regressor import Refit, Regressor, hidden_crops, refined_boxes, train_regressor
from smoothiou.losses import from_spec
from smoothiou.manifest import SCHEMA_VERSION, manifest, refuse_other_plan
from smoothiou.metrics.refinement import DEFINITION
from smoothiou.progress import Progress, duration
from smoothiou.study.plan import cell_ids
from smoothiou.study.probes import compare_probes


def refit(
    run: str | Path,
    *,
    losses: tuple[str, ...],
    seeds: tuple[int, ...],
    out: str | Path,
    settings: Refit | None = None,
    checkpoint: str = "last",
    data: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Rank losses by the box regressors that they train on the crops of one run.

    Results are kept in a folder: a finished loss and seed is not trained again, more losses and seeds extend it.

    Args:
        run: folder of a trained run.
        losses: specifications as in `loss.name`, the baseline first.
        seeds: of initial weights and batches, shared by all losses.
        out: folder for cells/, refit.json.
        settings: how to train.
        checkpoint: "last" or "best".
        data: instead of the run's own.
        device: instead of the run's own.
        overwrite: delete the results of other settings that lie in `out`.
        quiet: no progress.

    Returns:
        What `compare_probes` gives of all results in the folder, with "data", "train_data", "refit" (settings and
        facts), "cells" (loss, seed, seconds, curve) and "failed" (loss, seed, error).

    Raises:
        CheckpointError: no run, or weights that do not fit.
        DataError: the data cannot be read, has other classes or no box.
        ConfigError: an unknown loss, or a folder that holds something else.
        InterruptedRun: a signal; the training at hand is lost, those before it are kept.
    """
    settings, folder, out = settings or Refit(), Path(run), Path(out)
    _try_losses(losses)
    opened = open_run(folder, checkpoint=checkpoint, device=device)
    if hasattr(opened.model.roi_heads, "stages"):
        raise ConfigError(f"{run}: expected a detector with one second stage, got a cascade.")
    splits = open_splits(other_data(opened.config.data, data))
    for part in (splits.train, splits.test):
        require_classes(folder, opened, part)
        require_boxes(part)
        refuse_long(part, max_size=opened.config.model.max_size)
    identity = {
        "checkpoint": file_digest(folder / f"{checkpoint}.ckpt"),
        "precision": opened.placement.precision,
        "data.train.fingerprint": splits.train.fingerprint,
        "data.test.fingerprint": splits.test.fingerprint,
        "schema_version": SCHEMA_VERSION,
        **asdict(settings),
        "probe": DEFINITION,
    }
    with lock_folder(out):
        _prepare(out, identity, overwrite=overwrite)
        stored = read_json(out / "refit.json") if (out / "refit.json").is_file() else {}
        known = list(dict.fromkeys([*stored.get("losses", []), *losses]))
        paths = {loss: out / "cells" / name for loss, name in cell_ids(known).items()}
        missing = [(loss, seed) for seed in seeds for loss in losses if not _is_done(paths[loss], seed)]
        facts = stored.get("facts", {})
        content = {"schema_version": SCHEMA_VERSION, "identity": identity, "losses": known, "facts": facts}
        write_json(out / "refit.json", content)
        if missing:
            facts = _train_all(opened, splits, settings, missing, paths, quiet=quiet)
            content["facts"] = {**facts, "run": str(folder), "checkpoint": checkpoint, "manifest": manifest()}
            write_json(out / "refit.json", content)
        return _collect(content, paths, splits, baseline=losses[0])


def _try_losses(losses: tuple[str, ...]) -> None:
    """Refuse a loss that fails, or that needs whole images."""
    for loss in losses:
        module = from_spec(loss)
        if getattr(module, "needs_images", False):
            raise ConfigError(
                f"--losses: {loss}: batches are drawn from the crops of all images, and no image is whole.",
                hint="Name another lambda.",
            )
        try_loss(module, name=loss)


def _prepare(out: Path, identity: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make the folder ready, or refuse one that holds something else."""
    if (out / "refit.json").is_file():
        if not overwrite:
            refuse_other_plan(out, read_json(out / "refit.json").get("identity", {}), identity, what="refit")
            return
        shutil.rmtree(out / "cells", ignore_errors=True)
        for name in ("refit.json", "probe.json", "probe.csv", "probe.tex", "probe.html"):
            (out / name).unlink(missing_ok=True)
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ConfigError(f"{out} holds files that are no refit.", hint="Choose another folder with --out.")


def _is_done(path: Path, seed: int) -> bool:
    file = path / f"seed{seed}.json"
    return file.is_file() and "images" in read_json(file)


def _train_all(
    opened: OpenedRun,
    splits: Splits,
    settings: Refit,
    missing: list[tuple[str, int]],
    paths: Mapping[str, Path],
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Compute the crops, run the missing trainings, and return facts about crops and machine."""
    began = time.monotonic()
    flip = opened.config.train.flip > 0
    crops = training_crops(opened, splits.train, boxes=settings.boxes, flip=flip, quiet=quiet)
    test = probe_crops(opened, splits.test, boxes=settings.test_boxes, quiet=quiet)
    facts = {
        "train_boxes": len(crops), "train_images": crops.images, "test_boxes": len(test), "test_images": test.images,
        "crops_mb": crops.megabytes + test.megabytes, "crops_seconds": time.monotonic() - began,
        "detector": opened.config.model.name, "device": str(opened.placement.device),
        "precision": opened.placement.precision,
        "threads": torch.get_num_threads(), "run_loss": opened.config.loss.name, "run_step": opened.step,
    }  # fmt: skip
    if not quiet:
        print(
            f"{len(crops)} crops of {crops.images} images to train on, {len(test)} of {test.images} to test on: "
            f"{facts['crops_mb']:.0f} MB in {duration(facts['crops_seconds'])}",
            file=sys.stderr,
        )
    heads: Any = opened.model.roi_heads
    if settings.depth == "last":
        crops, test = (hidden_crops(part, heads.box_head, opened.placement) for part in (crops, test))
    regressor = Regressor(heads, depth=settings.depth).to(opened.placement.device)
    done, steps = 0, settings.steps
    try:
        with Progress("", total=len(missing) * steps, seconds=math.inf, quiet=quiet) as progress:
            for done, (loss, seed) in enumerate(missing):
                label = f"[{done + 1}/{len(missing)}] {loss} seed {seed}"
                show = functools.partial(_show, progress, steps, done, label)
                cell = _train_cell(loss, seed, regressor, crops, test, settings, opened, show)
                write_json(paths[loss] / f"seed{seed}.json", cell)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"Interrupted: {done} of {len(missing)} trainings are kept.",
            hint="Give the same command again to continue.",
        ) from None
    return facts


def _show(progress: Progress, steps: int, done: int, label: str, step: int, iou: float) -> None:
    """Show step and mean IoU of one training; in a log, a line for each that is done."""
    progress.update(done * steps + step, text=f"IoU {iou:.4f}", label=f"{label}  step", force=step == steps)


def _train_cell(
    loss: str,
    seed: int,
    regressor: Regressor,
    crops: Crops,
    test: Crops,
    settings: Refit,
    opened: OpenedRun,
    on_evaluation: Callable[[int, float], object],
) -> dict[str, Any]:
    """Train with one loss and seed, and return the curve and the IoU of every probe before and after."""
    began, placement = time.monotonic(), opened.placement
    content = {"schema_version": SCHEMA_VERSION, "loss": loss, "seed": seed}
    stage = StageLoss(loss=from_spec(loss), name=loss)
    if isinstance(stage.loss, nn.Module):
        stage.loss.to(placement.device)
    try:
        curve = train_regressor(
            regressor, crops, test, stage, settings, seed=seed, placement=placement, on_evaluation=on_evaluation
        )
    except DivergedError as error:
        return {**content, "error": str(error)}
    after, before, gt_boxes = (
        boxes.double().cpu().numpy()
        for boxes in (refined_boxes(regressor, test, placement=placement), test.proposals, test.gt_boxes)
    )
    ids = test.image_ids.cpu().numpy()
    images = [
        image_entry(image_id, before[ids == image_id], after[ids == image_id], gt_boxes[ids == image_id])
        for image_id in sorted(set(ids.tolist()))
    ]
    return {**content, "seconds": time.monotonic() - began, "curve": curve, "images": images}


def _collect(content: Mapping[str, Any], paths: Mapping[str, Path], splits: Splits, *, baseline: str) -> dict[str, Any]:
    """Return the comparison of all results in the folder, old and new."""
    cells = [read_json(file) for path in paths.values() for file in sorted(path.glob("seed*.json"))]
    done = [cell for cell in cells if "images" in cell]
    groups: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for loss in dict.fromkeys([baseline, *paths]):
        seeds = {cell["seed"]: cell["images"] for cell in done if cell["loss"] == loss}
        groups |= {loss: dict(sorted(seeds.items()))} if seeds else {}
    comparison = compare_probes(groups, baseline=baseline) if baseline in groups else {}
    return finite(
        {
            "schema_version": SCHEMA_VERSION,
            **comparison,
            "data": facts_of(splits.test),
            "train_data": facts_of(splits.train),
            "refit": {**content["identity"], **content["facts"]},
            "cells": [{key: cell[key] for key in ("loss", "seed", "seconds", "curve")} for cell in done],
            "failed": [{key: cell[key] for key in ("loss", "seed", "error")} for cell in cells if "images" not in cell],
        }
    )
