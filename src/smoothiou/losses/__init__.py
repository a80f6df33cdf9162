"""Box losses: one loss, one file.

Each loss is a class for detectors, by name in `LOSSES`, and a function of boxes with torchvision's calling
convention, `giou_loss(boxes1, boxes2, reduction="none")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from smoothiou.import_object import import_object
from smoothiou.loss_spec import parse_loss
from smoothiou.losses.alpha_iou import AlphaIoU, alpha_iou_loss
from smoothiou.losses.balanced_l1 import BalancedL1, balanced_l1_loss
from smoothiou.losses.base import BoxLoss, LossInfo, RegisteredLoss
from smoothiou.losses.bounded_iou import BoundedIoU, bounded_iou_loss
from smoothiou.losses.ciou import CIoU, ciou_loss
from smoothiou.losses.compiled import compile_loss
from smoothiou.losses.diou import DIoU, diou_loss
from smoothiou.losses.efficient_iou import EfficientIoU, efficient_iou_loss
from smoothiou.losses.extended_iou import ExtendedIoU, extended_iou_loss
from smoothiou.losses.focaler_iou import FocalerIoU, focaler_iou_loss
from smoothiou.losses.giou import GIoU, giou_loss
from smoothiou.losses.huber import Huber, huber_loss
from smoothiou.losses.inner_iou import InnerIoU, inner_iou_loss
from smoothiou.losses.interp_iou import InterpIoU, interp_iou_loss
from smoothiou.losses.iou import IoU, iou_loss
from smoothiou.losses.iou_log import IoULog, iou_log_loss
from smoothiou.losses.iou_squared import IoUSquared, iou_squared_loss
from smoothiou.losses.l1 import L1, l1_loss
from smoothiou.losses.l1_giou import L1GIoU, l1_giou_loss
from smoothiou.losses.l2 import L2, l2_loss
from smoothiou.losses.load import no_such_loss, signature_of, with_options
from smoothiou.losses.mix import Mix, mix_loss
from smoothiou.losses.mpdiou import MPDIoU, mpdiou_loss
from smoothiou.losses.nwd import NWD, nwd_loss
from smoothiou.losses.powerful_iou import PowerfulIoU, powerful_iou_loss
from smoothiou.losses.shape_iou import ShapeIoU, shape_iou_loss
from smoothiou.losses.siou import SIoU, siou_loss
from smoothiou.losses.smooth_iou import SmoothIoU, smooth_iou_loss
from smoothiou.losses.smooth_l1 import SmoothL1, smooth_l1_loss
from smoothiou.losses.wise_iou import WiseIoU, wise_iou_loss

__all__ = [
    "LOSSES",
    "BoxLoss",
    "LossInfo",
    "compile_loss",
    "from_spec",
    "load_loss",
    "no_such_loss",
    "options_of",
    "SmoothIoU",
    "smooth_iou_loss",
    "huber_loss",
    "smooth_l1_loss",
    "l1_loss",
    "l2_loss",
    "balanced_l1_loss",
    "iou_loss",
    "iou_log_loss",
    "iou_squared_loss",
    "alpha_iou_loss",
    "bounded_iou_loss",
    "giou_loss",
    "diou_loss",
    "ciou_loss",
    "efficient_iou_loss",
    "extended_iou_loss",
    "siou_loss",
    "powerful_iou_loss",
    "wise_iou_loss",
    "shape_iou_loss",
    "mpdiou_loss",
    "interp_iou_loss",
    "inner_iou_loss",
    "focaler_iou_loss",
    "nwd_loss",
    "l1_giou_loss",
    "mix_loss",
]

LOSSES: Mapping[str, type[RegisteredLoss]] = MappingProxyType(
    {
        "huber": Huber,
        "smooth-l1": SmoothL1,
        "l1": L1,
        "l2": L2,
        "balanced-l1": BalancedL1,
        "iou": IoU,
        "iou-log": IoULog,
        "iou-squared": IoUSquared,
        "alpha-iou": AlphaIoU,
        "bounded-iou": BoundedIoU,
        "giou": GIoU,
        "diou": DIoU,
        "ciou": CIoU,
        "efficient-iou": EfficientIoU,
        "extended-iou": ExtendedIoU,
        "siou": SIoU,
        "powerful-iou": PowerfulIoU,
        "wise-iou": WiseIoU,
        "shape-iou": ShapeIoU,
        "mpdiou": MPDIoU,
        "interp-iou": InterpIoU,
        "inner-iou": InnerIoU,
        "focaler-iou": FocalerIoU,
        "nwd": NWD,
        "l1-giou": L1GIoU,
        "mix": Mix,
        "smooth-iou": SmoothIoU,
    }
)
"""Every loss by name. To add one: one file, and one line here."""


def load_loss(name: str, **options: Any) -> BoxLoss:
    """Make a box loss, by its name or by its module.

    Args:
        name: a name of `LOSSES`, or `package.module:object`. A class is instantiated with the options; a
            function is taken as it is, with the options filled in.
        options: the loss's own options, for example `delta=0.5`.

    Returns:
        A callable loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,).

    Raises:
        ConfigError: there is no such loss, or it does not have these options.
    """
    if ":" not in name and name not in LOSSES:
        raise no_such_loss(name, LOSSES)
    return with_options(name, LOSSES.get(name) or import_object(name), options)


def from_spec(loss: str | Any) -> Any:
    """Make a loss of a text such as `huber[delta=0.5]`; an object stays as it is.

    Args:
        loss: a specification as in `loss.name`, or the loss itself.

    Raises:
        ConfigError: the text is no loss specification, or there is no such loss or option.
    """
    if not isinstance(loss, str):
        return loss
    name, options = parse_loss(loss)
    return load_loss(name, **options)


def options_of(name: str) -> dict[str, object]:
    """Options of a loss of `LOSSES` with their defaults.

    Args:
        name: a key of `LOSSES`.
    """
    return {parameter.name: parameter.default for parameter in signature_of(LOSSES[name])}
