"""`smoothiou simulate`, run as users run it."""

from __future__ import annotations

import json
import re
import signal

import pytest

from smoothiou.cli import main
from tests.data.test_box_list import COCO


@pytest.mark.slow
def test_a_simulation_leaves_a_page_and_a_table(smoothiou, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(COCO))
    command = ("simulate", "--losses", "giou,huber", "--cases", "343", "--boxes", "labels.json", "--out", "sim")
    result = smoothiou(*command)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "sim/simulation.html"
    for part in ("simulation 6/6  huber on labels.json", "The paper's experiment", "Real boxes in the encoded frame"):
        assert part in result.stderr
    page = (tmp_path / "sim" / "simulation.html").read_text()
    assert "giou-clamped, published code" in page
    assert not re.search(r"\b(nan|inf|None)\b", page)
    rows = (tmp_path / "sim" / "simulation.csv").read_text().splitlines()
    assert rows[0].startswith("kind,loss,gradients,speed,step,mean_error,mean_iou")
    assert len(rows) == 1 + 4 * 201 + 2 * 3 * 201


def test_quiet_json_is_all_that_is_printed(smoothiou):
    result = smoothiou("simulate", "--losses", "iou", "--gradients", "published", "--cases", "1", "--quiet", "--json")
    assert result.returncode == 0
    assert result.stderr == ""
    content = json.loads(result.stdout)
    assert content["page"] == "runs/simulate/simulation.html"
    assert [one["loss"] for one in content["results"]] == ["iou"]


@pytest.mark.parametrize(
    ("options", "code", "noun"),
    [
        (("--cases", "-5"), 2, "--cases"),
        (("--cases", "many"), 2, "--cases"),
        (("--losses", "gio"), 2, "'gio'"),
        (("--losses", "huber", "--gradients", "published"), 2, "huber"),
        (("--losses", "gio", "--boxes", "nowhere.json", "--gradients", "published"), 2, "gio"),
        (("--seed", "-1"), 2, "--seed"),
        (("--boxes", "nowhere.json"), 3, "nowhere.json"),
        (("--losses", "giou[power=2]"), 2, "power"),
    ],
)
def test_wrong_usage_is_one_sentence(options, code, noun, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    few = () if "--cases" in options else ("--cases", "1")
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *few, *options])
    output = capsys.readouterr()
    assert ended.value.code == code
    assert noun in output.err
    assert "Traceback" not in output.err
    assert not (tmp_path / "runs").exists()
