"""The blocks of docs/api.md run in order, with fewer steps and images."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

import smoothiou

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


@pytest.mark.slow
def test_the_page_does_what_it_says(monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert len(blocks) >= 7
    for name in ("train", "compare"):
        tiny = {"data__images": 12, "data__size": 64, "model__min_size": 64, "model__max_size": 64, "device": "cpu"}
        monkeypatch.setattr(smoothiou, name, functools.partial(getattr(smoothiou, name), **tiny))
    namespace: dict = {}
    for block in blocks:
        exec(compile(re.sub(r"steps=\d+", "steps=2", block), str(PAGE), "exec"), namespace)
    assert namespace["run"].folder == Path("runs/shapes-smooth-iou-seed0")
    assert namespace["study"].verdict() in capsys.readouterr().out
    assert namespace["same"].folder == namespace["best"].folder
    assert len(namespace["batch"]) == 4
