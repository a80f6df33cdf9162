"""Code of one's own by name: losses and detectors as `package.module:object`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from smoothiou.errors import ConfigError, did_you_mean


def import_object(name: str) -> Callable[..., Any]:
    """Import the class or function of `package.module:object`.

    Raises:
        ConfigError: there is no such module or object, it cannot be imported, or it cannot be called.
    """
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
    except ImportError as error:
        raise ConfigError(f"{name}: {module_name} cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"{name}: the module {module_name} has no {attribute!r}.", hint=did_you_mean(attribute, public)
        )
    value = getattr(module, attribute)
    if not callable(value):
        raise ConfigError(f"{name} is {type(value).__name__}, expected a class or a function.")
    return value
