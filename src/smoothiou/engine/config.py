"""Every setting of a run, with its default, range and meaning, and the strict reader of recipes. No torch.

Precedence: a flag or dotted option, then the recipe, then the default written here.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.files import MAX_PIXELS, MOST_PIXELS, read_bytes, short
from smoothiou.loss_spec import STAGES, stage_losses

MAX_RECIPE, MAX_LINE = 2**16, 2000
"""Bytes of a recipe, and signs of a line of it: some texts of many dots take the reader of TOML hours."""


def _require(condition: bool, key: str, expected: str, got: Any) -> None:
    if not condition:
        raise ConfigError(f"{key}: expected {expected}, got {short(got)}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What is learnt from and tested on."""

    path: str = ""
    """Folder of the data set, several joined by `+`, or `shapes` for the synthetic one."""
    format: str = "auto"
    """`auto`, or the name of a format (`voc`, `coco`, `pets`, `udacity`, `shapes`)."""
    train: str = ""
    """Name of the split to learn from; empty: `train`, else the 80 % of a seeded split. Several are merged by a sum
    (`VOC2007:train+VOC2012:train`) or a name (`VOC++Train`, `07+12`, `07++12`)."""
    val: str = ""
    """Name of the split for curves and `best.ckpt`; empty: what the data offers beside the test split, if anything."""
    test: str = ""
    """Name of the split that the final numbers come from; empty: the partner of `data.train` if it has one (of
    `VOC++Train`, `VOC2012:val`), else `test` if it has boxes, else `val`."""
    labels: str = ""
    """Which labels, for data sets that offer several (`pets`: head, species, breed)."""
    split_seed: int = 0
    """Seed of the split where a data set ships none."""
    allow_dropped: int = 0
    """How many boxes without area or outside their image may be left out; 0 stops at the first."""
    max_pixels: int = MAX_PIXELS
    """Most pixels of an image, width times height; a file of a few bytes may claim billions, and fill the memory."""
    follow_links: bool = False
    """Whether links inside the data folder may lead out of it; the data folder itself may always be a link."""
    images: int = 300
    """`shapes` only: images in the training split (the test split has a third as many)."""
    size: int = 128
    """`shapes` only: side of an image in pixels."""
    loose: float = 0.0
    """`shapes` only: how loosely training boxes are drawn, as a share of the box side (test boxes stay exact)."""
    long_tail: float = 0.0
    """`shapes` only: 0 for classes of equal number; larger values make a longer tail."""

    def __post_init__(self) -> None:
        _require(self.allow_dropped >= 0, "data.allow_dropped", "0 or more", self.allow_dropped)
        limit = f"1 to {MOST_PIXELS}, which is Pillow's own limit"
        _require(1 <= self.max_pixels <= MOST_PIXELS, "data.max_pixels", limit, self.max_pixels)
        _require(self.images >= 3, "data.images", "3 or more", self.images)
        _require(32 <= self.size <= 2048, "data.size", "32 to 2048 pixels", self.size)
        _require(0 <= self.loose <= 0.5, "data.loose", "0 to 0.5", self.loose)
        _require(self.long_tail >= 0, "data.long_tail", "0 or more", self.long_tail)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which detector."""

    name: str = "nano"
    """`nano`, `resnet18-fpn`, `resnet50-fpn`, `mobilenet-v3-fpn`, `inception-v2` (the paper's) or `vgg16` (its
    baseline, of the original Faster R-CNN)."""
    weights: str = "none"
    """`none`, `imagenet`, `coco` (both download, and only when asked for here), the path of a checkpoint, or `tf:PATH`
    of a TensorFlow checkpoint (`inception-v2`)."""
    min_size: int = 240
    """Images are resized to this short side ..."""
    max_size: int = 320
    """... unless the long side would exceed this."""
    proposals: int = 300
    """Proposals kept per image in evaluation (the paper: 300), and with `tf` in training too."""
    flavour: Literal["torchvision", "tf"] = "torchvision"
    """`tf` trains as TensorFlow's Object Detection API does: truth boxes do not join the proposals, of which 64 are
    sampled, a quarter of them positive; images are resized its way; `inception-v2` leaves anchors that cross the border
    unused."""
    keep: float = 0.0
    """Share of the second stage's features that stay in training before its last layers (dropout; the paper tries 0.2
    to 0.8). 1: all. 0: as the detector has it, which is all, but for `vgg16` half."""

    def __post_init__(self) -> None:
        _require(self.min_size >= 32, "model.min_size", "32 or more pixels", self.min_size)
        _require(self.max_size >= self.min_size, "model.max_size", "at least model.min_size", self.max_size)
        _require(self.proposals >= 1, "model.proposals", "1 or more", self.proposals)
        _require(0 <= self.keep <= 1, "model.keep", "a share, or 0 for the detector's own", self.keep)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Which box loss."""

    name: str = "smooth-iou"
    """A name from `smoothiou losses`, or `package.module:object`; options in brackets: `huber[delta=0.5]`. Two, as
    `huber/smooth-iou`, are of the first and of the second stage."""
    stages: tuple[str, ...] = STAGES
    """Where it replaces the detector's own: `rpn`, `roi` or both."""
    weight: float = 1.0
    """Factor on the box loss in the replaced stages."""
    rpn_weight: float = 1.0
    """Another factor, on the first stage's box loss alone; `smoothiou calibrate` proposes it ..."""
    roi_weight: float = 1.0
    """... and this one, on the second stage's: their codes have other weights, so their gradients other sizes."""

    def __post_init__(self) -> None:
        stage_losses(self.name)
        wrong = [stage for stage in self.stages if stage not in STAGES]
        _require(bool(self.stages) and not wrong, "loss.stages", "rpn, roi or both", self.stages)
        for key in ("weight", "rpn_weight", "roi_weight"):
            _require(getattr(self, key) > 0, f"loss.{key}", "more than 0", getattr(self, key))


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """How weights are changed."""

    name: Literal["adamw", "sgd", "rmsprop", "tf-rmsprop"] = "adamw"
    """Optimizer; `tf-rmsprop` is RMSProp as TensorFlow 1 computes it, which torch's is not (the paper's)."""
    lr: float = 0.001
    """Learning rate (the peak, for `one-cycle`), for a batch of `train.batch_size` images in all processes together."""
    schedule: Literal["one-cycle", "step", "constant"] = "one-cycle"
    """`step` divides the rate by 10 every `step_every` steps, as the paper does."""
    step_every: int = 50_000
    """For `step`."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises (`one-cycle`)."""
    momentum: float = 0.9
    """For `sgd`, `rmsprop` and `tf-rmsprop`."""
    epsilon: float = 1.0
    """For `tf-rmsprop`: added to the mean square of the gradient, under the root; 1 is that API's default."""
    weight_decay: float = 0.0001
    """Decay of weights (decoupled for `adamw`; never of biases and norms)."""
    clip_norm: float = 10.0
    """Largest global norm of a gradient; 0 switches clipping off."""
    clip_by: Literal["global", "variable"] = "global"
    """Whether `clip_norm` limits the norm of all gradients together, or of each `variable`'s, as an older trainer of
    TensorFlow does."""

    def __post_init__(self) -> None:
        _require(self.lr > 0, "optim.lr", "more than 0", self.lr)
        _require(self.step_every >= 1, "optim.step_every", "1 or more", self.step_every)
        _require(0 < self.warmup < 1, "optim.warmup", "a share between 0 and 1", self.warmup)
        _require(0 <= self.momentum < 1, "optim.momentum", "0 or more and below 1", self.momentum)
        _require(self.weight_decay >= 0, "optim.weight_decay", "0 or more", self.weight_decay)
        _require(self.epsilon > 0, "optim.epsilon", "more than 0", self.epsilon)
        _require(self.clip_norm >= 0, "optim.clip_norm", "0 or more", self.clip_norm)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long, on what, and how often something is written."""

    steps: int = 400
    """Optimizer steps."""
    batch_size: int = 4
    """Images per step, in all processes together."""
    seed: int = 0
    """Decides initial weights, order of the data, augmentation and sampling; equal for all losses that are compared."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the hardware multiplies it natively, else fp32. Losses are fp32 always."""
    flip: float = 0.5
    """Probability of a horizontal flip (the paper's only augmentation)."""
    workers: int = 0
    """Loader processes; 0 decodes in the training process, which the image cache makes cheap."""
    cache_mb: int = 1024
    """Images are kept in memory, decoded and resized, until they fill this; the rest are decoded in each epoch."""
    compile: bool = False
    """Compile the detector's backbone with `torch.compile`: half a minute, which a CPU never earns back."""
    log_every: int = 10
    """Steps between two rows of metrics.csv."""
    eval_every: int = 0
    """Steps between evaluations on the val split, for curves and best.ckpt; 0: none."""
    save_seconds: float = 60.0
    """Seconds between two saves of last.ckpt; the end of an epoch is saved too, if the last save is 10 seconds old."""
    deterministic: bool = False
    """Only operations that give the same bits each time, on a GPU too; a CPU's do so anyway."""
    wait_seconds: float = 1800.0
    """Seconds that the processes of one training wait for each other before the run is stopped."""
    load_seconds: float = 600.0
    """Seconds that loader processes may take for a batch before the run is stopped (`train.workers` above 0)."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1, "train.steps", "1 or more", self.steps)
        _require(self.batch_size >= 1, "train.batch_size", "1 or more", self.batch_size)
        _require(0 <= self.seed < 2**32, "train.seed", "0 to 2**32 - 1", self.seed)
        _require(0 <= self.flip <= 1, "train.flip", "a probability", self.flip)
        _require(self.workers >= 0, "train.workers", "0 or more", self.workers)
        _require(self.cache_mb >= 0, "train.cache_mb", "0 or more", self.cache_mb)
        _require(self.log_every >= 1, "train.log_every", "1 or more", self.log_every)
        _require(self.eval_every >= 0, "train.eval_every", "0 or more", self.eval_every)
        _require(self.save_seconds > 0, "train.save_seconds", "more than 0", self.save_seconds)
        _require(self.wait_seconds > 0, "train.wait_seconds", "more than 0", self.wait_seconds)
        _require(self.load_seconds > 0, "train.load_seconds", "more than 0", self.load_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """How a detector is measured."""

    batch_size: int = 8
    """Images at a time."""
    score_threshold: float = 0.01
    """Detections below this score are left out of predictions.json and of COCO's metrics (never of the mean IoU)."""
    max_detections: int = 100
    """Detections per image, COCO's 100."""
    nms: float = 0.5
    """IoU above which a lower-scored detection of the same class is suppressed."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, "eval.batch_size", "1 or more", self.batch_size)
        _require(0 <= self.score_threshold < 1, "eval.score_threshold", "0 or more and below 1", self.score_threshold)
        _require(self.max_detections >= 1, "eval.max_detections", "1 or more", self.max_detections)
        _require(0 < self.nms <= 1, "eval.nms", "above 0 and at most 1", self.nms)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run, completely."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def flat(self) -> dict[str, Any]:
        """Return `{"optim.lr": 0.001, ...}`, every field."""
        return {
            f"{section}.{key}": list(value) if isinstance(value, tuple) else value
            for section, values in dataclasses.asdict(self).items()
            for key, value in values.items()
        }

    def nested(self) -> dict[str, dict[str, Any]]:
        """Return `{"optim": {"lr": 0.001, ...}, ...}`, as written to config.toml."""
        nested: dict[str, dict[str, Any]] = {}
        for key, value in self.flat().items():
            section, name = key.split(".")
            nested.setdefault(section, {})[name] = value
        return nested

    def replace(self, changes: Mapping[str, Any]) -> RunConfig:
        """Return a copy with dotted keys changed; texts are read as the field's type.

        Raises:
            ConfigError: an unknown key (with a suggestion), or a value of another type or range.
        """
        sections = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        read: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            section, _, name = key.partition(".")
            if key not in KEYS:
                raise ConfigError(f"{key}: no such setting.", hint=did_you_mean(key, KEYS))
            hint = typing.get_type_hints(type(sections[section]))[name]
            read.setdefault(section, {})[name] = _read(value, hint, key)
        # A section at once: what two settings demand of each other holds for their new values, in any order.
        sections |= {section: dataclasses.replace(sections[section], **values) for section, values in read.items()}
        return RunConfig(**sections)


def _read(value: Any, hint: Any, key: str) -> Any:
    """Return `value` as the type `hint`, reading texts from the command line; refuse everything else."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        _require(value in arguments, key, f"one of {', '.join(arguments)}", value)
        return value
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ConfigError(f"{key}: expected a list, got {short(value)}.")
        return tuple(_read(item, arguments[0], key) for item in items)
    if origin is types.UnionType:
        hint = next(a for a in arguments if a is not type(None))
    if hint is str and isinstance(value, str):
        return value
    if hint is bool:
        words = {"true": True, "yes": True, "false": False, "no": False}
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
    elif hint in (int, float) and not isinstance(value, bool):
        try:
            number = hint(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if hint is float and isinstance(number, (int, float)) and abs(number) <= sys.float_info.max:
            return float(number)
        if hint is int and isinstance(number, int) and abs(number) < 2**63:
            return number
    expected = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}[hint]
    raise ConfigError(f"{key}: expected {expected}, got {short(value)}.")


def _sections() -> Iterator[tuple[str, type]]:
    yield from typing.get_type_hints(RunConfig).items()


KEYS: tuple[str, ...] = tuple(
    f"{section}.{f.name}" for section, section_type in _sections() for f in dataclasses.fields(section_type)
)


def describe() -> list[tuple[str, Any, str]]:
    """Return `(key, default, meaning)` of every setting, read from this file's own text."""
    source = resources.files("smoothiou").joinpath("config.py").read_text()
    default = RunConfig().flat()
    rows = []
    for section, section_type in _sections():
        body = source.split(f"class {section_type.__name__}:", 1)[1].split("\n@dataclass", 1)[0]
        for f in dataclasses.fields(section_type):
            found = re.search(rf'^    {f.name}: [^\n]*\n    """(.+?)"""', body, re.MULTILINE | re.DOTALL)
            assert found, f"{section}.{f.name} has no docstring"
            rows.append((f"{section}.{f.name}", default[f"{section}.{f.name}"], " ".join(found[1].split())))
    return rows


def recipes() -> dict[str, Path]:
    """Return the recipes shipped with the package, by name (`quick`, `bccd`, ...)."""
    root = Path(str(resources.files("smoothiou").joinpath("recipes")))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.toml"))}


def read_recipe(name_or_path: str) -> dict[str, Any]:
    """Return a recipe's settings as flat dotted keys.

    Args:
        name_or_path: name of a shipped recipe, or path of a TOML file with the sections of `RunConfig`.

    Raises:
        ConfigError: no such recipe, not TOML, or an unknown key (with a suggestion).
    """
    shipped = recipes()
    path = shipped.get(name_or_path, Path(name_or_path))
    try:
        text = read_bytes(path, most=MAX_RECIPE).decode("utf-8-sig")
        if (longest := max(map(len, text.splitlines()), default=0)) > MAX_LINE:
            raise ConfigError(f"{path}: a line has {longest:,} signs, and at most {MAX_LINE:,} are read.")
        content = tomllib.loads(text)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ConfigError(
            f"{name_or_path}: no such recipe and no such file.", hint=did_you_mean(name_or_path, shipped)
        ) from None
    except RecursionError:
        raise ConfigError(f"{path}: not readable as TOML: its brackets are nested too deeply.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: not readable as TOML: {reason}.") from None
    flat: dict[str, Any] = {}
    sections = [section for section, _ in _sections()]
    for section, values in content.items():
        if section not in sections or not isinstance(values, dict):
            raise ConfigError(f"{path}: [{section[:80]}] is no section.", hint=did_you_mean(section, sections))
        for key, value in values.items():
            if f"{section}.{key}" not in KEYS:
                raise ConfigError(
                    f"{path}: {section}.{key[:80]}: no such setting.", hint=did_you_mean(f"{section}.{key}", KEYS)
                )
            flat[f"{section}.{key}"] = value
    return flat


def build_config(recipe: str | None, flags: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run: flags that are not None over the recipe over the defaults."""
    settings = read_recipe(recipe) if recipe else {}
    return RunConfig().replace({**settings, **{key: value for key, value in flags.items() if value is not None}})
