"""One run: train a detector, measure it, and leave a folder with everything that a reader would ask for."""

from __future__ import annotations

import shutil
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

from torch import nn

from smoothiou.data.export import to_coco
from smoothiou.data.faults import refuse_long
from smoothiou.data.merge import resolved
from smoothiou.detectors.freeze import backbone_body
from smoothiou.detectors.frozen_body import keep_features
from smoothiou.detectors.tensor_cache import TensorCache
from smoothiou.engine.checkpoint import PREVIOUS
from smoothiou.engine.config import RunConfig
from smoothiou.engine.detector import build, compiles_loss
from smoothiou.engine.determinism import determinism_fault, deterministic
from smoothiou.engine.devices import Placement, peak_memory_mb, placement_of, reset_peak_memory
from smoothiou.engine.distributed import (
    broadcast,
    distribute,
    ignore_termination,
    join_processes,
    lost_process,
    report_failure,
    require_same_step,
)
from smoothiou.engine.identity import cell_hash, identity
from smoothiou.engine.loading import draw_batches, loader_fault, training_images
from smoothiou.engine.loop import train
from smoothiou.engine.measure import facts_of, measure, measure_val
from smoothiou.engine.open_data import NO_SPLIT_TO_WATCH, Splits, describe_data, open_splits
from smoothiou.engine.optim import learning_rate
from smoothiou.engine.run_folder import continued_from, lock_run_folder, prepare_folder
from smoothiou.engine.seeding import seed_weights
from smoothiou.engine.training_state import Spent, TrainingState
from smoothiou.errors import LESS_MEMORY, ConfigError, InterruptedRun, SmoothIoUError, is_out_of_memory
from smoothiou.files import finite, first_line, write_json, write_text
from smoothiou.import_object import sources_of
from smoothiou.manifest import SCHEMA_VERSION, manifest
from smoothiou.metrics.best_scores import best_scores
from smoothiou.progress import Progress


def run(
    config: RunConfig,
    folder: str | Path,
    *,
    splits: Splits | None = None,
    overwrite: bool = False,
    longer: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train and measure one detector, or continue where an earlier call stopped.

    Args:
        config: all settings.
        folder: the run folder; made if missing. A finished run of the same settings is returned as it is.
        splits: the data, where it is open already.
        overwrite: start anew in a folder that holds another run.
        longer: go on in a folder whose run differs in fewer steps alone; rates then follow the new number of steps.
        quiet: no progress.

    Returns:
        The content of result.json (empty in the processes of rank above 0).

    Raises:
        ConfigError: the folder holds another run.
        DataError, CheckpointError, DivergedError, InterruptedRun: as their names say.
    """
    folder = Path(folder)
    splits = splits or open_splits(config.data)
    refuse_long(splits.train, splits.val, splits.test, max_size=config.model.max_size)
    data = describe_data(splits)
    run_identity = identity(config.flat(), data)
    placement = placement_of(config, distributed=True)
    _refuse_settings(config, splits, placement)
    join_processes(placement, wait_seconds=config.train.wait_seconds)
    is_main, started = placement.rank == 0, False
    try:
        with lock_run_folder(folder) if is_main else nullcontext():
            finished = None
            if is_main:
                finished = prepare_folder(folder, config, run_identity, overwrite=overwrite, longer=longer)
            if finished is not None and not quiet:
                print(f"{folder}: done before", file=sys.stderr)
            if broadcast(finished is not None, placement):
                return finished or {}
            started = True
            with deterministic(config.train.deterministic):
                return _train_and_measure(config, folder, splits, placement, data, run_identity, quiet=quiet)
    except Exception as error:
        ignore_termination(placement)
        explained = _explain(error, config, placement)
        if started and is_main and not isinstance(error, InterruptedRun):
            with suppress(SmoothIoUError):  # on a full disk the error itself must still be seen
                text = f"{type(explained).__name__}: {explained}\n\n{traceback.format_exc()}"
                write_text(folder / "error.txt", text)
        if explained is error:
            raise
        raise explained from error


def _refuse_settings(config: RunConfig, splits: Splits, placement: Placement) -> None:
    """Refuse settings that do not fit the data or the number of processes."""
    if config.train.patience and splits.val is None:
        raise ConfigError("train.patience: there is no val split to watch.", hint=NO_SPLIT_TO_WATCH)
    if config.train.batch_size % placement.world_size:
        raise ConfigError(
            f"train.batch_size: expected a multiple of the {placement.world_size} processes, got "
            f"{config.train.batch_size}.",
            hint="It counts the images of all processes together, and each takes as many.",
        )


def _explain(error: Exception, config: RunConfig, placement: Placement) -> Exception:
    """Return the error, or one with a way out where memory is short or another process has ended.

    The others are told of an error of this process.
    """
    lost = lost_process(error, placement, wait_seconds=config.train.wait_seconds)
    if lost is not None:
        return lost
    explained = loader_fault(error) or determinism_fault(error) or error
    if is_out_of_memory(error):
        explained = SmoothIoUError(
            f"Memory is short with {config.train.batch_size} images a step, short side {config.model.min_size} pixels: "
            f"{first_line(error)}",
            hint=LESS_MEMORY,
        )
    report_failure(explained, placement)
    return explained


def _train_and_measure(
    config: RunConfig,
    folder: Path,
    splits: Splits,
    placement: Placement,
    data: Mapping[str, Any],
    run_identity: Mapping[str, Any],
    *,
    quiet: bool,
) -> dict[str, Any]:
    seed_weights(config.train.seed)
    model = build(config, classes=splits.train.classes, compile_loss=compiles_loss(config, placement))
    model = model.to(placement.device)
    notes: tuple[str, ...] = getattr(model, "notes", ())
    if placement.rank == 0:
        _write_manifest(config, folder, placement, notes, quiet=quiet, identity=run_identity, data=data)
    reset_peak_memory(placement.device)
    shared, features = config.train.feature_folder, folder / f"features-{placement.rank}"
    if megabytes := config.train.feature_mb:
        memory_mb = 0 if shared else megabytes
        cache = TensorCache(memory_mb=memory_mb, folder=Path(shared) if shared else features, disk_mb=megabytes)
        keep_features(backbone_body(model), cache)
    spent = train_detector(model, config, folder, splits, placement, quiet=quiet)
    began = time.monotonic()
    measurement = measure(model, splits.test, config, placement, label=f"{_label(config)}  test", quiet=quiet)
    eval_seconds = time.monotonic() - began
    chosen_on = measure_val(model, splits.val, config, placement, label=_label(config), quiet=quiet)
    shutil.rmtree(features, ignore_errors=True)
    if measurement is None:  # rank 0 has the numbers
        return {}
    earlier = continued_from(folder, config)  # it is not the run of as many steps at once
    settings = {**config.flat(), **({"train.continued_from": earlier} if earlier else {})}
    result = {
        "schema_version": SCHEMA_VERSION,
        "loss": config.loss.name,
        "seed": config.train.seed,
        **measurement.numbers(seed=config.train.seed),
        "optim": {"lr": config.optim.lr},
        "data": {"test": facts_of(measurement.data)},
        "versions": manifest()["versions"],
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "best_scores": best_scores(to_coco(measurement.data), measurement.predictions, chosen_on=chosen_on),
        "cost": {
            "train_seconds": spent.seconds,
            "seconds_per_step": (spent.seconds - spent.evaluating) / spent.steps,
            "eval_seconds": eval_seconds,
            "steps": spent.steps,
            "peak_memory_mb": peak_memory_mb(placement.device),
            **_device(placement),
        },
        "hash": cell_hash(settings, data),
        **({"continued_from": earlier} if earlier else {}),
    }
    write_json(folder / "predictions.json", measurement.predictions)
    write_json(folder / "localization.json", {"images": measurement.images})
    write_json(folder / "result.json", result)
    (folder / PREVIOUS).unlink(missing_ok=True)  # nothing is left to go back for
    write_text(folder / "done", result["finished"] + "\n")
    return finite(result)


def _write_manifest(
    config: RunConfig, folder: Path, placement: Placement, notes: Sequence[str], *, quiet: bool, **facts: Any
) -> None:
    """Write manifest.json with further facts, and say what the detector notes and how a run is continued."""
    objects, earlier = sources_of(config.loss.name, config.model.name, config.data.path), continued_from(folder, config)
    facts |= {
        "model_notes": notes,
        "processes": placement.world_size,
        "data_path": resolved(config.data.path),  # beside the given one: the run is read from anywhere
        **({"objects": objects} if objects else {}),  # no name leads to them later
        **({"continued_from": earlier} if earlier else {}),
        **_device(placement),
        "device_reason": placement.reason,
    }
    write_json(folder / "manifest.json", manifest(**facts))
    if not quiet:
        for line in (*notes, *([_longer_line(config, earlier[-1])] if earlier else [])):
            print(line, file=sys.stderr)


def _device(placement: Placement) -> dict[str, str]:
    return {"device": str(placement.device), "precision": placement.precision}


def _longer_line(config: RunConfig, before: int) -> str:
    """Return a line on the schedule of a run that was continued with more steps."""
    ended, now = (
        learning_rate(config.optim, step=step, steps=steps)
        for step, steps in ((before - 1, before), (before, config.train.steps))
    )
    return (
        f"{_label(config)}: continued from step {before} to {config.train.steps} under the schedule of "
        f"{config.train.steps} steps ({config.optim.schedule}): the rate ended at {ended:.1e} and is now {now:.1e}. "
        f"Not the same run as {config.train.steps} steps at once."
    )


def _label(config: RunConfig) -> str:
    return f"{config.loss.name} seed {config.train.seed}"


def train_detector(
    model: nn.Module,
    config: RunConfig,
    folder: Path,
    splits: Splits,
    placement: Placement,
    *,
    quiet: bool,
    until: int | None = None,
) -> Spent:
    """Train to the end, from the newest whole checkpoint where there is one.

    Args:
        model: the detector, changed in place.
        config: all settings.
        folder: for metrics.csv and checkpoints.
        splits: the data.
        placement: device, precision and rank.
        quiet: no progress.
        until: stop after so many steps of the same training, rates and all, without logging or saving them; None: at
            the end.
    """
    training = TrainingState(model, config, folder, splits, placement)
    start = training.resume(quiet=quiet)
    require_same_step(start, placement)
    is_main = placement.rank == 0
    if start and is_main and not quiet:
        print(f"{_label(config)}: continued from step {start} of {config.train.steps}", file=sys.stderr)
    if start >= config.train.steps or training.enough(start):
        return training.spent
    last = config.train.steps if until is None else until
    if config.train.compile:
        backbone: Any = model.backbone
        backbone.compile()  # in place: the names of its weights stay
    images = training_images(model, splits.train, config, placement)
    batches = draw_batches(images, config, placement, start=start, steps=last)
    with (
        Progress(_label(config) + "  step", total=last, quiet=quiet or not is_main) as training.progress,
        closing(batches),
        closing(training),
    ):
        train(
            distribute(model, placement), training.optimizer, batches, config, placement,
            start=start, epoch_images=len(images), log=training.log, save=training.save,
            evaluate=training.evaluate if splits.val is not None else None,
            enough=training.enough if is_main else lambda step: False,  # the AP is known to rank 0
            statistics=training.statistics,
            image_name=lambda target: splits.train.records[target["image_index"]].name,
        )  # fmt: skip
    training.update_clock()
    if is_main and not quiet and training.enough(training.spent.steps):
        print(
            f"{_label(config)}: ended after step {training.spent.steps} of {config.train.steps}, since the AP on the "
            f"val split has not risen since step {training.best_step}",
            file=sys.stderr,
        )
    return training.spent
