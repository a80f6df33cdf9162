"""Where the rows of a training go beside metrics.csv: TensorBoard, Weights & Biases, MLflow, or code of one's own."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from smoothiou.errors import ConfigError, SmoothIoUError, did_you_mean
from smoothiou.files import write_text
from smoothiou.import_object import import_object

INSTALL = {"tensorboard": "'smoothiou[tensorboard]'"}
"""What pip is given, where it is not the logger's own name."""


class Logger(Protocol):
    """What is called with every row of metrics.csv."""

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Take the numbers of a step."""
        ...

    def close(self) -> None:
        """End, finished or not."""
        ...


class TensorBoard:
    """Event files in RUN/tensorboard.

    Args:
        folder: of the run.
        config: its settings, flat.
        step: after which the run begins; later rows of an earlier call are dropped, to come again.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        _require("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._writer.add_text("config", "\n".join(f"    {key} = {value!r}" for key, value in config.items()), step)

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Write a scalar for each number."""
        for name, value in row.items():
            group, _, rest = name.partition("_")
            tag = f"{group}/{rest}" if group in ("loss", "rpn", "roi", "val") and rest else name
            self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases, whose id is kept in RUN/wandb.txt so that a resumed run goes on there; args as above.

    Where it goes, and under which project, is set by its own variables (WANDB_PROJECT, WANDB_MODE).
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        wandb: Any = _require("wandb")
        known = _kept(folder / "wandb.txt")
        self._run = wandb.init(
            dir=str(folder), name=folder.name, config=dict(config), id=known or None, resume="allow" if known else None
        )
        write_text(folder / "wandb.txt", self._run.id)

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Log the numbers at their step; those of a step that is there already are the same, and are left out."""
        self._run.log(dict(row), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MLflow:
    """A run of MLflow, whose id is kept in RUN/mlflow.txt; args as above.

    Where it goes is set by its own variables (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME).
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        self._mlflow: Any = _require("mlflow")
        known = _kept(folder / "mlflow.txt")
        run = self._mlflow.start_run(run_id=known or None, run_name=None if known else folder.name)
        write_text(folder / "mlflow.txt", run.info.run_id)
        if not known:
            self._mlflow.log_params({key: str(value)[:500] for key, value in config.items()})

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """Log the numbers at their step."""
        self._mlflow.log_metrics(dict(row), step=step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


LOGGERS: Mapping[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def open_logger(name: str, folder: Path, config: Mapping[str, Any], *, step: int) -> Logger | None:
    """Return the logger of a run; None for "none".

    Args:
        name: of `LOGGERS`, or `package.module:object`, called as object(folder=, config=, step=) and returning what has
            `log(step, row)`, and perhaps `close()`.
        folder: of the run.
        config: its settings, flat.
        step: after which it begins: 0, or where it was resumed.

    Raises:
        ConfigError: no such logger, a package that is missing, a service that cannot be reached, or an object without
            `log`.
    """
    if name == "none":
        return None
    check_logger(name)
    if name in LOGGERS:
        try:
            return LOGGERS[name](folder, config, step)  # type: ignore[call-arg]  # a protocol says nothing of how it is made
        except SmoothIoUError:
            raise
        except Exception as error:  # of the service: no login, no server, a part that is not installed
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ConfigError(
                f"train.log: {name} does not start: {reason}", hint="Set it up, or leave it out."
            ) from error
    try:
        logger = import_object(name)(folder=folder, config=dict(config), step=step)
    except SmoothIoUError:
        raise
    except Exception as error:  # code of anyone
        raise ConfigError(
            f"train.log: {name} does not start: {type(error).__name__}: {error}.",
            hint="It is called as object(folder=..., config=..., step=...).",
        ) from error
    if not callable(getattr(logger, "log", None)):
        raise ConfigError(f"train.log: {name} returns {type(logger).__name__}, which has no log(step, row).")
    return logger


def check_logger(name: str) -> None:
    """Refuse a logger that does not exist, before anything is trained.

    Raises:
        ConfigError: with what there is.
    """
    if name in ("none", *LOGGERS):
        if name != "none":
            _require(name)
    elif ":" in name:
        import_object(name)
    else:
        raise ConfigError(f"train.log: {name!r} is no logger.", hint=did_you_mean(name, ("none", *LOGGERS)))


def finite_row(row: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers of a row but for `step`, without those that are none."""
    return {key: float(value) for key, value in row.items() if key != "step" and math.isfinite(value)}


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"train.log: {package} cannot be imported: {error}.", hint=f"pip install {INSTALL.get(package, package)}"
        ) from None


def _kept(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
