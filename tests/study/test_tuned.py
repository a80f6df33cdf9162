"""Settings of single losses: each loss trains with its own, all else is shared, and the plan keeps both."""

from __future__ import annotations

from pathlib import Path

import pytest

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError
from smoothiou.study import make_plan, read_plan, write_or_continue
from smoothiou.study.tuned import read_tuned
from tests.study.conftest import DATA

LOSSES = ("huber", "huber[delta=0.5]")
TUNED = {"huber[delta=0.5]": {"optim.lr": 0.002, "loss.roi_weight": 3.0}}


def plan(tuned=None, losses=LOSSES, seeds=(0, 1), **more):
    config = RunConfig()
    return make_plan(
        config, losses=losses, seeds=seeds, data=DATA, classes=("cat",), command=["test"], tuned=tuned, **more
    )


def test_a_tuned_loss_has_its_own_settings_and_the_others_those_of_the_recipe():
    usual, tuned = plan(), plan(TUNED)
    for before, now in zip(usual["cells"], tuned["cells"], strict=True):
        changed = {key: value for key, value in now["settings"].items() if before["settings"][key] != value}
        assert changed == TUNED.get(now["loss"], {})
        assert (before["hash"] == now["hash"]) == (not changed)
    assert tuned["tuned"] == TUNED
    assert tuned["settings"] == usual["settings"]


def test_a_study_goes_on_with_the_same_tuning_alone(tmp_path: Path):
    write_or_continue(tmp_path, plan(TUNED))
    grown, _ = write_or_continue(tmp_path, plan(TUNED, seeds=(0, 1, 2)))
    assert [cell["settings"]["optim.lr"] for cell in grown["cells"]] == 3 * [0.001, 0.002]
    more, _ = write_or_continue(tmp_path, plan({**TUNED, "giou": {"optim.lr": 0.003}}, losses=(*LOSSES, "giou")))
    assert {cell["loss"]: cell["settings"]["optim.lr"] for cell in more["cells"]}["giou"] == 0.003
    assert read_plan(tmp_path)["tuned"].keys() == {"huber[delta=0.5]", "giou"}
    for other in (None, {"huber[delta=0.5]": {"optim.lr": 0.004}}):
        with pytest.raises(ConfigError, match="optim.lr"):
            write_or_continue(tmp_path, plan(other))


@pytest.mark.parametrize("key", ["train.steps", "train.seed", "data.path", "loss.name"])
def test_what_all_losses_must_share_is_not_tuned(key):
    with pytest.raises(ConfigError, match=key):
        plan({"huber": {key: RunConfig().flat()[key]}})


def test_weights_come_from_one_source():
    weights = {loss: {"rpn": 1.0, "roi": 2.0} for loss in LOSSES}
    with pytest.raises(ConfigError, match="--calibrate"):
        plan(TUNED, weights=weights)


def test_the_file_is_read_by_loss(tmp_path: Path):
    path = tmp_path / "tuned.toml"
    path.write_text('["huber[delta=0.5]"]\n"optim.lr" = 0.002\n"loss.roi_weight" = 3.0\n')
    assert read_tuned(path, losses=LOSSES) == TUNED


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("not toml", "tuned.toml"),
        ('["huber[delta=0.6]"]\n"optim.lr" = 0.002\n', "delta=0.6"),
        ("[huber.optim]\nlr = 0.002\n", "dotted"),
        ('[huber]\n"optim.lt" = 0.002\n', "optim.lt"),
        ('[huber]\n"optim.lr" = -1.0\n', "optim.lr"),
        ("huber = 3\n", "huber"),
        (None, "tuned.toml"),
    ],
)
def test_a_file_that_is_not_understood_is_refused(tmp_path: Path, content, named):
    path = tmp_path / "tuned.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as refused:
        read_tuned(path, losses=LOSSES)
    assert named in f"{refused.value} {refused.value.hint}"
