"""The settings of a run as one object, and the strict reader of recipes. No torch.

Precedence: a flag or dotted option, then the recipe, then the default in sections.py.
"""

from __future__ import annotations

import functools
import tomllib
import typing
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smoothiou.detectors.registry import detector_info
from smoothiou.engine.sections import DataConfig, EvalConfig, LossConfig, ModelConfig, OptimConfig, Section, TrainConfig
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.files import read_bytes, reason_of, short
from smoothiou.manifest import read_manifest

MAX_RECIPE, MAX_LINE = 2**16, 2000
"""Bytes of a recipe and characters of one of its lines: long dotted keys take the TOML reader hours."""


def _has_installed_weights(detector: str) -> bool:
    with suppress(ConfigError):  # an unknown detector is refused where it is built
        return detector_info(detector).installed
    return False


class RunConfig(Section):
    """All settings of one training run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    def flat(self) -> dict[str, Any]:
        """Return `{"optim.lr": 0.001, ...}`, every field."""
        return {f"{section}.{key}": value for section, values in self.nested().items() for key, value in values.items()}

    def nested(self) -> dict[str, dict[str, Any]]:
        """Return `{"optim": {"lr": 0.001, ...}, ...}`, as written to config.toml.

        Weights that were left to the detector are named: a later version may have others installed.
        """
        sections = self.model_dump(mode="json")
        if self.model.weights == "auto":
            sections["model"]["weights"] = "imagenet" if _has_installed_weights(self.model.name) else "none"
        return sections

    def replace(self, changes: Mapping[str, Any]) -> RunConfig:
        """Return a copy with dotted keys changed; text is read as the field's type.

        Raises:
            ConfigError: an unknown key (with a suggestion), or a value of another type or range.
        """
        sections = {section: dict(values) for section, values in self}
        for key, value in changes.items():
            if key not in KEYS:
                raise ConfigError(f"{key}: no such setting.", hint=suggest_key(key, KEYS))
            section, name = key.split(".")
            if isinstance(value, int) and abs(value) >= 2**63:
                raise _refused(key, value)
            sections[section][name] = _parse(value, _field(key).annotation)
        try:
            return RunConfig(**{name: _model(name)(**values) for name, values in sections.items()})
        except ValidationError as error:
            raise _as_config_error(error) from None


KEYS: tuple[str, ...] = tuple(RunConfig().flat())


def _model(section: str) -> Any:
    return RunConfig.model_fields[section].annotation


def _field(key: str) -> Any:
    section, name = key.split(".")
    return _model(section).model_fields[name]


def _parse(value: Any, kind: Any) -> Any:
    """Read text as a field's type; what cannot be read is left for the model to refuse."""
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str):
            value = [word.strip() for word in value.split(",")]
        return tuple(value) if isinstance(value, list) else value
    if not isinstance(value, str):
        return value
    if kind is bool:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    if typing.get_origin(kind) is typing.Union:  # a number with a range, or a word
        kind = typing.get_args(typing.get_args(kind)[0])[0]
    number = kind if kind in (int, float) else str
    with suppress(ValueError):
        return number(value)
    return value


def _as_config_error(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    section = error.title.removesuffix("Config").lower()
    return _refused(f"{section}.{first['loc'][0]}", first["input"])


def _refused(key: str, value: Any) -> ConfigError:
    hint = suggest_key(value, ()) if isinstance(value, str) else ""
    return ConfigError(f"{key}: expected {allowed(key)}, got {short(value)}.", hint=hint)


def allowed(key: str) -> str:
    """Return type and range of a setting in words: "a number above 0 and at most 1"."""
    section, name = key.split(".")
    return _in_words(schema()["$defs"][f"{section.capitalize()}Config"]["properties"][name])


def _in_words(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_in_words(option) for option in field["anyOf"])
    if "items" in field:
        return f"a list of {', '.join(field['items']['enum'])}"
    if "enum" in field:
        return f"one of {', '.join(field['enum'])}"
    if "const" in field:
        return field["const"]
    kinds = {"integer": "a whole number", "number": "a finite number", "boolean": "true or false", "string": "a text"}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = " and ".join(f"{phrase} {field[bound]:,}" for bound, phrase in bounds.items() if bound in field)
    return f"{kinds[field['type']]} {limits}".rstrip()


@functools.cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of a recipe."""
    return RunConfig.model_json_schema()


def describe() -> list[tuple[str, Any, str]]:
    """Return `(key, default, meaning)` of every setting."""
    return [(key, default, " ".join(_field(key).description.split())) for key, default in RunConfig().flat().items()]


_RENAMED = {"model.flavour": "model.tf_compat", "model.keep": "model.roi_dropout", "one-cycle": "warmup-cosine"}


def suggest_key(word: str, choices: typing.Iterable[str]) -> str:
    """Return "did you mean" for a setting or its value, also where its name has changed."""
    return f'Did you mean "{_RENAMED[word]}"?' if word in _RENAMED else did_you_mean(word, choices)


def upgrade(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings that version 0.1 wrote (config.toml, plan.json, manifest.json) under today's names."""
    new = dict(settings)
    if "model.flavour" in new:
        new["model.tf_compat"] = new.pop("model.flavour") == "tf"
    if "model.keep" in new:
        kept = new.pop("model.keep")
        new["model.roi_dropout"] = round(1 - kept, 12) if kept else "none"
    if new.get("optim.schedule") == "one-cycle":
        new["optim.schedule"] = "warmup-cosine"
    return new


def recipes() -> dict[str, Path]:
    """Return the recipes shipped with the package, by name (`quick`, `bccd`, ...)."""
    root = Path(str(resources.files("smoothiou").joinpath("recipes")))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.toml"))}


def read_recipe(name_or_path: str) -> dict[str, Any]:
    """Return a recipe's settings as flat dotted keys.

    Args:
        name_or_path: name of a shipped recipe, or path of a TOML file with the sections of `RunConfig`.

    Raises:
        ConfigError: no such recipe, not TOML, or an unknown key (with a suggestion).
    """
    path = recipes().get(name_or_path, Path(name_or_path))
    flat = _read_toml(path, name_or_path)
    for key in flat:
        if key not in KEYS:
            raise ConfigError(f"{path}: {key[:80]}: no such setting.", hint=suggest_key(key, KEYS))
    return flat


def _read_toml(path: Path, name: str) -> dict[str, Any]:
    try:
        text = read_bytes(path, most=MAX_RECIPE).decode("utf-8-sig")
        if (longest := max(map(len, text.splitlines()), default=0)) > MAX_LINE:
            raise ConfigError(f"{path}: a line has {longest:,} characters, and at most {MAX_LINE:,} are read.")
        content = tomllib.loads(text)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ConfigError(f"{name}: no such recipe and no such file.", hint=did_you_mean(name, recipes())) from None
    except RecursionError:
        raise ConfigError(f"{path}: not readable as TOML: its brackets are nested too deeply.") from None
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {reason_of(error)}.") from None
    for section, values in content.items():
        if section not in RunConfig.model_fields or not isinstance(values, dict):
            hint = did_you_mean(section, RunConfig.model_fields)
            raise ConfigError(f"{path}: [{section[:80]}] is no section.", hint=hint)
    return {f"{section}.{key}": value for section, values in content.items() for key, value in values.items()}


def build_config(recipe: str | None, flags: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run: flags that are not None over the recipe over the defaults."""
    settings = read_recipe(recipe) if recipe else {}
    return RunConfig().replace({**settings, **{key: value for key, value in flags.items() if value is not None}})


def read_run_config(folder: Path, flags: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the settings that a run left in its config.toml, with `flags` over them; older names are understood.

    Data is where the run found it, if it still is there: a relative path is one from another working folder.
    """
    from smoothiou.data import merge  # which `config` and `--help` do without

    path = folder / "config.toml"
    settings = dict(upgrade(_read_toml(path, str(path))))
    home = read_manifest(folder).get("data_path")
    if isinstance(home, str) and merge.all_exist(home):
        settings["data.path"] = home
    return RunConfig().replace({**settings, **(flags or {})})
