"""The losses by name, and how a loss of your own is found."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from torch import nn

from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.losses._base import BoxLoss
from smoothiou.losses.alpha_iou import AlphaIoU
from smoothiou.losses.balanced_l1 import BalancedL1
from smoothiou.losses.bounded_iou import BoundedIoU
from smoothiou.losses.catalogue import no_such_loss
from smoothiou.losses.ciou import CIoU
from smoothiou.losses.diou import DIoU
from smoothiou.losses.efficient_iou import EfficientIoU
from smoothiou.losses.extended_iou import ExtendedIoU
from smoothiou.losses.giou import GIoU
from smoothiou.losses.huber import Huber
from smoothiou.losses.iou import IoU
from smoothiou.losses.iou_log import IoULog
from smoothiou.losses.iou_squared import IoUSquared
from smoothiou.losses.l1 import L1
from smoothiou.losses.l1_giou import L1GIoU
from smoothiou.losses.l2 import L2
from smoothiou.losses.mix import Mix
from smoothiou.losses.powerful_iou import PowerfulIoU
from smoothiou.losses.siou import SIoU
from smoothiou.losses.smooth_iou import SmoothIoU
from smoothiou.losses.smooth_l1 import SmoothL1

LOSSES: Mapping[str, type[nn.Module]] = MappingProxyType(
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
        "l1-giou": L1GIoU,
        "mix": Mix,
        "smooth-iou": SmoothIoU,
    }
)
"""Every loss that has a name. To add one: one file, one line here, one card in `catalogue.py`."""


def load_loss(name: str, **options: Any) -> BoxLoss:
    """Return a box loss by name, or one of your own by where it stands.

    Args:
        name: a name of `LOSSES`, or `package.module:object`. A class is instantiated with the options; a
            function is taken as it is, with the options filled in.
        options: the loss's own options, for example `delta=0.5`.

    Returns:
        A callable loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,).

    Raises:
        ConfigError: there is no such loss, or it does not have these options.
    """
    found = _find(name)
    _check_options(name, found, options)
    if not inspect.isclass(found):
        return functools.partial(found, **options) if options else found
    loss = cast(BoxLoss, found(**options))
    if not callable(loss):
        raise ConfigError(f"{name}: its objects cannot be called.", hint="Give the class a __call__ method.")
    return loss


def _find(name: str) -> Any:
    if ":" in name:
        return _import(name)
    if name in LOSSES:
        return LOSSES[name]
    raise no_such_loss(name)


def _import(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{name!r} names no object.", hint="Write package.module:object.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The module of the loss is missing, or one that it imports: not the same mistake.
        if error.name and (module_name + ".").startswith(error.name + "."):
            hint = "Check the spelling, and put the folder that holds it on PYTHONPATH."
            raise ConfigError(f"{name}: there is no module {error.name!r}.", hint=hint) from error
        raise ConfigError(f"{name}: {module_name} imports {error.name!r}, which is not installed.") from error
    except ImportError as error:
        raise ConfigError(f"{name}: {module_name} cannot be imported: {error}") from error
    public = [word for word, value in vars(module).items() if callable(value) and not word.startswith("_")]
    if not hasattr(module, attribute):
        hint = did_you_mean(attribute, public)
        raise ConfigError(f"{name}: the module {module_name} has no {attribute!r}.", hint=hint)
    found = getattr(module, attribute)
    if not callable(found):
        raise ConfigError(f"{name} is {type(found).__name__}, expected a class or a function.")
    return found


def _check_options(name: str, found: Callable[..., Any], options: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(found).parameters.values())
    if inspect.isclass(found) and found.__init__ is nn.Module.__init__:
        parameters = []  # its **kwargs accept nothing
    elif not inspect.isclass(found):
        # A function's first two arguments are the deltas, and the detector fills in weights and anchors.
        parameters = [p for p in parameters[2:] if p.name not in ("weights", "anchors")]
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    accepted = [p.name for p in named]
    choices = f"Its options: {', '.join(accepted)}." if accepted else "It has no options."
    wrong = [option for option in options if option not in accepted]
    if wrong and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ConfigError(f"The loss {name} has no option {wrong[0]!r}.", hint=choices)
    missing = [p.name for p in named if p.default is p.empty and p.name not in options]
    if missing:
        raise ConfigError(f"The loss {name} needs the option {missing[0]!r}.", hint=choices)
