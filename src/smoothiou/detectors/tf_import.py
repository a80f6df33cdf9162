"""Weights of TensorFlow's `faster_rcnn_inception_v2` into the detector inception-v2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smoothiou.detectors.inception_v2 import InceptionV2Features
from smoothiou.detectors.pretrained import first_names
from smoothiou.detectors.tf_checkpoint import TYPES, TensorFlowCheckpoint, open_tf_checkpoint
from smoothiou.errors import CheckpointError, ConfigError

Shape = tuple[int, ...]

FIRST_STAGE = "FirstStageFeatureExtractor/InceptionV2"
SECOND_STAGE = "SecondStageFeatureExtractor/InceptionV2"
LAST_LAYERS = "SecondStageBoxPredictor/"
CLASSES = f"{LAST_LAYERS}ClassPredictor/biases"
PARTS = (FIRST_STAGE, SECOND_STAGE, "Conv", "FirstStageBoxPredictor", LAST_LAYERS.rstrip("/"))


@dataclass(frozen=True)
class Layout:
    """How TensorFlow orders the numbers of a layer.

    Args:
        shape: from our shape to TensorFlow's.
        convert: from TensorFlow's numbers to ours.
    """

    shape: Callable[[Shape], Shape]
    convert: Callable[[Tensor], Tensor]


def _swap_axes(weight: Tensor) -> Tensor:
    """Return rows for (tx, ty, tw, th) from rows for TensorFlow's (ty, tx, th, tw)."""
    return weight.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)


def _add_background(weight: Tensor) -> Tensor:
    """Return rows with four of zeros in front, torchvision's unused deltas of the background."""
    return torch.cat((weight.new_zeros(4, *weight.shape[1:]), weight))


# A convolution is (height, width, in, out) in TensorFlow and (out, in, height, width) in torch; of the depthwise one,
# (height, width, in, multiplier), output in * multiplier + m is filter m.
VECTOR = Layout(lambda s: s, lambda t: t)
CONV = Layout(lambda s: (s[2], s[3], s[1], s[0]), lambda t: t.permute(3, 2, 0, 1))
DEPTHWISE = Layout(lambda s: (s[2], s[3], 3, s[0] // 3), lambda t: t.permute(2, 3, 0, 1).flatten(0, 1)[:, None])
LINEAR = Layout(lambda s: (s[1], s[0]), lambda t: t.T)
CONV_DELTAS = Layout(CONV.shape, lambda t: _swap_axes(CONV.convert(t)))
VECTOR_DELTAS = Layout(VECTOR.shape, _swap_axes)
LINEAR_CLASS_DELTAS = Layout(lambda s: (s[1], s[0] - 4), lambda t: _add_background(_swap_axes(t.T)))
VECTOR_CLASS_DELTAS = Layout(lambda s: (s[0] - 4,), lambda t: _add_background(_swap_axes(t)))

LAYERS = {
    "conv.weight": ("weights", CONV),
    "depthwise.weight": ("depthwise_weights", DEPTHWISE),
    "pointwise.weight": ("pointwise_weights", CONV),
    "norm.weight": ("BatchNorm/gamma", VECTOR),
    "norm.bias": ("BatchNorm/beta", VECTOR),
    "norm.running_mean": ("BatchNorm/moving_mean", VECTOR),
    "norm.running_var": ("BatchNorm/moving_variance", VECTOR),
}
HEADS = {
    "rpn.head.conv.weight": ("Conv/weights", CONV),
    "rpn.head.conv.bias": ("Conv/biases", VECTOR),
    "rpn.head.cls_logits.weight": ("FirstStageBoxPredictor/ClassPredictor/weights", CONV),
    "rpn.head.cls_logits.bias": ("FirstStageBoxPredictor/ClassPredictor/biases", VECTOR),
    "rpn.head.bbox_pred.weight": ("FirstStageBoxPredictor/BoxEncodingPredictor/weights", CONV_DELTAS),
    "rpn.head.bbox_pred.bias": ("FirstStageBoxPredictor/BoxEncodingPredictor/biases", VECTOR_DELTAS),
    "roi_heads.box_predictor.cls_score.weight": (f"{LAST_LAYERS}ClassPredictor/weights", LINEAR),
    "roi_heads.box_predictor.cls_score.bias": (CLASSES, VECTOR),
    "roi_heads.box_predictor.bbox_pred.weight": (f"{LAST_LAYERS}BoxEncodingPredictor/weights", LINEAR_CLASS_DELTAS),
    "roi_heads.box_predictor.bbox_pred.bias": (f"{LAST_LAYERS}BoxEncodingPredictor/biases", VECTOR_CLASS_DELTAS),
}


@dataclass(frozen=True)
class Entry:
    """A tensor of the detector and the variable it is loaded from.

    Args:
        key: in the detector's state dict.
        variable: TensorFlow's name.
        shape: TensorFlow's.
        convert: from TensorFlow's numbers to the detector's.
    """

    key: str
    variable: str
    shape: Shape
    convert: Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Which variables of a checkpoint were loaded, and which were not.

    Args:
        source: path of the checkpoint, without ending.
        loaded: names, sorted.
        skipped: name -> why.
    """

    source: Path
    loaded: tuple[str, ...]
    skipped: Mapping[str, str]

    @property
    def note(self) -> str:
        """Return a list for people: how many were loaded into each part of the network, and why others were not."""
        parts = Counter(next((part for part in PARTS if name.startswith(f"{part}/")), name) for name in self.loaded)
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        return "\n".join(
            [
                f"{self.source}: {len(self.loaded)} of {len(self.loaded) + len(self.skipped)} variables loaded",
                *(f"      loaded   {count:3} of {part}" for part, count in parts.items()),
                *(f"      skipped  {first_names(names, most=6)}: {reason}" for reason, names in reasons.items()),
            ]
        )


def load_tf_checkpoint(model: nn.Module, path: str | Path) -> Imported:
    """Load a TensorFlow checkpoint of `faster_rcnn_inception_v2` into the detector, all of it or nothing.

    The last layers of the second stage stay random where the checkpoint was trained on another number of classes. Every
    other variable of the detector must be present, finite, and of the right shape and checksum.

    Args:
        model: from `build_inception_v2`.
        path: as in `open_tf_checkpoint`.

    Raises:
        ConfigError: another kind of model.
        CheckpointError: no such file, cut off, damaged, or variables that are missing or have another shape.
    """
    parts: Any = model
    if not isinstance(getattr(parts, "backbone", None), InceptionV2Features):
        raise ConfigError(
            f"expected the detector inception-v2, got {type(model).__name__} with another backbone.",
            hint="TensorFlow's checkpoints fit that detector only.",
        )
    checkpoint = open_tf_checkpoint(path)
    entries = list(map_detector(model))
    known = {entry.variable for entry in entries}
    if other_classes := _other_classes(checkpoint, entries):
        entries = [entry for entry in entries if not entry.variable.startswith(LAST_LAYERS)]
    model.load_state_dict(read_variables(checkpoint, entries), strict=False)
    loaded = {entry.variable for entry in entries}
    skipped = {
        name: other_classes if name in known else _why_skipped(name, known)
        for name in checkpoint.variables
        if name not in loaded
    }
    return Imported(source=checkpoint.index.with_suffix(""), loaded=tuple(sorted(loaded)), skipped=skipped)


def map_detector(model: nn.Module) -> Iterator[Entry]:
    """Return the entries of the whole detector; of a checkpoint's variables only `global_step` has none."""
    parts: Any = model
    yield from map_stage(parts.backbone, scope=FIRST_STAGE, prefix="backbone.")
    yield from map_stage(parts.roi_heads.box_head, scope=SECOND_STAGE, prefix="roi_heads.box_head.")
    state = model.state_dict()
    for key, (variable, layout) in HEADS.items():
        yield Entry(key, variable, layout.shape(tuple(state[key].shape)), layout.convert)


def map_stage(module: nn.Module, *, scope: str, prefix: str = "") -> Iterator[Entry]:
    """Return the entries of one stage of Inception V2.

    Args:
        module: `InceptionV2Features`, `InceptionV2Head`, or a part of them.
        scope: TensorFlow's name of it.
        prefix: of the keys of the state dict.
    """
    for key, value in module.state_dict().items():
        *path, layer, kind = key.split(".")
        if kind == "num_batches_tracked":
            continue
        name, layout = LAYERS[f"{layer}.{kind}"]
        yield Entry(f"{prefix}{key}", "/".join((scope, *path, name)), layout.shape(tuple(value.shape)), layout.convert)


def read_variables(checkpoint: TensorFlowCheckpoint, entries: list[Entry]) -> dict[str, Tensor]:
    """Return the state dict of these entries.

    Raises:
        CheckpointError: variables that are missing, of another shape or type, damaged or not finite.
    """
    missing, misfits = [], []
    for entry in entries:
        variable = checkpoint.variables.get(entry.variable)
        if variable is None:
            missing.append(entry.variable)
        elif variable.shape != entry.shape:
            misfits.append(f"{entry.variable} {list(variable.shape)} instead of {list(entry.shape)}")
        elif variable.dtype in TYPES and TYPES[variable.dtype].kind != "f":
            misfits.append(f"{entry.variable} {TYPES[variable.dtype].name} instead of float32")
    kinds = {"missing": missing, "of another shape or type": misfits}
    if problems := [f"{kind} {first_names(names)}" for kind, names in kinds.items() if names]:
        raise CheckpointError(
            f"{checkpoint.index} holds another model: {'; '.join(problems)}.",
            hint="Expected a checkpoint of faster_rcnn_inception_v2, as faster_rcnn_inception_v2_coco_2018_01_28.",
        )
    state = {}
    for entry in entries:
        value = checkpoint.read(entry.variable)
        if not value.isfinite().all():
            raise CheckpointError(f"{checkpoint.index}: {entry.variable} holds numbers that are not finite.")
        state[entry.key] = entry.convert(value).contiguous()
    return state


def _other_classes(checkpoint: TensorFlowCheckpoint, entries: list[Entry]) -> str:
    """Return why the last layers cannot be used, where all of them are those of another number of classes."""
    last = {entry.variable: entry.shape for entry in entries if entry.variable.startswith(LAST_LAYERS)}
    if not all(name in checkpoint.variables for name in last) or len(checkpoint.variables[CLASSES].shape) != 1:
        return ""
    classes, given = last[CLASSES][0] - 1, checkpoint.variables[CLASSES].shape[0] - 1
    expected = {
        name: (*shape[:-1], given + 1 if "ClassPredictor" in name else 4 * given) for name, shape in last.items()
    }
    if given == classes or any(checkpoint.variables[name].shape != shape for name, shape in expected.items()):
        return ""
    return f"{given} classes in the checkpoint, {classes} in the detector: these layers stay random"


def _why_skipped(name: str, known: set[str]) -> str:
    if name == "global_step":
        return "a count of steps and no weight"
    variable, _, slot = name.rpartition("/")
    if variable in known:
        return "a moving average" if slot == "ExponentialMovingAverage" else "the state of an optimizer"
    return "this detector has no such layer"
