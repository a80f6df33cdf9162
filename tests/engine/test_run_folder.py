"""A run folder belongs to one run, is worked in by one process, and is emptied of nothing but our own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothiou.engine.config import RunConfig
from smoothiou.engine.run_folder import WRITTEN, lock_run_folder, prepare_folder
from smoothiou.errors import ConfigError

CONFIG = RunConfig()


def test_a_folder_is_claimed_once_and_free_again_afterwards(tmp_path):
    with (
        lock_run_folder(tmp_path / "RUN"),
        pytest.raises(ConfigError, match="another process"),
        lock_run_folder(tmp_path / "RUN"),
    ):
        pass
    with lock_run_folder(tmp_path / "RUN"):
        pass
    assert not (tmp_path / "RUN").exists(), "a run that wrote nothing leaves no folder"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "RUN").write_text("mine")
    with pytest.raises(ConfigError, match="folder"), lock_run_folder(tmp_path / "RUN"):
        pass
    assert (tmp_path / "RUN").read_text() == "mine"


def test_overwrite_deletes_the_run_and_leaves_what_the_user_put_there(tmp_path):
    prepare_folder(tmp_path, CONFIG, {"optim.lr": 1}, overwrite=False)
    for name in ("last.ckpt", "result.json", "done", "notes.txt"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "manifest.json").write_text(json.dumps({"identity": {"optim.lr": 1}}))
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        prepare_folder(tmp_path, CONFIG, {"optim.lr": 2}, overwrite=False)
    assert prepare_folder(tmp_path, CONFIG, {"optim.lr": 1}, overwrite=False) == {}, "the finished result"
    assert prepare_folder(tmp_path, CONFIG, {"optim.lr": 2}, overwrite=True) is None
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "config.toml"}


def test_overwrite_begins_a_new_run_of_the_logger(tmp_path):
    prepare_folder(tmp_path, CONFIG, {"optim.lr": 1}, overwrite=False)
    (tmp_path / "manifest.json").write_text(json.dumps({"identity": {"optim.lr": 1}}))
    (tmp_path / "tensorboard").mkdir()
    for name in ("wandb.txt", "mlflow.txt", "tensorboard/events"):
        (tmp_path / name).write_text("old")
    prepare_folder(tmp_path, CONFIG, {"optim.lr": 1}, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml"}


@pytest.mark.parametrize(("taken", "noun"), [(None, "not finished"), (3, "patience")])
def test_a_run_that_is_not_at_its_end_is_not_trained_longer(tmp_path, taken, noun):
    longer = CONFIG.replace({"train.steps": 20})
    manifest = json.dumps({"identity": {"train.steps": 10}})
    (tmp_path / "manifest.json").write_text(manifest)
    if taken:
        (tmp_path / "done").write_text("")
        (tmp_path / "result.json").write_text(json.dumps({"cost": {"steps": taken}}))
    with pytest.raises(ConfigError, match=noun):
        prepare_folder(tmp_path, longer, {"train.steps": 20}, overwrite=False, longer=True)
    assert (tmp_path / "manifest.json").read_text() == manifest


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["photo.jpg", "manifest.json"])
def test_a_folder_of_other_things_is_refused_also_where_a_file_is_called_like_ours(tmp_path, name, overwrite):
    (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match="no run"):
        prepare_folder(tmp_path, CONFIG, {}, overwrite=overwrite)
    assert (tmp_path / name).read_text() == "{}"


@pytest.mark.parametrize("kept", range(13))
def test_an_overwrite_that_is_killed_in_the_middle_can_be_given_again(tmp_path, monkeypatch, kept):
    prepare_folder(tmp_path, CONFIG, {"optim.lr": 1}, overwrite=False)
    for name in (*WRITTEN, "last.ckpt.damaged", "last.ckpt.damaged-2"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "manifest.json").write_text(json.dumps({"identity": {"optim.lr": 1}}))
    unlink, deleted = Path.unlink, []

    def killed(path, **options):
        if len(deleted) == kept:
            raise KeyboardInterrupt
        deleted.append(path.name)
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(tmp_path, CONFIG, {"optim.lr": 2}, overwrite=True)
    monkeypatch.undo()
    assert prepare_folder(tmp_path, CONFIG, {"optim.lr": 2}, overwrite=True) is None
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml"}


def test_a_run_that_was_killed_while_its_first_file_was_written_can_begin(tmp_path):
    (tmp_path / ".config.toml.123.ab_c.part").write_text("half")
    assert prepare_folder(tmp_path, CONFIG, {}, overwrite=False) is None
