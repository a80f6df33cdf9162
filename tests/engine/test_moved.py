"""A run finds its data from any working folder, and data that was moved by its new name."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli_w

from smoothiou.data.merge import resolved
from smoothiou.engine.config import RunConfig, read_run_config
from smoothiou.engine.evaluate import measure_run
from smoothiou.engine.train import run
from smoothiou.errors import DataError
from smoothiou.files import write_json
from smoothiou.lab.probe import probe_runs
from tests.data.doctor_sets import voc

TINY = {
    "model.name": "nano", "model.weights": "none", "model.min_size": 64, "model.max_size": 64, "train.steps": 1,
    "train.batch_size": 2, "train.device": "cpu", "train.precision": "fp32",
}  # fmt: skip


def stored(folder: Path, path: str, home: str | None) -> str:
    """Return the path of the data that a run of these files is read with."""
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(tomli_w.dumps(RunConfig().replace({"data.path": path}).nested()))
    write_json(folder / "manifest.json", {"data_path": home} if home else {})
    return read_run_config(folder).data.path


def test_a_relative_path_is_one_from_the_folder_in_which_the_run_began(tmp_path, monkeypatch):
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "here" / "more").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    home, both = resolved("data"), resolved("data:val+more")
    assert resolved("shapes") == "shapes"
    monkeypatch.chdir(tmp_path)
    assert stored(tmp_path / "run", "data", home) == str(tmp_path / "here" / "data")
    assert stored(tmp_path / "run", "data:val+more", both) == f"{tmp_path}/here/data:val+{tmp_path}/here/more"
    assert stored(tmp_path / "run", "data", str(tmp_path / "gone")) == "data"
    assert stored(tmp_path / "run", "data", None) == "data"


def test_a_run_on_relative_data_is_measured_from_elsewhere_and_on_data_that_was_moved(tmp_path, monkeypatch):
    voc(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    run(RunConfig().replace({**TINY, "data.path": "data"}), folder, quiet=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert measure_run(folder, quiet=True).result["step"] == 1
    assert probe_runs([folder], fresh=True, quiet=True)["data"]["name"] == "data"
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="data"):
        probe_runs([folder], fresh=True, quiet=True)
    assert probe_runs([folder], data="../moved", quiet=True)["data"]["name"] == "moved"
