"""`smoothiou losses` and `smoothiou config`: what there is, printed."""

from __future__ import annotations

import json

import pytest

from smoothiou.losses import LOSSES


def test_the_list_has_a_row_for_each_loss(smoothiou):
    rows = json.loads(smoothiou("losses", "--json").stdout)
    assert list(rows) == list(LOSSES)
    promised = {
        "name",
        "summary",
        "formula",
        "range",
        "space",
        "vanishes_when_disjoint",
        "reference",
        "frame",
        "weight",
    }
    assert all(promised <= set(row) for row in rows.values())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_printed_with_formula_options_and_reference(smoothiou, name):
    result = smoothiou("losses", name)
    assert result.returncode == 0, result.stderr
    info = LOSSES[name].info
    lines = [line.split(maxsplit=1)[0] for line in result.stdout.splitlines() if line and not line[0].isspace()]
    assert {"loss", "formula", "range", "options", "reference"} <= set(lines)
    assert info.range in result.stdout


def test_a_recipe_is_checked_as_strictly_as_a_run_would(smoothiou, tmp_path):
    (tmp_path / "right.toml").write_text("[optim]\nlr = 0.01\n")
    (tmp_path / "wrong.toml").write_text("[optim]\nrl = 0.01\n")
    assert json.loads(smoothiou("config", "check", "right.toml", "--json").stdout)["ok"]
    wrong = smoothiou("config", "check", "wrong.toml")
    assert wrong.returncode == 2
    assert "optim.rl" in wrong.stderr


def test_every_key_of_a_recipe_is_listed_and_its_schema_is_named(smoothiou):
    keys = smoothiou("config", "keys").stdout
    listed = {row["key"] for row in json.loads(smoothiou("config", "keys", "--json").stdout)}
    assert {"optim.lr", "model.freeze", "loss.name"} <= listed
    assert all(f"{key} = " in keys for key in listed)
    unknown = smoothiou("config", "schema", "recipes")
    assert unknown.returncode == 2
    assert "recipe" in unknown.stderr
