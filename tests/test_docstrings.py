"""Every public name says what it gives, of what, and how it fails."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

MODULES = (
    "smoothiou", "smoothiou.losses", "smoothiou.boxes", "smoothiou.detectors", "smoothiou.data", "smoothiou.metrics",
)  # fmt: skip


def public() -> Iterator[tuple[str, Any]]:
    """Yield each public class and function, and what a class defines without an underscore, once."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for word in module.__all__:
            value = getattr(module, word)
            if inspect.isclass(value) or inspect.isfunction(value):
                found.setdefault(value, f"{name}.{word}")
    for value, name in found.items():
        yield name, value
        for key, member in vars(value).items() if inspect.isclass(value) else ():
            function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            function = getattr(function, "func", function)  # a cached property
            if inspect.isfunction(function) and not key.startswith("_"):
                yield f"{name}.{key}", function


NAMES = dict(public())
FUNCTIONS = {name: value for name, value in NAMES.items() if inspect.isfunction(value)}


def section(text: str, title: str) -> str:
    """Return what stands under a title of a docstring, or nothing."""
    match = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", inspect.cleandoc(text) + "\n", re.M)
    return match[1] if match else ""


def raises(function: Callable[..., Any]) -> bool:
    """Return whether the function's own lines raise an error."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def test_there_are_names_to_look_at():
    assert {"smoothiou.train", "smoothiou.Run.predict", "smoothiou.Study.summary", "smoothiou.losses.ciou_loss"} <= {
        *NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_it_is(name):
    text = NAMES[name].__doc__
    assert text, "no docstring"
    assert re.match(r"\S[^\n]*[.:)]$", inspect.cleandoc(text).split("\n\n")[0].replace("\n", " ")), (
        "no sentence comes first"
    )


@pytest.mark.parametrize("name", [name for name, value in FUNCTIONS.items() if inspect.signature(value).parameters])
def test_every_argument_is_named_under_args(name):
    function = FUNCTIONS[name]
    listed = section(function.__doc__, "Args")
    parameters = [word for word in inspect.signature(function).parameters if word not in ("self", "cls")]
    missing = [word for word in parameters if not re.search(rf"^    [^:]*(?<!\w){word}(?!\w)[^:]*:", listed, re.M)]
    assert not missing


@pytest.mark.parametrize("name", [name for name, value in FUNCTIONS.items() if raises(value)])
def test_what_raises_says_so(name):
    assert "Error" in section(FUNCTIONS[name].__doc__, "Raises")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if re.search(r"losses\.(?!load|compile)\w+_loss$", name)])
def test_a_loss_names_shapes_range_errors_and_source(name):
    if name.endswith("no_such_loss"):
        return
    text = FUNCTIONS[name].__doc__
    assert "(K, 4)" in section(text, "Args")
    assert "(K,)" in section(text, "Returns")
    assert "ConfigError" in section(text, "Raises")
    assert section(text, "Reference").strip()
