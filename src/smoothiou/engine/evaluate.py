"""A finished run: its detector, ready to use, and its metrics on any data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from smoothiou.data.export import to_coco
from smoothiou.data.faults import refuse_long
from smoothiou.engine.checkpoint import load_checkpoint
from smoothiou.engine.config import RunConfig, read_run_config
from smoothiou.engine.detector import build
from smoothiou.engine.devices import Placement, placement_of
from smoothiou.engine.measure import Measurement, measure
from smoothiou.engine.open_data import open_measured, other_data
from smoothiou.engine.selection import check_selections, compare_selections
from smoothiou.errors import CheckpointError, ConfigError, DataError
from smoothiou.files import finite, printable, short, write_json
from smoothiou.manifest import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """Settings, detector, class names and last step of a run folder."""

    config: RunConfig
    model: nn.Module
    classes: tuple[str, ...]
    placement: Placement
    step: int


def open_run(folder: Path, *, checkpoint: str, device: str | None, precision: str | None = None) -> OpenedRun:
    """Read settings and weights of a run folder; neither its data nor the network is needed.

    A stranger's folder runs no code: a loss that it names as `package.module:object` is not imported, since nothing is
    trained.

    Args:
        folder: of the run.
        checkpoint: "last" or "best".
        device, precision: as in the settings; None: the run's.

    Raises:
        CheckpointError: the folder is no run, or its checkpoint is missing or does not fit.
    """
    if (folder / "plan.json").is_file():
        cells = sorted(cell.name for cell in (folder / "cells").glob("*") if (cell / "config.toml").is_file())
        raise CheckpointError(
            f"{folder} is a study of several runs.",
            hint=f"Name one: {', '.join(f'{folder}/cells/{name}' for name in cells[:20])}." if cells else "",
        )
    if not (folder / "config.toml").is_file():
        raise CheckpointError(
            f"{folder}: no run (no config.toml there).", hint="Name a folder that `smoothiou train` has written."
        )
    path = folder / f"{checkpoint}.ckpt"
    content = load_checkpoint(path, needed=("model", "classes", "step"))
    classes = _classes(content, path)
    # The checkpoint brings every weight, so none is to be loaded from elsewhere.
    changes = {"model.weights": str(path), "train.device": device, "train.precision": precision}
    config = read_run_config(folder, {key: value for key, value in changes.items() if value is not None})
    placement = placement_of(config)
    known_loss = {"loss.name": "huber"} if ":" in config.loss.name else {}
    model = build(config.replace(known_loss), classes=len(classes))
    return OpenedRun(config, model.to(placement.device).eval(), classes, placement, content["step"])


def _classes(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the class names of a checkpoint, which must be fit to print."""
    names, step = content["classes"], content["step"]
    is_list = isinstance(names, (list, tuple)) and len(names) > 0
    if not is_list or type(step) is not int or not all(isinstance(name, str) and printable(name) for name in names):
        raise CheckpointError(f"{path}: expected class names and a number of steps, got {short(names)}, {short(step)}.")
    return tuple(names)


def open_images(config: RunConfig, *, data: str | None, most: int) -> list[Any]:
    """Return the first test images of a run, or of another data set, as RGB `PIL.Image`s.

    Raises:
        DataError: the data cannot be read.
        ConfigError: it is code, which only runs if it is named again.
    """
    return [record.source.read() for record in open_measured(other_data(config.data, data), None).records[:most]]


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A run on a split: the content of result.json, and all that was measured."""

    result: dict[str, Any]
    measurement: Measurement


def measure_run(
    folder: str | Path,
    *,
    data: str | None = None,
    split: str | None = None,
    checkpoint: str = "last",
    device: str | None = None,
    out: str | Path | None = None,
    selections: Sequence[str] = (),
    quiet: bool = False,
    opened: OpenedRun | None = None,
) -> MeasuredRun:
    """Measure the weights of a run folder.

    Args:
        folder: the run.
        data, split: in place of the run's data and test split.
        checkpoint: "last" or "best".
        device: in place of the run's.
        out: folder for truth.json, predictions.json and result.json; nothing is written without it.
        selections: other ways than NMS to select detections, keys of `metrics.selection.SELECTIONS`; their metrics
            stand under "selection". The detector's candidates are kept in the run's folder.
        quiet: no progress.
        opened: the run, where it is open already.

    Raises:
        CheckpointError: no run, or weights that do not fit.
        DataError: the data cannot be read, or has other classes.
    """
    folder = Path(folder)
    check_selections(selections)
    if out and any((Path(out) / name).exists() for name in ("manifest.json", "plan.json")):
        raise ConfigError(f"{out} is a run or a study, whose results must stay.", hint="Choose another --out.")
    opened = opened or open_run(folder, checkpoint=checkpoint, device=device)
    config = opened.config
    test = open_measured(other_data(config.data, data), split)
    refuse_long(test, max_size=config.model.max_size)
    if test.classes != opened.classes:
        raise DataError(
            f"{test.name}: expected the classes of the run ({', '.join(opened.classes)}), got "
            f"{', '.join(test.classes)}.",
            hint="Name data with the same classes.",
        )
    label = f"{folder.name} {checkpoint}"
    measurement = measure(opened.model, test, config, opened.placement, label=label, quiet=quiet)
    assert measurement is not None  # one process
    ended = checkpoint == "last" and (folder / "done").is_file()  # perhaps early, by train.patience
    result = {
        "schema_version": SCHEMA_VERSION,
        "run": str(folder),
        "checkpoint": checkpoint,
        "step": opened.step,
        "steps": opened.step if ended else config.train.steps,
        "loss": config.loss.name,
        "seed": config.train.seed,
        **measurement.numbers(seed=config.train.seed),
    }
    if selections:
        result["selection"] = compare_selections(
            opened.model, test, folder / f"{checkpoint}.ckpt", names=selections, settings=config.eval,
            placement=opened.placement, quiet=quiet,
        )  # fmt: skip
    if out:
        files = {"truth": to_coco(test), "predictions": measurement.predictions, "result": result}
        for name, content in files.items():
            write_json(Path(out) / f"{name}.json", content)
    return MeasuredRun(finite(result), measurement)
