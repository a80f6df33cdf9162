"""A run folder in: its detector, ready to use, and its metrics."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from smoothiou.data.export import to_coco
from smoothiou.engine.build import build
from smoothiou.engine.checkpoint import load_checkpoint
from smoothiou.engine.config import RunConfig, build_config
from smoothiou.engine.devices import Place, choose_place
from smoothiou.engine.measure import measure
from smoothiou.engine.open_data import open_split, open_test
from smoothiou.errors import CheckpointError, ConfigError, DataError
from smoothiou.files import finite, printable, short, write_json
from smoothiou.manifest import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run folder's settings, its detector, the names of its classes, and after how many steps it was saved."""

    config: RunConfig
    model: nn.Module
    classes: tuple[str, ...]
    place: Place
    step: int


def open_run(folder: Path, *, checkpoint: str, device: str | None) -> OpenedRun:
    """Read settings and weights of a run folder; neither its data nor the network is needed.

    A folder of a stranger runs no code: a loss that it names as `package.module:object` is not imported, for nothing
    is learnt here.

    Raises:
        CheckpointError: the folder is no run, or its checkpoint is missing or does not fit.
    """
    if not (folder / "config.toml").is_file():
        raise CheckpointError(
            f"{folder}: no run (no config.toml there).", hint="Name a folder that `smoothiou train` has written."
        )
    path = folder / f"{checkpoint}.ckpt"
    content = load_checkpoint(path, needed=("model", "classes", "step"))
    classes = _classes(content, path)
    # The checkpoint brings every weight, so none is to be loaded from elsewhere.
    config = build_config(str(folder / "config.toml"), {"train.device": device, "model.weights": str(path)})
    place = choose_place(config.train.device, config.train.precision)
    stand_in = dataclasses.replace(config.loss, name="huber") if ":" in config.loss.name else config.loss
    model = build(dataclasses.replace(config, loss=stand_in), classes=len(classes))
    return OpenedRun(config, model.to(place.device).eval(), classes, place, content["step"])


def _classes(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the names of a checkpoint's classes, which will stand in tables, pages and output."""
    found = content["classes"]
    named = isinstance(found, (list, tuple)) and found and all(isinstance(name, str) for name in found)
    if not named or type(content["step"]) is not int or not all(printable(name) for name in found):
        raise CheckpointError(
            f"{path}: expected the names of the classes and a number of steps, got {short(found)} and "
            f"{short(content['step'])}."
        )
    return tuple(found)


def evaluate_run(
    folder: str | Path,
    *,
    data: str | None = None,
    split: str | None = None,
    checkpoint: str = "last",
    device: str | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure the weights of a run folder.

    Args:
        folder: the run.
        data, split: instead of the run's own data and test split.
        checkpoint: "last" or "best".
        device: instead of the run's own.
        out: folder for truth.json, predictions.json and result.json; nothing is written without it.
        quiet: no progress.

    Raises:
        CheckpointError: no run, or weights that do not fit.
        DataError: the data cannot be read, or has other classes.
    """
    folder = Path(folder)
    if out and any((Path(out) / name).exists() for name in ("manifest.json", "plan.json")):
        raise ConfigError(f"{out} is a run or a study, whose own results must stay.", hint="Choose another --out.")
    opened = open_run(folder, checkpoint=checkpoint, device=device)
    config = opened.config.data
    if data:
        config = dataclasses.replace(config, path=data, format="auto", train="", val="", test="")
    test = open_split(config, split) if split else open_test(config)
    if test.classes != opened.classes:
        raise DataError(
            f"{config.path}: expected the classes that the run has learnt ({', '.join(opened.classes)}), got "
            f"{', '.join(test.classes)}.",
            hint="Name data with the same classes.",
        )
    measured = measure(
        opened.model, test, opened.config, opened.place, label=f"{folder.name} {checkpoint}", quiet=quiet
    )
    result = {
        "schema_version": SCHEMA_VERSION,
        "run": str(folder),
        "checkpoint": checkpoint,
        "step": opened.step,
        "steps": opened.config.train.steps,
        "loss": opened.config.loss.name,
        "seed": opened.config.train.seed,
        **measured.numbers(seed=opened.config.train.seed),
    }
    if out:
        write_json(Path(out) / "truth.json", to_coco(test))
        write_json(Path(out) / "predictions.json", measured.predictions)
        write_json(Path(out) / "result.json", result)
    return finite(result)
