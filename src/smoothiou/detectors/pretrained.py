"""Weights from a checkpoint or from torchvision's downloads; a misfit is named and nothing is half-loaded."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_weight
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
from torchvision.ops import FrozenBatchNorm2d

from smoothiou.detectors.weights_file import weights_file
from smoothiou.errors import CheckpointError
from smoothiou.files import file_digest, first_line, printable, refuse_bomb

LAST_LAYERS = re.compile(r"roi_heads\.(stages\.\d+\.)?box_predictor\.")
"""Begin of the names of the layers that know the classes, of each second stage."""
SCORES = "cls_score.bias"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A state dict and what its file says about it.

    Args:
        state: tensors by name.
        classes: names of the classes, without the background; None where the file does not say.
        source: names the weights in messages.
        zero_eps: whether batch norms were trained without epsilon (see `absorb_zero_eps`).
    """

    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    source: str = ""
    zero_eps: bool = False


def read_weights(path: str | Path, *, coco: WeightsEnum | None = None) -> Weights:
    """Return the weights of a run folder or a file: our checkpoints, torchvision's, or any state dict.

    Args:
        path: of the folder or file.
        coco: torchvision's weights on COCO, of which the file may be a copy; it does not name its classes itself.

    Raises:
        CheckpointError: no such file, cut off, or no state dict.
    """
    content = _read(weights_file(path))
    state = content
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), Mapping):
            state = content[key]
            break
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: expected a dict with a state dict under 'model', or a bare state dict.")
    if coco is not None and Path(coco.url).stem.rpartition("-")[2] == file_digest(weights_file(path))[:8]:
        return dataclasses.replace(_coco(coco, state), source=str(path))
    names: Any = content.get("classes")
    known = isinstance(names, (list, tuple)) and all(isinstance(name, str) and printable(name) for name in names)
    classes = tuple(names) if known else ()
    named = classes and class_count(state) == len(classes)
    return Weights(state=dict(state), classes=classes if named else None, source=str(path))


def class_count(state: Mapping[str, Tensor]) -> int:
    """Return how many classes, without the background, a state dict tells apart; 0 where it has no last layers."""
    scores = (value for key, value in state.items() if LAST_LAYERS.match(key) and key.endswith(SCORES))
    return len(next(scores, (0,))) - 1


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict alone of `read_weights`."""
    return dict(read_weights(path).state)


def _read(path: Path) -> Any:
    try:
        refuse_bomb(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        hint = "A run folder holds one; of a study, each of its cells is a run." if path.name == "last.ckpt" else ""
        raise CheckpointError(f"{path}: no such checkpoint file.", hint=hint) from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: cut off, or more than tensors and plain containers ({first_line(error)}).",
            hint="Save `model.state_dict()`, or take another copy of the file.",
        ) from None
    except Exception as error:  # pickles and zip files of strangers make their readers raise anything
        raise CheckpointError(
            f"{path}: cut off, or no PyTorch checkpoint ({first_line(error)}).",
            hint="Take another copy of the file; last.ckpt and best.ckpt lie beside each other.",
        ) from None


def has_frozen_norms(state: Mapping[str, Tensor]) -> bool:
    """Return whether no batch norm of a state dict counts batches: they were frozen, or there is none."""
    return not any(key.endswith("num_batches_tracked") for key in state)


def load_checkpoint(model: nn.Module, state: Mapping[str, Tensor], *, source: str | Path) -> None:
    """Load a complete state dict, or nothing; `source` names it in error messages.

    Raises:
        CheckpointError: missing, unexpected or misshapen entries, each kind with its first names.
    """
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    shapes = [f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}" for key in misshapen]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    problems = [f"{kind} {first_names(names)}" for kind, names in kinds.items() if names]
    if problems:
        hint = "Choose the detector that the checkpoint was made by; config.toml beside it names it."
        if not missing and not unexpected and all(LAST_LAYERS.match(key) for key in misshapen):
            hint = f"It was trained on {class_count(state)} classes, and {class_count(expected)} are asked for."
        raise CheckpointError(f"{source} holds another model: {'; '.join(problems)}.", hint=hint)
    model.load_state_dict(dict(state))


def load_imagenet(model: nn.Module, name: str) -> str:
    """Load torchvision's ImageNet weights into the backbone and return a note of what stays random.

    A backbone with an attribute `imagenet_names` (names of the weights by names of the detector's layers) is filled by
    these names, else its `body`, which has torchvision's own.

    Raises:
        CheckpointError: neither cached nor downloadable.
    """
    parts: Any = model
    if hasattr(parts.backbone, "load_imagenet"):
        return parts.backbone.load_imagenet()
    weights = get_weight(name)
    state = fetch(weights)
    if names := getattr(parts.backbone, "imagenet_names", None):
        kinds = ("weight", "bias")
        loaded = {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for ours, theirs in names.items() for kind in kinds}
        model.load_state_dict(model.state_dict() | loaded)
        return f"{weights}: backbone and the hidden layers of the second stage loaded; RPN and last layers are random."
    body = parts.backbone.body
    # MobileNet's classifier keeps its convolutions under "features", of which the body is made.
    state = {key.removeprefix("features."): value for key, value in state.items()}
    body.load_state_dict({key: state[key] for key in body.state_dict()})
    return f"{weights}: backbone loaded; pyramid, RPN and second stage are random."


def load_coco(model: nn.Module, weights: WeightsEnum) -> str:
    """Load torchvision's COCO weights and return a note.

    Where the number of classes differs, the last layers stay random.

    Raises:
        CheckpointError: neither cached nor downloadable, or the detector has several second stages.
    """
    state, random = dict(fetch(weights)), model.state_dict()
    if any(key.startswith("roi_heads.stages.") for key in random):
        hint = "Name the classes (`classes=`): what fits is then taken over."
        raise CheckpointError(f"{weights}: one second stage, and the detector has several.", hint=hint)
    given, expected = class_count(state), class_count(random)
    note = f"{weights}: loaded."
    if given != expected:
        state |= {key: value for key, value in random.items() if LAST_LAYERS.match(key)}
        note = f"{weights}: loaded, but for the last layers, which are random: {expected} classes, not {given}."
    model.load_state_dict(state)
    if _has_zero_eps(weights):
        absorb_zero_eps(model)
    return note


def coco_weights(weights: WeightsEnum) -> Weights:
    """Return torchvision's COCO weights with the names of their classes.

    Raises:
        CheckpointError: neither cached nor downloadable.
    """
    return _coco(weights, fetch(weights))


def _coco(weights: WeightsEnum, state: Mapping[str, Tensor]) -> Weights:
    _, *classes = weights.meta["categories"]
    return Weights(state=state, classes=tuple(classes), source=str(weights), zero_eps=_has_zero_eps(weights))


def _has_zero_eps(weights: WeightsEnum) -> bool:
    return weights == FasterRCNN_ResNet50_FPN_Weights.COCO_V1  # the one trained with batch norms without epsilon


def absorb_zero_eps(model: nn.Module) -> None:
    """Subtract epsilon from the variances of frozen norms whose weights were trained without it.

    torchvision sets epsilon to 0 in place, which a state dict does not hold: the model would change slightly whenever
    its checkpoint is loaded again.
    """
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            variance: Any = module.running_var
            variance.sub_(module.eps)


def fetch(weights: WeightsEnum) -> Mapping[str, Tensor]:
    """Return torchvision's weights from its cache, or download them.

    Raises:
        CheckpointError: no network, or a damaged file, with the path where the file belongs.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", os.path.basename(weights.url))
    cached = file.exists()
    try:
        return weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        if cached:
            raise CheckpointError(
                f"{weights}: {file} is cut off or damaged ({first_line(error)}).",
                hint="Delete it; it is then downloaded again.",
            ) from None
        raise CheckpointError(
            f"{weights}: not in {file}, and {weights.url} cannot be reached ({first_line(error)}).",
            hint='Put the file there from a machine with network, or choose weights "none".',
        ) from None


def first_names(names: list[str], *, most: int = 3) -> str:
    """Return the first names of a list, and how many more there are."""
    more = f" (+{len(names) - most} more)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
