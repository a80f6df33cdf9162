"""Settings: precedence, strictness, and words for what is wrong."""

from __future__ import annotations

import dataclasses
import re
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.engine.config import (
    KEYS,
    RunConfig,
    build_config,
    describe,
    read_recipe,
    recipes,
)
from smoothiou.errors import ConfigError


def test_a_flag_beats_the_recipe_and_the_recipe_beats_the_default(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[optim]\nlr = 0.5\nclip_norm = 3.0\n")
    config = build_config(str(recipe), {"optim.lr": "0.25", "train.steps": None})
    assert (config.optim.lr, config.optim.clip_norm, config.train.steps) == (0.25, 3.0, RunConfig().train.steps)


@pytest.mark.parametrize("keys", [("min_size", "max_size"), ("max_size", "min_size")])
def test_settings_that_depend_on_each_other_may_be_given_in_any_order(keys):
    sizes = {"min_size": 600, "max_size": 1024}
    config = RunConfig().replace({f"model.{key}": sizes[key] for key in keys})
    assert (config.model.min_size, config.model.max_size) == (600, 1024)


def test_what_is_written_to_config_toml_reads_back_as_the_same_settings(tmp_path):
    config = RunConfig().replace({"data.path": "shapes", "loss.stages": "roi", "optim.lr": 1e-5})
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.nested()))
    assert build_config(str(path), {}) == config


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("optim.lrr", "1", r'no such setting. Did you mean "optim.lr"\?'),
        ("optim.lr", "fast", "expected a finite number, got 'fast'"),
        ("optim.lr", "nan", "expected a finite number"),
        ("optim.lr", "-1", "expected more than 0, got -1.0"),
        ("train.steps", "1.5", "expected a whole number, got '1.5'"),
        ("train.steps", True, "expected a whole number, got True"),
        ("optim.name", "adam", "expected one of adamw, sgd, rmsprop, tf-rmsprop, got 'adam'"),
        ("loss.stages", "rpn,box", "expected rpn, roi or both"),
        ("loss.name", "huber[delta", "names no loss"),
        ("model.max_size", "100", "at least model.min_size, got 100"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(key, value, said):
    with pytest.raises(ConfigError, match=said):
        RunConfig().replace({key: value})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[optim\n", "not readable as TOML"),
        ("[optimiser]\nlr = 1\n", r'no section. Did you mean "optim"'),
        ("[optim]\nlearning = 1\n", "optim.learning: no such setting"),
        ("lr = 1\n", r"\[lr\] is no section"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_and_key(tmp_path, text, said):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_recipe(str(path))
    assert "r.toml" in str(error.value)


def test_an_unknown_recipe_is_answered_with_the_nearest_name():
    with pytest.raises(ConfigError, match='Did you mean "quick"'):
        read_recipe("quik")


def test_every_setting_has_a_meaning_and_the_list_is_complete():
    rows = describe()
    assert [key for key, _, _ in rows] == list(KEYS)
    assert all(meaning.endswith((".", ")")) for _, _, meaning in rows)
    meanings = {key: meaning for key, _, meaning in rows}
    assert len(set(meanings.values())) == len(meanings), "two settings have the same explanation"
    assert meanings["train.steps"] == "Optimizer steps."
    assert meanings["optim.clip_norm"].startswith("Largest global norm")


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_shipped_recipe_is_right_and_states_cost_result_and_command(name):
    build_config(name, {})
    header = [line for line in recipes()[name].read_text().splitlines() if line.startswith("#")]
    text = " ".join(header).lower()
    assert re.search(r"cost:", text), f"{name} states no cost"
    assert re.search(r"expected:", text), f"{name} states no expected number"
    assert re.search(r"command:", text), f"{name} states no command"


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=12), max_size=3))
def test_any_text_for_any_setting_is_read_or_refused_in_words(changes):
    try:
        config = RunConfig().replace(changes)
    except ConfigError:
        return
    else:
        assert tomllib.loads(tomli_w.dumps(config.nested())).keys() == {f.name for f in dataclasses.fields(RunConfig)}
