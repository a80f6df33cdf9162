"""Weights from a checkpoint or from torchvision's downloads; a misfit is named and nothing is half-loaded."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.ops import FrozenBatchNorm2d

from smoothiou.errors import CheckpointError
from smoothiou.files import refuse_bomb

HEAD = "roi_heads.box_predictor."


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict of a file: of our checkpoints (under "model") or a bare one.

    Raises:
        CheckpointError: no such file, cut off, or no state dict.
    """
    try:
        refuse_bomb(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise CheckpointError(f"{path}: no such checkpoint file.") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: cut off, or more than tensors and plain containers ({_first_line(error)}).",
            hint="Save `model.state_dict()`, or take another copy of the file.",
        ) from None
    except Exception as error:  # pickles and zip files of strangers make their readers raise anything
        raise CheckpointError(
            f"{path}: cut off, or no PyTorch checkpoint ({_first_line(error)}).",
            hint="Take another copy of the file; last.ckpt and best.ckpt lie beside each other.",
        ) from None
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: expected a dict with a state dict under 'model', or a bare state dict.")
    return dict(state)


def has_frozen_norms(state: Mapping[str, Tensor]) -> bool:
    """Tell whether no batch norm behind a state dict counts batches: they were frozen, or there is none."""
    return not any(key.endswith("num_batches_tracked") for key in state)


def load_checkpoint(model: nn.Module, state: Mapping[str, Tensor], *, source: str | Path) -> None:
    """Load a complete state dict, or nothing.

    Args:
        model: the detector.
        state: its state dict.
        source: how the error message calls it.

    Raises:
        CheckpointError: missing, unexpected or misshapen entries, each kind with its first names.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = [f"{what} {_some(keys)}" for what, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    if misshapen:
        shapes = [f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}" for key in misshapen]
        problems.append(f"of another shape {_some(shapes)}")
    if problems:
        hint = "Choose the detector that the checkpoint was made by; config.toml beside it names it."
        if not missing and not unexpected and all(key.startswith(HEAD) for key in misshapen):
            there, here = (int(s[f"{HEAD}cls_score.bias"].shape[0]) - 1 for s in (state, own))
            hint = f"It was trained on {there} classes, and {here} are asked for."
        raise CheckpointError(f"{source} holds another model: {'; '.join(problems)}.", hint=hint)
    model.load_state_dict(dict(state))


def load_imagenet(model: nn.Module, weights: WeightsEnum, *, names: Mapping[str, str] | None = None) -> str:
    """Load ImageNet weights into the backbone and return a note of what stays random.

    Args:
        model: the detector.
        weights: torchvision's.
        names: of the model's layers, the names that the weights have for them; None for those of a backbone's body.

    Raises:
        CheckpointError: neither cached nor downloadable.
    """
    if names is not None:
        state = fetch(weights)
        own = {f"{ours}.{kind}": state[f"{name}.{kind}"] for ours, name in names.items() for kind in ("weight", "bias")}
        model.load_state_dict(model.state_dict() | own)
        return f"{weights}: backbone and the hidden layers of the second stage loaded; RPN and last layers are random."
    body: Any = model.get_submodule("backbone.body")
    own = body.state_dict()
    # MobileNet's classifier keeps its convolutions under "features", of which the body is made.
    state = {key.removeprefix("features."): value for key, value in fetch(weights).items()}
    body.load_state_dict({key: state[key] for key in own})
    return f"{weights}: backbone loaded; pyramid, RPN and second stage are random."


def load_coco(model: nn.Module, weights: WeightsEnum, *, zero_eps: bool) -> str:
    """Load COCO weights, without the last layer where the number of classes differs, and return a note.

    Args:
        model: the detector.
        weights: torchvision's.
        zero_eps: whether these weights were trained with batch norms without epsilon.

    Raises:
        CheckpointError: neither cached nor downloadable.
    """
    state = dict(fetch(weights))
    classes = int(state[f"{HEAD}cls_score.bias"].shape[0])
    wanted = int(model.state_dict()[f"{HEAD}cls_score.bias"].shape[0])
    note = f"{weights}: loaded."
    if classes != wanted:
        state |= {key: value for key, value in model.state_dict().items() if key.startswith(HEAD)}
        note = (
            f"{weights}: loaded, but for the last layer of the second stage, which is random: "
            f"{wanted - 1} classes here, {classes - 1} there."
        )
    model.load_state_dict(state)
    if zero_eps:
        absorb_zero_eps(model)
    return note


def absorb_zero_eps(model: nn.Module) -> None:
    """Subtract epsilon from the variances of frozen norms whose weights were trained without it.

    torchvision sets epsilon to 0 in place, which a state dict does not hold; so the model would change
    slightly whenever its checkpoint is loaded again.
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
                f"{weights}: {file} is cut off or damaged ({_first_line(error)}).",
                hint="Delete it; it is then downloaded again.",
            ) from None
        raise CheckpointError(
            f"{weights}: not in {file}, and not to be had from {weights.url} ({_first_line(error)}).",
            hint='Put the file there from a machine with network, or choose weights "none".',
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "strerror", None) or error).strip().splitlines() or [type(error).__name__])[0]


def _some(names: list[str]) -> str:
    more = f" (+{len(names) - 3} more)" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
