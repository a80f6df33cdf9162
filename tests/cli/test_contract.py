"""Exit codes, streams, words and speed of the command line."""

from __future__ import annotations

import io
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from smoothiou.cli import dotted_options
from smoothiou.cli.compare import parse_seeds
from smoothiou.errors import ConfigError

COMMANDS = (
    "train", "eval", "compare", "doctor", "calibrate", "report", "predict", "probe", "env", "losses", "curves",
    "config",
)  # fmt: skip


def test_help_loads_nothing_that_is_slow(smoothiou_process, tmp_path):
    # Packages that cannot be imported stand before the real ones; what --help costs: benchmarks/startup.py.
    slow = ("torch", "torchvision", "timm", "numpy", "scipy", "pydantic", "matplotlib", "PIL", "jinja2", "hotcoco")
    for package in slow:
        (tmp_path / f"{package}.py").write_text(f"raise ImportError('--help must not need {package}')")
    result = smoothiou_process("--help", PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(smoothiou, command):
    result = smoothiou(command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: smoothiou")


def test_help_and_settings_name_every_detector_and_every_kind_of_weights(smoothiou):
    from smoothiou.detectors import DETECTORS

    offers = {offer for detector in DETECTORS.values() for offer in detector.offers}
    assert offers >= {"none", "imagenet", "tf:PATH"}
    for text in (smoothiou("train", "--help").stdout, smoothiou("config", "keys").stdout):
        words = set(re.split(r"[\s,`()│]+", text))
        assert not set(DETECTORS) - {word.rstrip(".") for word in words}
        assert not offers - words


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        (["trian", "shapes"], '"train"'),
        (["train", "shapes", "--sede", "1"], "--seed"),
        (["train", "shapes", "--lr", "0.1"], "--optim.lr"),
        (["train", "shapes", "--batch-size=4"], "--train.batch_size or --eval.batch_size"),
        (["compare", "shapes", "--batch_size", "4"], "--train.batch_size or"),
        (["compare", "shapes", "--seed", "4"], "--seeds"),
        (["compare", "shapes", "--train.seed", "4"], "--seeds"),
        (["compare", "shapes", "--loss.name=iou"], "--losses"),
        (["losses", "CIoU"], '"ciou"'),
        (["losses", "--lr", "0.1"], "--lr"),
        (["compare", "shapes", "--losses", "huber", "smooth-iou"], "--losses huber,smooth-iou"),
        (["compare", "shapes", "--losses=huber,", "iou"], "--losses huber,iou"),
        (["compare", "shapes", "--seeds", "0", "1", "2", "--steps", "9"], "--seeds 0,1,2"),
        (["compare", "shapes", "mine", "more"], "mine more"),
        (["train", "shapes", "--optim.lrr", "1"], '"optim.lr"'),
        (["train", "shapes", "--optim.lr", "fast"], "optim.lr"),
        (["train", "shapes", "--recipe", "quik"], '"quick"'),
        (["train"], "DATA"),
        (["compare", "shapes", "--losses", "huber,smooth_iou"], '"smooth-iou"'),
        (["compare", "shapes", "--losses", "huber,huber"], "huber"),
        (["compare", "shapes", "--seeds", "0,0"], "once"),
        (["compare", "shapes", "--jobs", "0"], "--jobs"),
        (["losses", "smooth_iou"], '"smooth-iou"'),
        (["train", "shapes", "--steps", "1", "--train.steps", "2"], "train.steps"),
        (["config", "check", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_wrong_usage_is_named_and_exit_code_2(smoothiou, words, noun):
    result = smoothiou(*words)
    assert result.returncode == 2, result.stderr
    assert noun in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_program_gets_the_problem_as_json_on_stdout(smoothiou):
    result = smoothiou("train", "nowhere", "--json")
    assert result.returncode == 3
    error = json.loads(result.stdout)["error"]
    assert "nowhere" in error["message"]
    assert error["exit_code"] == 3


def test_debug_shows_the_traceback(smoothiou):
    assert "Traceback" in smoothiou("train", "nowhere", "--debug").stderr


def test_listings_are_for_people_and_as_json_for_programs(smoothiou):
    assert "smooth-iou" in smoothiou("losses").stdout
    info = json.loads(smoothiou("losses", "smooth-iou", "--json").stdout)["smooth-iou"]
    assert "lambda" in info["formula"]
    assert "optim.lr" in smoothiou("config", "keys").stdout
    shown = smoothiou("config", "show", "quick", "--optim.lr", "0.5").stdout
    assert "lr = 0.5" in shown
    assert "# option" in shown
    assert 'stages = ["rpn", "roi"]                  # default\n' in shown
    values = tomllib.loads(shown)
    assert values == json.loads(smoothiou("config", "show", "quick", "--optim.lr", "0.5", "--json").stdout)
    assert json.loads(smoothiou("config", "show", "quick", "--json").stdout)["model"]["name"] == "nano"
    listed = json.loads(smoothiou("config", "recipes", "--json").stdout)
    assert set(listed) >= {"quick", "bccd"}
    width = max(map(len, listed))
    lines = smoothiou("config", "recipes").stdout.splitlines()
    assert lines == [f"{name.ljust(width)}  {first}" for name, first in listed.items()]


def test_env_names_versions_and_device(smoothiou):
    facts = json.loads(smoothiou("env", "--json").stdout)
    assert {"python", "torch", "torchvision", "hotcoco"} <= set(facts["versions"])
    assert facts["device"]


def test_dotted_options_become_set():
    assert dotted_options(["train", "--optim.lr", "0.1", "--loss.name=iou", "--debug", "x"]) == [
        "train", "--set", "optim.lr=0.1", "--set", "loss.name=iou", "x",
    ]  # fmt: skip


def test_a_list_on_stdin_is_a_path_and_no_option(monkeypatch):
    from smoothiou.cli.predict import _expanded

    assert dotted_options(["predict", "RUN", "-"]) == ["predict", "RUN", "./-"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffa.jpg\n\nb c.jpg\n"))
    assert _expanded([Path("./-"), Path("d.jpg")]) == [Path("a.jpg"), Path("b c.jpg"), Path("d.jpg")]
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigError, match="empty"):
        _expanded([Path("./-")])


def test_seeds_are_lists_and_ranges():
    assert parse_seeds("0-2,7") == (0, 1, 2, 7)
    for wrong in ("", "a", "3-1", "1,1", "-1"):
        with pytest.raises(ConfigError, match="--seeds"):
            parse_seeds(wrong)


@pytest.mark.parametrize("words", [["env"], ["env", "--overwrite"]])
def test_an_interrupt_outside_training_says_how_to_go_on(monkeypatch, capsys, words):
    from smoothiou import cli
    from smoothiou.cli import env

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(env, "env", interrupted)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli, "dotted_options", lambda arguments: arguments[:1])
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 130
    message = capsys.readouterr().err
    assert "same command again" in message
    assert ("without --overwrite" in message) == ("--overwrite" in words), "it would delete what is there"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")]
)
def test_short_memory_is_no_fault_of_ours(error):
    from smoothiou.cli import user_error

    explained = user_error(error, ["predict"])
    assert "emory" in explained.message
    assert "min_size" in explained.hint


def test_a_fault_in_code_of_one_s_own_names_its_module(smoothiou, tmp_path):
    (tmp_path / "own_net.py").write_text("def build(**settings):\n    return undefined\n")
    result = smoothiou("train", "shapes", "--model", "own_net:build", "--steps", "1", "--out", "RUN")
    assert "own_net" in result.stderr
    assert "fault of smoothiou" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_the_command_s_own_examples(smoothiou, command):
    _, _, epilogue = smoothiou(command, "--help").stdout.partition("Exit codes:")
    examples = [line.split() for line in epilogue.splitlines() if line.startswith("    smoothiou ")]
    assert examples
    assert command in {words[1] for words in examples}


def test_a_torchvision_of_another_torch_is_named_and_not_our_fault(smoothiou, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    result = smoothiou("env")
    assert result.returncode == 1
    assert "torch " in result.stdout, "the versions are shown all the same"
    assert "does not work with torch" in result.stderr
    assert "fault of smoothiou" not in result.stderr
