"""Settings in, one finished run folder out: train, measure, and leave everything that a reader would ask for."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from smoothiou.detectors import box_loss_state, box_statistics, load_box_loss_state, reduce_statistics
from smoothiou.engine.build import build
from smoothiou.engine.checkpoint import (
    LAST,
    PREVIOUS,
    load_newest,
    restore_model,
    save_checkpoint,
)
from smoothiou.engine.config import RunConfig
from smoothiou.engine.determinism import determinism_fault, deterministic
from smoothiou.engine.devices import Place, choose_place, forget_peak_memory, peak_memory_mb
from smoothiou.engine.distributed import (
    any_process,
    fault_of_another,
    finish_speaking,
    join_processes,
    mean_of_all,
    require_one_step,
    said_by_rank_0,
    tell_fault,
)
from smoothiou.engine.identity import cell_hash, identity
from smoothiou.engine.loading import draw_batches, loader_fault, training_images
from smoothiou.engine.loop import Loop, train
from smoothiou.engine.measure import Measurement, measure_together
from smoothiou.engine.open_data import Splits, describe_data, open_splits
from smoothiou.engine.optim import build_optimizer
from smoothiou.engine.run_folder import claim_folder, prepare_folder
from smoothiou.engine.seeding import seed_weights
from smoothiou.engine.sinks import MetricsCsv, Progress
from smoothiou.errors import ConfigError, InterruptedRun, SmoothIoUError
from smoothiou.files import finite, write_json, write_text
from smoothiou.manifest import SCHEMA_VERSION, manifest, refuse_other_plan

RESUMED = ("model", "optimizer", "box_loss", "step", "best", "seconds", "watching", "place")


def run(
    config: RunConfig,
    folder: str | Path,
    *,
    splits: Splits | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train and measure one detector, or continue where an earlier call stopped.

    Args:
        config: every setting.
        folder: the run folder; made if missing. A finished run of the same settings is returned as it is.
        splits: the data, where it is open already.
        overwrite: start anew in a folder that holds another run.
        quiet: no progress.

    Returns:
        The content of result.json (empty in the processes of rank above 0).

    Raises:
        ConfigError: the folder holds another run.
        DataError, CheckpointError, DivergedError, InterruptedRun: as their names say.
    """
    folder = Path(folder)
    splits = splits or open_splits(config.data)
    facts = describe_data(splits)
    wanted = identity(config.flat(), facts)
    place = choose_place(config.train.device, config.train.precision, join=True)
    if config.train.batch_size < place.world:
        raise ConfigError(
            f"train.batch_size: {config.train.batch_size} images are too few for {place.world} processes.",
            hint="It counts the images of all processes together, and each needs one.",
        )
    join_processes(place, wait_seconds=config.train.wait_seconds)
    try:
        with deterministic(config.train.deterministic):
            return _run(config, folder, splits, place, facts, wanted, overwrite=overwrite, quiet=quiet)
    except Exception as error:
        finish_speaking(place)
        waited = fault_of_another(error, place, wait_seconds=config.train.wait_seconds)
        if waited is None:
            tell_fault(error, place)
            raise
        if place.rank == 0 and folder.is_dir():
            _leave_word(folder, waited)
        raise waited from error


def _run(
    config: RunConfig,
    folder: Path,
    splits: Splits,
    place: Place,
    facts: Mapping[str, Any],
    wanted: Mapping[str, Any],
    *,
    overwrite: bool,
    quiet: bool,
) -> dict[str, Any]:
    with claim_folder(folder) if place.rank == 0 else nullcontext():
        finished = prepare_folder(folder, config, wanted, overwrite=overwrite) if place.rank == 0 else None
        if finished is not None and not quiet:
            print(f"{folder}: done before", file=sys.stderr)
        if said_by_rank_0(finished is not None, place):
            return finished or {}
        try:
            return _train_and_measure(config, folder, splits, place, facts, wanted, quiet=quiet)
        except (InterruptedRun, KeyboardInterrupt):
            raise
        except Exception as error:
            told = _in_words(error, config)
            if place.rank == 0:
                _leave_word(folder, told)
            raise told from error


def _leave_word(folder: Path, error: Exception) -> None:
    """Write into the run folder what has ended the run."""
    with suppress(SmoothIoUError):  # on a full disk the error itself must still be seen
        write_text(folder / "error.txt", f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")


def _in_words(error: Exception, config: RunConfig) -> Exception:
    """Return the error, or what a user can do about it where the device is too small or a loader process has ended."""
    if isinstance(error, torch.OutOfMemoryError):
        return SmoothIoUError(
            f"The device ran out of memory with {config.train.batch_size} images a step, short side "
            f"{config.model.min_size} pixels.",
            hint="Lower train.batch_size or model.min_size and model.max_size.",
        )
    return loader_fault(error) or determinism_fault(error) or error


def _train_and_measure(
    config: RunConfig,
    folder: Path,
    splits: Splits,
    place: Place,
    facts: Mapping[str, Any],
    wanted: Mapping[str, Any],
    *,
    quiet: bool,
) -> dict[str, Any]:
    seed_weights(config.train.seed)
    model = build(config, classes=len(splits.train.classes)).to(place.device)
    notes: tuple[str, ...] = getattr(model, "notes", ())
    if place.rank == 0:
        facts_of_run = {"identity": wanted, "data": facts, "model_notes": notes, "processes": place.world}
        where = {"device": str(place.device), "precision": place.precision, "device_reason": place.reason}
        write_json(folder / "manifest.json", manifest(**facts_of_run, **where))
        for note in () if quiet else notes:
            print(note, file=sys.stderr)
    forget_peak_memory(place.device)
    spent = train_detector(model, config, folder, splits, place, quiet=quiet)
    began = time.monotonic()
    measured = measure_together(model, splits.test, config, place, label=f"{_label(config)}  test", quiet=quiet)
    if measured is None:  # another process has the numbers
        return {}
    result = _result(config, measured, hash_=cell_hash(config.flat(), facts))
    result["cost"] = {
        "train_seconds": spent.seconds,
        "seconds_per_step": (spent.seconds - spent.watching) / config.train.steps,
        "eval_seconds": time.monotonic() - began,
        "steps": config.train.steps,
        "peak_memory_mb": peak_memory_mb(place.device),
        "device": str(place.device),
        "precision": place.precision,
    }
    write_json(folder / "predictions.json", measured.predictions)
    write_json(folder / "localization.json", {"images": measured.images})
    write_json(folder / "result.json", result)
    (folder / PREVIOUS).unlink(missing_ok=True)  # nothing is left to go back for
    write_text(folder / "done", result["finished"] + "\n")
    return finite(result)


@dataclass(slots=True)
class Spent:
    """The time that a training has taken, in all calls together; `watching` is the part spent on the val split."""

    seconds: float = 0.0
    watching: float = 0.0


def train_detector(
    model: nn.Module,
    config: RunConfig,
    folder: Path,
    splits: Splits,
    place: Place,
    *,
    quiet: bool,
    until: int | None = None,
) -> Spent:
    """Train to the end, from the newest whole checkpoint where there is one.

    Args:
        model: the detector, changed in place.
        config: every setting.
        folder: where metrics.csv and checkpoints go.
        splits: the data.
        place: where to compute.
        quiet: no progress.
        until: stop after so many steps of the same training, rates and all, and save nothing more; None: at the end.
    """
    optimizer = build_optimizer(model, config.optim)
    classes = list(splits.train.classes)
    here = {"device": place.device.type, "precision": place.precision, "processes": place.world}
    start, best, spent = _take_up(model, optimizer, folder, place, here)
    before = spent.seconds
    require_one_step(start, place)
    began = time.monotonic()
    if start and not quiet and place.rank == 0:
        print(f"{_label(config)}: continued from step {start} of {config.train.steps}", file=sys.stderr)
    if start >= config.train.steps:
        return spent

    if config.train.compile:
        backbone: Any = model.backbone
        backbone.compile()  # in place: the names of its weights stay
    images = training_images(model, splits.train, config, place)
    last = config.train.steps if until is None else until

    def evaluate(step: int) -> dict[str, float]:
        nonlocal best
        row: dict[str, float] = {}
        asked = time.monotonic()
        measured = None
        if splits.val is not None:
            measured = measure_together(model, splits.val, config, place, label="val", quiet=True, refine=False)
        if measured is not None:
            ap = measured.metrics["AP"]
            row = {
                "val_AP": ap,
                "val_AP50": measured.metrics["AP50"],
                "val_mean_iou": measured.localization["mean_iou"],
            }
            if ap > best:
                best = ap
                save_checkpoint(
                    folder / "best.ckpt",
                    {"model": model.state_dict(), "classes": classes, "step": step, "val_AP": ap},
                )
        spent.watching += time.monotonic() - asked
        return row

    def save(step: int) -> None:
        spent.seconds = before + time.monotonic() - began
        if metrics is not None:
            metrics.settle()  # before the checkpoint that counts on these rows
            save_checkpoint(
                folder / LAST,
                {
                    "model": model.state_dict(), "classes": classes, "optimizer": optimizer.state_dict(),
                    "box_loss": box_loss_state(model), "step": step, "seconds": spent.seconds,
                    "watching": spent.watching, "best": best, "place": here, "rounding": _rounding(),
                },
                keep=folder / PREVIOUS,
            )  # fmt: skip

    def statistics() -> Mapping[str, torch.Tensor]:
        own = box_statistics(model)
        return reduce_statistics(own) if place.world > 1 else own

    loop = Loop(
        steps=config.train.steps, start=start, optim=config.optim, seed=config.train.seed,
        images=len(images), batch_size=config.train.batch_size, device=place.device, precision=place.precision,
        log_every=config.train.log_every, eval_every=config.train.eval_every if splits.val else 0,
        save_seconds=config.train.save_seconds, seconds_before=before,
    )  # fmt: skip
    wrapped = model
    if place.world > 1:
        wrapped = DistributedDataParallel(model)
    progress = Progress(steps=last, start=start, label=_label(config), quiet=quiet or place.rank != 0)
    metrics = MetricsCsv(folder / "metrics.csv", resume_step=start) if place.rank == 0 else None
    with progress, closing(draw_batches(images, config, place, start=start, steps=last)) as batches:
        train(
            wrapped, optimizer, batches, loop, sinks=[metrics, progress] if metrics is not None else [],
            statistics=statistics, evaluate=evaluate, save=save,
            name=lambda target: splits.train.records[target["image_index"]].name,
            agree=lambda asked: any_process(asked, place), together=lambda losses: mean_of_all(losses, place),
        )  # fmt: skip
    spent.seconds = before + time.monotonic() - began
    return spent


def _take_up(
    model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, place: Place, here: Mapping[str, Any]
) -> tuple[int, float, Spent]:
    """Put detector and optimizer where the newest whole checkpoint left them.

    Args:
        model, optimizer: changed in place.
        folder: of the run.
        place: where to compute.
        here: its kind, which must be that of the checkpoint.

    Returns:
        The step, the best AP on the val split and the time that were reached; those of a start without a checkpoint.
    """
    checkpoint, warning = load_newest(folder, needed=RESUMED, set_aside=place.rank == 0)
    if warning and place.rank == 0:
        print(warning, file=sys.stderr)
    if checkpoint is None:
        return 0, -1.0, Spent()
    restore_model(model, checkpoint["model"], path=folder / LAST)
    # Another precision or number of processes would end in other weights than the uninterrupted run.
    refuse_other_plan(folder, checkpoint["place"], here, what="kind of place, where this run began")
    optimizer.load_state_dict(checkpoint["optimizer"])
    load_box_loss_state(model, checkpoint["box_loss"])
    if place.rank == 0 and (changed := _changed(checkpoint)):
        print(changed, file=sys.stderr)
    return checkpoint["step"], checkpoint["best"], Spent(checkpoint["seconds"], checkpoint["watching"])


def _rounding() -> dict[str, Any]:
    """Return what decides about the last digits of a sum on one kind of place."""
    return {"torch": torch.__version__.split("+")[0], "threads": torch.get_num_threads()}


def _changed(checkpoint: Mapping[str, Any]) -> str:
    """Return what is to be said where a run goes on in other surroundings than those of its checkpoint."""
    there, here = checkpoint.get("rounding") or _rounding(), _rounding()
    found = [f"{key} {there[key]} there, {here[key]} here" for key in here if there.get(key) != here[key]]
    if not found:
        return ""
    return f"Continued in other surroundings ({'; '.join(found)}): the same up to rounding, not bit for bit."


def _result(config: RunConfig, measured: Measurement, *, hash_: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "loss": config.loss.name,
        "seed": config.train.seed,
        **measured.numbers(seed=config.train.seed),
        "optim": {"lr": config.optim.lr},
        "data": {"test": measured.facts()},
        "versions": manifest()["versions"],
        "hash": hash_,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _label(config: RunConfig) -> str:
    return f"{config.loss.name} seed {config.train.seed}"
