"""torchvision's detectors with another box loss, and unchanged otherwise.

`set_box_loss` puts a `StageLoss` into each stage of a host (`hosts`), whose training code then calls it with the
positives.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from smoothiou.boxes import DELTA_WEIGHTS
from smoothiou.detectors.hosts import HOSTS, Stage, check_stages, stages_of
from smoothiou.detectors.stage_loss import BoxLossStage, StageLoss
from smoothiou.detectors.targets import prepare_targets
from smoothiou.errors import ConfigError
from smoothiou.losses import BoxLoss, compile_loss, from_spec
from smoothiou.losses.compiled import CompiledLoss

Model = TypeVar("Model", bound=nn.Module)


def set_box_loss(
    model: Model,
    loss: str | BoxLoss | None,
    *,
    stages: Sequence[str] | None = None,
    weight: float = 1.0,
    compile: bool = False,
) -> Model:
    """Make one of torchvision's detectors train its boxes with another loss, in one line and in place.

    Parameters, state_dict keys and inference stay as they are. The box loss of the stages becomes `weight * sum over
    positives / n`, with torchvision's own n: the sampled boxes (Faster, Mask and Keypoint R-CNN), the positives (FCOS,
    SSD), or those of each image (RetinaNet). A later call replaces it. Targets of two-stage detectors may then hold
    "ignore" boxes (M, 4), xyxy in pixels of the image: a negative of which half or more lies on one is not sampled.

    Args:
        model: `fasterrcnn_*`, `maskrcnn_*`, `keypointrcnn_*`, `retinanet_*`, `fcos_*`, `ssd*`, or another model of
            their classes whose stages have torchvision's own training code.
        loss: a name (`"smooth-iou"`, `"huber[delta=0.5]"`, `"package.module:object"`), an `nn.Module` without
            trainable parameters, any callable `(pred_deltas, target_deltas, *, weights, anchors) -> (K,)`
            (elementwise (K, 4) is summed too), or None to restore torchvision's own stages. By name each stage gets
            its own loss; an object is shared, but for a `stateful` one, of which each stage gets a copy.
        stages: "rpn" (first stage), "roi" (second stage), or both; one-stage detectors have "head". None: all.
        weight: factor on the box loss in these stages, above 0.
        compile: whether `torch.compile` fuses the loss, at its first call.

    Returns:
        The same model.

    Raises:
        ConfigError: another kind of model, an unknown stage or loss, or a loss that needs what the host does not give.

    Reference:
        Smooth IoU, Algorithm 1; normalisers: `torchvision.models.detection`.
    """
    named = check_stages(model, stages)
    if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight > 0):
        raise ConfigError(f"weight: expected a finite number above 0, got {weight!r}.")
    modules: dict[str, Any] = {name: model.get_submodule(stage.path) for name, stage in named.items()}
    transform: Any = model.transform
    hooks = transform._forward_hooks
    if loss is None:
        for module in modules.values():
            if hasattr(module, "box_loss"):
                del module.box_loss
                module.__class__ = module.replaces
        if not box_losses(model):
            for key in [key for key, hook in hooks.items() if hook is prepare_targets]:
                del hooks[key]
            vars(model).pop("__prepare_scriptable__", None)
        return model
    # Built before anything is changed: a wrong loss leaves the model alone.
    losses = {name: _stage_loss(loss, weight=weight, compile=compile) for name in named}
    for name, stage in named.items():
        _check_needs(losses[name], stage, model)
    for name, module in modules.items():
        if len(named) > 1 and getattr(loss, "stateful", False):
            losses[name] = replace(losses[name], loss=copy.deepcopy(losses[name].loss))
        if isinstance(stage_loss := losses[name].loss, nn.Module):  # its buffers go where the stage is
            stage_loss.to(next(module.parameters()).device)
        # The instance stays the same, with its weights, hooks and device; only its training code changes.
        module.__class__ = named[name].trains
        module.box_loss = losses[name]
    if prepare_targets not in hooks.values():
        transform.register_forward_hook(prepare_targets)
    vars(model)["__prepare_scriptable__"] = functools.partial(_scriptable, model)  # torch.jit.script asks for it
    return model


def _scriptable(model: nn.Module) -> nn.Module:
    """Return the host as it was before `set_box_loss`, with the same parameters: TorchScript needs no box loss."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return set_box_loss(copy.deepcopy(model, tensors), None)


def box_losses(model: nn.Module) -> dict[str, StageLoss]:
    """Return the box losses that `set_box_loss` has set, by stage."""
    if not isinstance(model, tuple(HOSTS)):
        return {}
    modules: dict[str, Any] = {name: _module(model, stage.path) for name, stage in stages_of(model).items()}
    return {name: module.box_loss for name, module in modules.items() if isinstance(module, BoxLossStage)}


def _module(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:  # a head of one's own
        return None


def box_loss_state(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return what the box losses keep from step to step, by stage, for checkpoints.

    Not part of the model's state_dict, so that weights are exchanged freely between losses.

    Args:
        model: a detector after `set_box_loss`.
    """
    return {stage: loss.state() for stage, loss in box_losses(model).items()}


def load_box_loss_state(model: nn.Module, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Restore what `box_loss_state` has returned.

    Args:
        model: the detector, with the same box losses.
        state: by stage, as returned.
    """
    for stage, values in state.items():
        loss = box_losses(model)[stage].loss
        if isinstance(loss, nn.Module):
            loss.load_state_dict(values)


def try_loss(loss: BoxLoss, *, name: str) -> None:
    """Call a loss once with two boxes and once with none, so that a fault is met before a training.

    Raises:
        ConfigError: it fails, or is not one number per box.
    """
    stage_loss = StageLoss(loss=loss, name=name)
    for count in (2, 0):
        target, anchors = torch.zeros(count, 4), torch.tensor([[0.0, 0.0, 16.0, 16.0]]).repeat(count, 1)
        context = {"images": torch.ones(1, count, dtype=torch.bool), "image_sizes": torch.full((count, 2), 64.0)}
        try:
            stage_loss(target + 0.5, target, weights=DELTA_WEIGHTS, anchors=anchors, sampled=2, **context)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"box loss {name} fails on {count} boxes: {type(error).__name__}: {error}.",
                hint="It is called as loss(pred_deltas, target_deltas, weights=..., anchors=...) -> (K,), K from 0.",
            ) from error


def _stage_loss(loss: str | BoxLoss, *, weight: float, compile: bool) -> StageLoss:
    if isinstance(loss, str):
        name, loss = loss, from_spec(loss)
    else:
        name = getattr(loss, "__name__", type(loss).__name__)
    if not callable(loss):
        raise ConfigError(f"loss: expected a name or a callable, got {type(loss).__name__}.")
    if isinstance(loss, nn.Module) and any(p.requires_grad for p in loss.parameters()):
        raise ConfigError(
            f"loss {name} has trainable parameters, which the model's optimizer would never see.",
            hint="Freeze them with `loss.requires_grad_(False)`, or train them yourself and pass a function.",
        )
    if compile:
        loss = compile_loss(loss)
    return StageLoss(loss=loss, name=name, weight=weight)


def _check_needs(stage_loss: StageLoss, stage: Stage, model: nn.Module) -> None:
    """Refuse a loss that needs what the stage of this host does not give."""
    host, name, loss = type(model).__name__, stage_loss.name, stage_loss.loss
    if stage.trains.sees == "boxes":
        if isinstance(loss, CompiledLoss):
            raise ConfigError(f"compile: {host} calls a loss with boxes, which are not compiled.", hint="Leave it out.")
        if not callable(getattr(loss, "on_boxes", None)):
            raise ConfigError(
                f"{host} regresses distances to edges, not deltas; box loss {name} has no `on_boxes`.",
                hint="Give its class `on_boxes(pred, target)`, (K, 4) xyxy to (K,), or take a loss by name.",
            )
    for need in ("images", "image_sizes"):
        if getattr(loss, f"needs_{need}", False) and need not in stage.trains.gives:
            raise ConfigError(
                f"box loss {name} needs {need.replace('_', ' ')}, which the loss of {host} is not told.",
                hint="It works in Faster, Mask and Keypoint R-CNN and SSD.",
            )
