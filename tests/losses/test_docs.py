"""The examples of docs/losses.md run, and its table is that of the losses' `info`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smoothiou.losses import LOSSES, options_of

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "losses.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=["in place of torchvision", "on boxes and on deltas", "compiled", "a loss of your own"]
)
def test_examples_run(example):
    exec(compile(example, "docs/losses.md", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_table_has_every_loss_with_its_options_and_range(name):
    row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    low, high = LOSSES[name].info.bounds
    assert cells[2] == f"{low:g} to {'∞' if high == float('inf') else f'{high:g}'}"
    assert re.findall(r"`(\w+)`", cells[3]) == list(options_of(name))
    assert (cells[4] == "yes") == LOSSES[name].info.vanishes_when_disjoint
