"""The examples run as they stand, with few steps; those of other hosts are run by `make test-hosts`."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HOSTS = {"detectron2_rcnn", "lightning_module", "mmdet_config", "ultralytics_yolo"}
RUN = ("own_detector", "own_dataset", "torchvision_loop", "torchvision_detector")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch, without_panels):
    monkeypatch.chdir(tmp_path)


def run_example(name, tmp_path):
    """Run a script as `python NAME.py` does, with 2 steps and one seed where it says more."""
    text = (EXAMPLES / f"{name}.py").read_text()
    script = tmp_path / f"{name}.py"
    script.write_text(re.sub(r"steps=\d+", "steps=2", text).replace("seeds=[0, 1]", "seeds=[0]"))
    return runpy.run_path(str(script), run_name="__main__")


def test_every_example_is_run_somewhere():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"own_loss", *RUN, *HOSTS}


@pytest.mark.parametrize(
    "name", ["own_dataset", *(pytest.param(name, marks=pytest.mark.slow) for name in RUN if name != "own_dataset")]
)
def test_an_example_runs(name, tmp_path, capsys):
    run_example(name, tmp_path)
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
def test_the_study_of_the_own_loss_is_of_that_loss(tmp_path, capsys):
    study = run_example("own_loss", tmp_path)["study"]
    assert study.verdict() in capsys.readouterr().out
    assert study.losses[1].startswith("in-process:cubed_iou-")
    manifest = json.loads((study.run(study.losses[1], 0).folder / "manifest.json").read_text())
    assert "** 3" in manifest["objects"][study.losses[1]]


def cells(kind="code"):
    notebook = json.loads((EXAMPLES / "from_photos_to_a_verdict.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(capsys):
    namespace = {"__name__": "__main__"}
    for cell in cells():
        source = re.sub(r"^STEPS = \d+", "STEPS = 2", "".join(cell["source"]), flags=re.M)
        exec(compile(source, "notebook", "exec"), namespace)
    assert namespace["study"].best().metrics.keys() == namespace["best"].metrics.keys()


def test_the_notebook_holds_what_it_printed_and_no_error():
    assert all(cell["execution_count"] == number for number, cell in enumerate(cells(), 1))
    outputs = [output for cell in cells() for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("text/html" in output.get("data", {}) for output in outputs)
    assert len(json.dumps(outputs)) < 60_000
    assert not re.search(r"/(home|tmp|work|root)/", json.dumps(outputs))
