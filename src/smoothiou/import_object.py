"""Code of one's own by name: losses, detectors and data sets as `package.module:object`.

An object that has no such name, as one of a notebook, gets one that holds in this process alone.
"""

from __future__ import annotations

import importlib
import inspect
import re
import secrets
import sys
import traceback
from collections.abc import Callable
from typing import Any

from smoothiou.errors import ConfigError, did_you_mean

IN_PROCESS = "in-process:"
"""Begins the name of an object that no other process can import; no module is called so."""

_objects: dict[str, Callable[..., Any]] = {}
_modules: set[str] = set()
"""Names of the modules that were imported for an object in them."""


def name_of(value: str | Callable[..., Any]) -> str:
    """Return the name by which settings refer to an object; a text is taken for a name.

    Args:
        value: a class, a function, or any other callable.

    Returns:
        `package.module:object` where that is the object. Else a name for this process alone, the same one for the same
        object and never that of another: a run under it cannot be taken for that of other code.

    Raises:
        ConfigError: it cannot be called.
    """
    if isinstance(value, str):
        return value
    if not callable(value):
        raise ConfigError(f"Expected a name or something to call, got {type(value).__name__}.")
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    if module != "__main__" and name and getattr(sys.modules.get(module), name, None) is value:
        return f"{module}:{name}"
    for known, other in _objects.items():
        if other is value:
            return known
    word = re.sub(r"\W+", "-", name.rpartition(".")[2] or type(value).__name__).strip("-") or "object"
    known = f"{IN_PROCESS}{word}-{secrets.token_hex(4)}"
    _objects[known] = value
    return known


def is_registered(name: str) -> bool:
    """Return whether `name_of` has named an object of this process so."""
    return name in _objects


def sources_of(*settings: str) -> dict[str, str]:
    """Return the source text, or else the `repr`, of each object of this process that settings name."""
    named = [name for name in _objects if any(name in setting for setting in settings)]
    return {name: _source(_objects[name]) for name in named}


def _source(value: Any) -> str:
    try:
        return inspect.getsource(value if inspect.isclass(value) or inspect.isroutine(value) else type(value))
    except (OSError, TypeError):  # typed into an interpreter
        return repr(value)


def user_module(error: BaseException) -> str:
    """Return the innermost module of one's own that an error came through, or ""."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    outside = [name for name in frames if name in _modules and name.partition(".")[0] != "smoothiou"]
    return outside[-1] if outside else ""


def import_object(name: str) -> Callable[..., Any]:
    """Import the class or function of `package.module:object`, or return that which `name_of` has named.

    Raises:
        ConfigError: there is no such module or object, it cannot be imported, or it cannot be called; or it was an
            object of another process.
    """
    if name.startswith(IN_PROCESS):
        if name not in _objects:
            raise ConfigError(
                f"{name} was an object of the Python process that used it, and cannot be had elsewhere.",
                hint="Define it in a module, and name it package.module:object.",
            )
        return _objects[name]
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{name!r} names no object.", hint="Write package.module:object.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The module itself is missing, or one that it imports: not the same mistake.
        if error.name and (module_name + ".").startswith(error.name + "."):
            hint = "Check the spelling, and put its folder on PYTHONPATH."
            raise ConfigError(f"{name}: there is no module {error.name!r}.", hint=hint) from error
        raise ConfigError(f"{name}: {module_name} imports {error.name!r}, which is not installed.") from error
    except (Exception, SystemExit) as error:  # code of anyone
        reason = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"{name}: {module_name} cannot be imported: {reason}.") from error
    _modules.add(module_name)
    if not hasattr(module, attribute):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"{name}: the module {module_name} has no {attribute!r}.", hint=did_you_mean(attribute, public)
        )
    value = getattr(module, attribute)
    if not callable(value):
        raise ConfigError(f"{name} is {type(value).__name__}, expected a class or a function.")
    return value
