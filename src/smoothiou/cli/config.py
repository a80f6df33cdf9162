"""`smoothiou config`: show, check and explain settings.

Examples:
    smoothiou config keys
    smoothiou config show photos
    smoothiou config check RUN/config.toml
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import tomli_w
from cyclopts import App

from smoothiou.cli.options import Json, Recipe, Settings, parse_settings
from smoothiou.engine.config import allowed, build_config, describe, read_recipe, recipes
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.schemas import schemas

app = App(name="config", help="Show, check and explain settings.", help_format="plaintext")


@app.command
def show(recipe: Recipe = None, *, set_: Settings = None, json_: Json = False) -> None:
    """Print every setting of a run with its value and origin.

    Args:
        recipe: name of a shipped recipe, or path of a TOML file.
    """
    given, flags = (read_recipe(recipe) if recipe else {}), parse_settings(set_)
    config = build_config(recipe, flags)
    if json_:
        print(json.dumps(config.nested(), indent=1))
        return
    blank = ""
    for section, values in groupby(config.flat().items(), key=lambda setting: setting[0].split(".")[0]):
        print(f"{blank}[{section}]")
        blank = "\n"
        for key, value in values:
            origin = "option" if key in flags else "recipe" if key in given else "default"
            print(f"{_line(key.split('.')[1], value):40} # {origin}")


def _line(name: str, value: Any) -> str:
    """Return a setting as TOML, lists on one line, too."""
    if not isinstance(value, list):
        return tomli_w.dumps({name: value}).strip()
    return f"{name} = [{', '.join(_line('_', item).removeprefix('_ = ') for item in value)}]"


@app.command
def check(path: str, *, json_: Json = False) -> None:
    """Read a TOML file as strictly as a run would, and say whether it is right.

    Args:
        path: a recipe, or the config.toml of a run.
    """
    build_config(path, {})
    print(json.dumps({"ok": True, "path": path}) if json_ else f"{path}: right")


@app.command
def keys(*, json_: Json = False) -> None:
    """List every setting with its default and meaning."""
    rows = describe()
    if json_:
        print(json.dumps([{"key": k, "default": d, "meaning": m} for k, d, m in rows], indent=1))
        return
    for key, default, meaning in rows:
        print(f"{key} = {default!r}    ({allowed(key)})\n    {meaning}")


@app.command(name="schema")
def print_schema(name: str = "recipe") -> None:
    """Print the JSON Schema of a recipe, for editors that check TOML, or of what is written.

    Args:
        name: recipe, result (result.json), plan (plan.json), or of `--json`: eval, compare, compare-dry-run, predict,
            export, error.
    """
    known = schemas()
    if name not in known:
        raise ConfigError(f"config schema: there is none of {name!r}.", hint=did_you_mean(name, known))
    print(json.dumps(known[name], indent=1))


@app.command(name="recipes")
def list_recipes(*, json_: Json = False) -> None:
    """List the shipped recipes with the first line of each."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in recipes().items()}
    summaries = {name: text.splitlines()[0].removeprefix("#").strip() for name, text in texts.items()}
    if json_:
        print(json.dumps(summaries, indent=1))
        return
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(f"{name:{width}}  {summary}")
