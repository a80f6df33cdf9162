"""The options of a loss, one's own too, and the error for a name that is not known."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from torch import nn

from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.losses.base import BoxLoss

FILLED_IN = ("weights", "anchors", "images", "image_sizes")
"""Arguments of a loss that the detector gives."""


def no_such_loss(name: str, known: Iterable[str], *, option: str = "") -> ConfigError:
    """Return the error for a name that is not known.

    Args:
        name: that was given.
        known: the names that there are.
        option: flag of the command line that it was given with, if any.
    """
    return ConfigError(
        f"{f'{option}: no' if option else 'No'} loss is called {name!r}.",
        hint=f"{did_you_mean(name.lower(), known)} A loss of your own is named package.module:object.",
    )


def with_options(name: str, loss: Callable[..., Any], options: Mapping[str, Any]) -> BoxLoss:
    """Instantiate a class with its options, or fill them in for a function.

    Raises:
        ConfigError: an option is unknown or missing, or instances of the class cannot be called.
    """
    parameters = signature_of(loss)
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    accepted = [p.name for p in named]
    choices = f"Its options: {', '.join(accepted)}." if accepted else "It has no options."
    unknown = [option for option in options if option not in accepted]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ConfigError(f"The loss {name} has no option {unknown[0]!r}.", hint=choices)
    missing = [p.name for p in named if p.default is p.empty and p.name not in options]
    if missing:
        raise ConfigError(f"The loss {name} needs the option {missing[0]!r}.", hint=choices)
    if not inspect.isclass(loss):
        if not inspect.isroutine(loss):  # each stage and each run has its own, with what it keeps from step to step
            loss = copy.deepcopy(loss)
        return functools.partial(loss, **options) if options else loss
    instance = cast(BoxLoss, loss(**options))
    if not callable(instance):
        raise ConfigError(f"{name}: its objects cannot be called.", hint="Give the class a __call__ method.")
    return instance


def signature_of(loss: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters of a loss that are options."""
    if inspect.isclass(loss) and loss.__init__ is nn.Module.__init__:
        return []  # its **kwargs accept nothing
    parameters = list(inspect.signature(loss).parameters.values())
    if inspect.isclass(loss):
        return parameters
    return [p for p in parameters[2:] if p.name not in FILLED_IN]  # the first two are the deltas
