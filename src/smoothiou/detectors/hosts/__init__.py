"""Which models a box loss can be put into, and where: torchvision's detectors with their own training code.

A new host is one file with the class that replaces torchvision's, and one entry in `HOSTS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD

from smoothiou.detectors.hosts.cascade import BoxLossCascadeStage, CascadeRoIHeads
from smoothiou.detectors.hosts.fcos import BoxLossFCOSHead
from smoothiou.detectors.hosts.retinanet import BoxLossRetinaNetHead
from smoothiou.detectors.hosts.roi_heads import BoxLossRoIHeads
from smoothiou.detectors.hosts.rpn import BoxLossRPN
from smoothiou.detectors.hosts.ssd import BoxLossSSD
from smoothiou.detectors.stage_loss import BoxLossStage
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.loss_spec import cascade_stage


class Stage(NamedTuple):
    """A box regression of a host."""

    path: str
    """Of the module, from the model; "" is the model itself."""
    trains: type[BoxLossStage]
    """The class that the module gets."""


HOSTS: Mapping[type[nn.Module], Mapping[str, Stage]] = {
    GeneralizedRCNN: {"rpn": Stage("rpn", BoxLossRPN), "roi": Stage("roi_heads", BoxLossRoIHeads)},
    RetinaNet: {"head": Stage("head.regression_head", BoxLossRetinaNetHead)},
    FCOS: {"head": Stage("head", BoxLossFCOSHead)},
    SSD: {"head": Stage("", BoxLossSSD)},
}
"""The stages of each kind of host, by name."""


def stages_of(model: nn.Module) -> Mapping[str, Stage]:
    """Return the stages of a model, by name.

    Raises:
        ConfigError: another kind of model.
    """
    heads = getattr(model, "roi_heads", None)
    if isinstance(heads, CascadeRoIHeads):
        in_a_row = {
            cascade_stage(number): Stage(f"roi_heads.stages.{number}", BoxLossCascadeStage)
            for number in range(len(heads.stages))
        }
        return {"rpn": HOSTS[GeneralizedRCNN]["rpn"], **in_a_row}
    for kind, stages in HOSTS.items():
        if isinstance(model, kind):
            return stages
    inside, way = model, "model"
    while wrapper := next(
        (name for name in ("module", "_orig_mod") if isinstance(getattr(inside, name, None), nn.Module)), ""
    ):
        inside, way = getattr(inside, wrapper), f"{way}.{wrapper}"  # of DataParallel and DDP, of torch.compile
    raise ConfigError(
        f"expected one of torchvision's detectors, got {type(model).__name__}.",
        hint=f"Set the loss before the model is wrapped: give `{way}`."
        if isinstance(inside, tuple(HOSTS))
        else "There are fasterrcnn_*, maskrcnn_*, keypointrcnn_*, retinanet_*, fcos_*, ssd*, and `build_detector`.",
    )


def check_stages(model: nn.Module, stages: Sequence[str] | None) -> dict[str, Stage]:
    """Return the named stages of a model (None: all), each checked to have torchvision's own training code.

    Raises:
        ConfigError: another kind of model, an unknown stage, none at all, or training code that is not torchvision's.
    """
    known = stages_of(model)
    named = known if stages is None else (stages,) if isinstance(stages, str) else stages
    if not named:
        raise ConfigError(f"stages: expected {' or '.join(known)}, got none.")
    for name in named:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(f"stages: {name!r} is no stage of {type(model).__name__}.", hint=hint)
    for name in named:
        _check_training_code(model, known[name])
    return {name: known[name] for name in named}


def _check_training_code(model: nn.Module, stage: Stage) -> None:
    path, original = stage.path, stage.trains.replaces
    try:
        kind = type(model.get_submodule(path))
    except AttributeError:  # a head of one's own, without such a part
        kind = type(None)
    if vars(kind).get("replaces", kind) is not original:
        raise ConfigError(
            f"{f'model.{path}' if path else 'model'}: expected torchvision's {original.__name__}, got {kind.__name__}, "
            "whose training code is not known.",
            hint="Choose the other stage with `stages=`, or call the loss in that class yourself.",
        )
