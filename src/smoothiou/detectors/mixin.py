"""Behaviour mixed into the class of one module of a detector: its parameters keep their names and values."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn


class Mixin(nn.Module):
    """Base of what `mix_in` adds to a module; `super()` is then the module's own class."""

    def __reduce__(self) -> Any:  # the mixed class has no name by which pickle would find it
        mixin, kind = type(self).__bases__
        return _without_state, (mixin, kind), self.__dict__


def mix_in(module: nn.Module, mixin: type[Mixin]) -> None:
    """Put the methods of a mixin before those of a module's class, in place; twice is once."""
    if not isinstance(module, mixin):
        module.__class__ = _mixed(mixin, type(module))


def unmix(module: nn.Module) -> None:
    """Give a module its own class back, if something is mixed into it."""
    if isinstance(module, Mixin):
        _, module.__class__ = type(module).__bases__


@functools.cache
def _mixed(mixin: type[Mixin], kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"{mixin.__name__}{kind.__name__}", (mixin, kind), {})


def _without_state(mixin: type[Mixin], kind: type[nn.Module]) -> nn.Module:
    mixed = _mixed(mixin, kind)
    return mixed.__new__(mixed)
