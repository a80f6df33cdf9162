"""Settings: precedence, strictness, and words for what is wrong."""

from __future__ import annotations

import re
import tomllib

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothiou.engine.config import (
    KEYS,
    RunConfig,
    allowed,
    build_config,
    describe,
    read_recipe,
    read_run_config,
    recipes,
    schema,
    upgrade,
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
    config = RunConfig().replace(
        {"data.path": "shapes", "model.weights": "none", "loss.stages": "roi", "optim.lr": 1e-5}
    )
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.nested()))
    assert build_config(str(path), {}) == config


def test_a_list_may_be_written_with_spaces():
    assert RunConfig().replace({"loss.stages": "rpn, roi"}).loss.stages == ("rpn", "roi")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optim.lrr", "1", "optim.lr"),
        ("optim.lr", "fast", "number above 0"),
        ("optim.lr", "nan", "finite number"),
        ("optim.lr", "-1", "above 0"),
        ("optim.lr", True, "number"),
        ("optim.lr", 10**400, "number"),
        ("optim.warmup", 1.0, "below 1"),
        ("train.steps", "1.5", "whole number"),
        ("train.steps", 1.0, "whole number"),
        ("train.steps", True, "whole number"),
        ("train.steps", 2**63, "whole number"),
        ("train.deterministic", "perhaps", "true or false"),
        ("optim.name", "adam", "sgd, rmsprop, tf-rmsprop"),
        ("loss.stages", "rpn,box", "rpn, roi"),
        ("loss.stages", [], "rpn, roi"),
        ("loss.stages", "roi,roi", "each stage once"),
        ("loss.name", "huber[delta", "loss"),
        ("model.max_size", "100", "model.min_size"),
        ("model.roi_dropout", 1.0, "or none"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(key, value, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)) as error:
        RunConfig().replace({key: value})
    assert key in str(error.value) or key == "loss.name"
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("key", "value", "new"),
    [
        ("model.flavour", "tf", "model.tf_compat"),
        ("model.keep", 0.8, "model.roi_dropout"),
        ("optim.schedule", "one-cycle", "warmup-cosine"),
    ],
)
def test_a_renamed_setting_gets_a_suggestion_in_a_recipe_and_is_understood_in_an_older_run(key, value, new, tmp_path):
    section, name = key.split(".")
    (tmp_path / "config.toml").write_text(tomli_w.dumps({section: {name: value}}))
    with pytest.raises(ConfigError, match=f'mean "{new}"'):
        build_config(str(tmp_path / "config.toml"), {})
    config = read_run_config(tmp_path, {"train.steps": 7})
    changed = {k: v for k, v in config.flat().items() if v != RunConfig().flat()[k]}
    expected = {"model.flavour": {"model.tf_compat": True}, "model.keep": {"model.roi_dropout": 0.2}}.get(key, {})
    assert changed == {**expected, "train.steps": 7}


def test_an_older_default_of_dropout_stays_the_detectors_own():
    assert upgrade({"model.keep": 0.0, "model.flavour": "torchvision"}) == {
        "model.roi_dropout": "none",
        "model.tf_compat": False,
    }
    assert upgrade({"model.keep": 1.0}) == {"model.roi_dropout": 0.0}


def test_the_json_schema_holds_types_ranges_and_meanings():
    steps = schema()["$defs"]["TrainConfig"]["properties"]["steps"]
    assert (steps["type"], steps["minimum"], steps["description"]) == ("integer", 1, "Optimizer steps.")
    assert allowed("eval.nms") == "a finite number above 0 and at most 1"
    assert all(allowed(key) for key in KEYS)


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("[optim\n", "TOML"),
        ("[optimiser]\nlr = 1\n", '"optim"'),
        ("[optim]\nlearning = 1\n", r"optim\.learning"),
        ("lr = 1\n", r"\[lr\]"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_and_key(tmp_path, text, noun):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=noun) as error:
        read_recipe(str(path))
    assert "r.toml" in str(error.value)


def test_an_unknown_recipe_is_answered_with_the_nearest_name():
    with pytest.raises(ConfigError, match='mean "quick"'):
        read_recipe("quik")


def test_every_setting_has_a_meaning_and_the_list_is_complete():
    rows = describe()
    assert [key for key, _, _ in rows] == list(KEYS)
    assert all(meaning.endswith((".", ")")) for _, _, meaning in rows)
    meanings = {key: meaning for key, _, meaning in rows}
    assert len(set(meanings.values())) == len(meanings), "two settings have the same explanation"
    assert meanings["train.steps"] == "Optimizer steps."


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_shipped_recipe_is_right_and_states_cost_result_and_command(name):
    build_config(name, {})
    header = [line for line in recipes()[name].read_text().splitlines() if line.startswith("#")]
    text = " ".join(header).lower()
    assert re.search(r"cost:", text), f"{name} states no cost"
    assert re.search(r"expected:", text), f"{name} states no expected number"
    assert re.search(r"command:", text), f"{name} states no command"


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=12), max_size=3))
def test_any_text_for_any_setting_is_read_or_refused_in_words(changes):
    try:
        config = RunConfig().replace(changes)
    except ConfigError:
        return
    else:
        assert tomllib.loads(tomli_w.dumps(config.nested())).keys() == set(RunConfig.model_fields)
