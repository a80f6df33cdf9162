"""From the arguments of `train` and `compare` to the settings of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from smoothiou.engine.config import KEYS, RunConfig, build_config
from smoothiou.engine.open_data import Data, data_setting
from smoothiou.errors import ConfigError
from smoothiou.import_object import name_of
from smoothiou.loss_spec import parse_loss, split_stages
from smoothiou.words import counted

Named = str | Callable[..., Any]
"""A name of the command line, or the object itself."""


class Configured(NamedTuple):
    """The settings of a run, and whether its length is still to be fitted to the data."""

    config: RunConfig
    is_length_open: bool

    def fitted(self, images: int) -> tuple[RunConfig, str]:
        """Return the settings with a number of steps that fits so many training images, and a line that says so."""
        if not self.is_length_open:
            return self.config, ""
        from smoothiou.engine.length import steps_for

        config = self.config.replace({"train.steps": steps_for(images, batch_size=self.config.train.batch_size)})
        batch = counted(config.train.batch_size, "image")
        line = f"{config.train.steps} steps of {batch} fit {images:,} training image{'' if images == 1 else 's'}"
        return config, f"{line} (recipe photos; --steps for more or fewer)"


def configure(
    data: Data,
    *,
    command: str,
    settings: Mapping[str, Any],
    recipe: str | Path | None,
    steps: int | None,
    model: Named | None,
    weights: str | Path | None,
    device: str | None,
    format: str | None,
    allow_dropped: int | None,
    deterministic: bool,
    others: Mapping[str, Any],
) -> Configured:
    """Return the settings of a run: arguments over `settings` over the recipe over the defaults.

    Args:
        data: DATA.
        command: its name, for the message.
        settings: by dotted key, or with two underscores for the dot.
        recipe: None: for real data `photos`, which leaves the length open, unless another detector is asked for.
        steps, model, weights, device, format, allow_dropped, deterministic: as of the command line.
        others: further settings, by dotted key.

    Raises:
        ConfigError: an unknown setting, a value out of range, or no data.
    """
    settings = dotted(settings)
    path = data_setting(data)
    flags = {
        "data.path": path or None, "data.format": format, "data.allow_dropped": allow_dropped, "train.steps": steps,
        "train.device": device, "model.name": None if model is None else name_of(model),
        "model.weights": None if weights is None else str(weights), "train.deterministic": deterministic or None,
        **others,
    }  # fmt: skip
    if not (recipe or model or path in ("", "shapes") or "model.name" in settings):
        recipe = "photos"
    given = {key: value for key, value in flags.items() if value is not None}
    for key in given.keys() & settings.keys() - others.keys():
        raise ConfigError(f"{key}: given twice, as {given[key]} and {settings[key]}.", hint="Leave one out.")
    config = build_config(None if recipe is None else str(recipe), {**settings, **given})
    if not config.data.path:
        raise ConfigError(f"{command}: DATA is missing.", hint="Name a folder, or `shapes` for the synthetic data set.")
    return Configured(config, recipe == "photos" and steps is None and "train.steps" not in settings)


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key: `optim__lr` is `optim.lr`.

    Raises:
        ConfigError: a name without a section, with those that it may mean.
    """
    for name in settings:
        if "." not in name and "__" not in name:
            likely = [key.replace(".", "__") for key in KEYS if key.endswith(f".{name}")]
            hint = f"Did you mean {' or '.join(likely)}?" if likely else "Write SECTION__NAME, as optim__lr."
            raise ConfigError(f"{name}: no such argument.", hint=f"{hint} `smoothiou config keys` lists all settings.")
    return {name if "." in name else name.replace("__", ".", 1): value for name, value in settings.items()}


def check_names(losses: Sequence[str], *, option: str = "--losses") -> None:
    """Refuse an unknown name before anything is read, written or trained."""
    from smoothiou.losses import LOSSES, no_such_loss

    for loss in dict.fromkeys(part for spec in losses for part in split_stages(spec)):
        name, _ = parse_loss(loss)
        if ":" not in name and name not in LOSSES:
            raise no_such_loss(name, LOSSES, option=option)


def data_name(path: str) -> str:
    """Return the data as part of a folder name; of several folders joined by `+`, all their names."""
    return folder_name("-".join(Path(piece).name for piece in path.split("+")))


def folder_name(text: str) -> str:
    """Return a text as part of a folder name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text).strip("-.") or "data"


def command_line(command: str, data: str, options: Mapping[str, Any]) -> list[str]:
    """Return the words of the command line that does the same, for the pages of a study.

    Args:
        command: its name.
        data: DATA.
        options: by name or dotted key; what is None or False is left out, True is a flag.
    """
    arguments = ["smoothiou", command, *([data] if data else [])]
    for name, value in options.items():
        if value is None or value is False:
            continue
        option = f"--{name}" if "." in name else f"--{name.replace('_', '-')}"
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        arguments += [option] if value is True and "." not in name else [option, text]
    return arguments
