"""Recipes that mean harm: settings are read, or refused in one sentence, at once."""

from __future__ import annotations

import os
import time

import pytest

from smoothiou.engine.config import build_config, read_recipe
from smoothiou.errors import ConfigError
from smoothiou.files import printable


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("[trian]\nsteps = 1", "train"),
        ("[train]\nstep = 1", r"train\.steps"),
        ("steps = 1", "steps"),
        ("[train.steps]\nx = 1", r"train\.steps"),
        ("[[train]]\nsteps = 1", "section"),
        ("[train]\nsteps = 1\nsteps = 2", "TOML"),
        ("[train]\nsteps = " + "[" * 1500, "TOML"),
        ("[train]\nsteps = " + "{a=" * 600, "TOML"),
        ("[train]\nsteps = " + "[\n" * 20_000, "TOML"),
        ("[train]\nsteps = " + "9" * 1900, "steps"),
        ("[optim]\nlr = 1e999", r"optim\.lr"),
        ("[optim]\nlr = nan", r"optim\.lr"),
        ("[optim]\nlr = 1" + "0" * 400, r"optim\.lr"),
        ("[optim]\nlr = 2026-01-01", r"optim\.lr"),
        ("[optim]\nlr = true", r"optim\.lr"),
        ("[loss]\nstages = [[['rpn']]]", r"loss\.stages"),
        ("[data]\npath = 7", r"data\.path"),
        ("[train]\n" + "a." * 900 + "a = 1", "setting"),
        ("[train]\n" + "a." * 20_000 + "a = 1", "40,005"),
        ("#" * 70_000, "70,000"),
        ('[train]\n"\\u001b[2J" = 1', "setting"),
        ("\x1b[2J = 1", "TOML"),
    ],
)
def test_a_recipe_that_means_harm_is_refused(tmp_path, text, noun):
    (tmp_path / "a.toml").write_text(text)
    start = time.process_time()
    with pytest.raises(ConfigError, match=noun) as caught:
        build_config(str(tmp_path / "a.toml"), {}).train.steps.bit_length() > 1000 or pytest.fail("was read")
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused_and_a_byte_order_mark_is_read(tmp_path, encoding):
    text = "[data]\npath = 'hühner'\n"
    (tmp_path / "a.toml").write_bytes(text.encode("utf-8-sig"))
    assert read_recipe(str(tmp_path / "a.toml")) == {"data.path": "hühner"}
    (tmp_path / "b.toml").write_bytes(text.encode(encoding))
    with pytest.raises(ConfigError, match=r"b\.toml"):
        read_recipe(str(tmp_path / "b.toml"))


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "loop", "long"])
def test_a_recipe_that_is_no_file_never_hangs(tmp_path, what):
    path = tmp_path / "a.toml"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "long":
        path = tmp_path / ("x" * 5000)
    else:
        path.symlink_to("/dev/zero" if what == "device" else path)
    with pytest.raises(ConfigError) as caught:
        read_recipe(str(path))
    assert printable(caught.value.message)


def test_thousands_of_dotted_keys_take_no_time(tmp_path):
    lines = [f"{'a.' * 900}a{number} = 1" for number in range(34)]
    (tmp_path / "a.toml").write_text("[train]\n" + "\n".join(lines))
    start = time.process_time()
    with pytest.raises(ConfigError, match="setting"):
        read_recipe(str(tmp_path / "a.toml"))
    assert time.process_time() - start < 10
