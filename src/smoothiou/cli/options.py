"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from smoothiou.errors import ConfigError

if TYPE_CHECKING:
    from smoothiou.engine.config import RunConfig

Settings = Annotated[
    list[str] | None,
    Parameter(name="--set", help="Any setting, KEY=VALUE; `--optim.lr 0.002` is short for `--set optim.lr=0.002`."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object to stdout.")]
Quiet = Annotated[bool, Parameter(negative="", help="No progress on stderr.")]
Overwrite = Annotated[bool, Parameter(negative="", help="Start anew in a folder that holds something else.")]
Recipe = Annotated[str | None, Parameter(help="Name of a shipped recipe, or path of a TOML file.")]
Steps = Annotated[int | None, Parameter(name="--steps", help="Optimizer steps.")]
Model = Annotated[
    str | None,
    Parameter(
        help="lite0, lite0-cascade, nano, resnet18-fpn, resnet50-fpn, mobilenet-v3-fpn, inception-v2 (the paper's), "
        "vgg16, timm:NAME or package.module:builder."
    ),
]
Weights = Annotated[
    str | None,
    Parameter(
        help="auto (ImageNet's where they are installed, as for lite0), none, imagenet, coco (these two download "
        "otherwise), a run folder or a checkpoint, of which what fits is taken "
        "over, or tf:PATH of a TensorFlow checkpoint (inception-v2)."
    ),
]
Device = Annotated[str | None, Parameter(help="auto, cpu, cuda or cuda:N.")]
Deterministic = Annotated[
    bool, Parameter(negative="", help="Only operations that give the same bits each time, on a GPU too.")
]
Format = Annotated[str | None, Parameter(name="--format", help="Format of DATA, instead of detecting it.")]
Allow = Annotated[int | None, Parameter(help="Boxes without area or outside their image that may be left out.")]


def parse_settings(settings: Sequence[str] | None) -> dict[str, str]:
    """Read `KEY=VALUE` texts.

    Raises:
        ConfigError: a text without `=`, or an unknown key (with a suggestion).
    """
    if not settings:
        return {}
    from smoothiou.engine.config import KEYS, suggest_key

    read = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected KEY=VALUE.")
        if key not in KEYS:
            raise ConfigError(f"--{key}: no such setting.", hint=suggest_key(key, KEYS))
        read[key] = value
    return read


def run_config(recipe: str | None, settings: Sequence[str] | None, flags: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run from a recipe, dotted options and named flags, of which those given win."""
    from smoothiou.engine.config import build_config

    named, dotted = given(flags), parse_settings(settings)
    for key in named.keys() & dotted.keys():
        raise ConfigError(f"--{key}: given twice, as {named[key]} and {dotted[key]}.", hint="Leave one out.")
    return build_config(recipe, {**dotted, **named})


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that were given on the command line."""
    return {name: value for name, value in flags.items() if value is not None}


def split_commas(text: str | None) -> list[str]:
    """Return the words of a list with commas."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]
