"""`smoothiou losses mine:loss`: a loss of one's own is explained and tried, as the documentation writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
LOSSES = '''
import torch

from smoothiou.boxes import deltas_iou


def cubed(pred_deltas, target_deltas, *, weights, anchors, power=3):
    """Care little about poor boxes."""
    return 1 - deltas_iou(pred_deltas, target_deltas, weights=weights) ** power


def logarithm(pred_deltas, target_deltas, *, weights, anchors):
    return -torch.log(deltas_iou(pred_deltas, target_deltas, weights=weights))


def upside_down(pred_deltas, target_deltas, *, weights, anchors):
    return -(pred_deltas - target_deltas).abs().sum(dim=1)


def reduced(pred_deltas, target_deltas, *, weights, anchors):
    return (pred_deltas - target_deltas).abs().sum()


class Broken:
    def __call__(self, pred_deltas, target_deltas, *, weights, anchors):
        return (pred_deltas - target_deltas).abs().sum(dim=1)

    def on_boxes(self, pred, target):
        return pred


def of_its_batch(pred_deltas, target_deltas, *, weights, anchors):
    difference = (pred_deltas - target_deltas).abs().sum(dim=1)
    return difference * (1 + difference.mean())
'''


def trials(result) -> dict[str, bool]:
    return {trial["what"]: trial["passed"] for trial in json.loads(result.stdout)["trials"]}


def test_a_sound_loss_is_explained_and_passes(smoothiou, tmp_path):
    (tmp_path / "mine.py").write_text(LOSSES)
    result = smoothiou("losses", "mine:cubed[power=2]")
    assert result.returncode == 0, result.stderr
    assert "power=3" in result.stdout
    assert "Care little about poor boxes." in result.stdout
    assert "FAILS" not in result.stdout
    found = trials(smoothiou("losses", "mine:cubed", "--json"))
    assert not found.pop("a disjoint box is pulled"), "1 - IoU is flat there"
    assert not found.pop("it has on_boxes, for curves, simulate and FCOS"), "it is a function"
    assert all(found.values())
    assert not trials(smoothiou("losses", "mine:of_its_batch", "--json"))["a box's loss does not depend on the others"]


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("Broken", "on_boxes gives a number for each box"),
        ("logarithm", "values and gradients are finite"),
        ("upside_down", "equal boxes have the least loss"),
    ],
)
def test_a_loss_that_would_break_a_training_fails(smoothiou, tmp_path, name, failed):
    (tmp_path / "mine.py").write_text(LOSSES)
    result = smoothiou("losses", f"mine:{name}", "--json")
    assert result.returncode == 1
    assert not trials(result)[failed]


@pytest.mark.parametrize("name", ["mine:reduced", "mine:nothing", "nowhere:at_all", "mine:cubed[powers=2]"])
def test_what_cannot_be_called_is_wrong_usage(smoothiou, tmp_path, name):
    (tmp_path / "mine.py").write_text(LOSSES)
    assert smoothiou("losses", name).returncode == 2


@pytest.mark.parametrize(
    "text", ["import sys\nsys.exit()\n", "1 / 0\n", "def loss(:\n", "def loss(*_, **__): raise SystemExit"]
)
def test_a_module_or_loss_that_ends_or_fails_is_named(smoothiou, tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    result = smoothiou("losses", "mine:loss")
    assert result.returncode == 2
    assert "of one's own" in result.stderr or "mine:loss" in result.stderr
    assert "fault of smoothiou" not in result.stderr


def test_the_loss_of_the_documentation_passes_and_can_be_drawn(smoothiou, tmp_path):
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S) if "def on_boxes" in block
    )
    (tmp_path / "mine.py").write_text(code)
    name = re.search(r"class (\w+)", code)
    assert name
    assert trials(smoothiou("losses", f"mine:{name[1]}", "--json"))["it has on_boxes, for curves, simulate and FCOS"]
    import sys

    import torch

    from smoothiou.lab.pairs import SinglePairLoss

    sys.path.insert(0, str(tmp_path))
    try:
        loss = SinglePairLoss(f"mine:{name[1]}")
    finally:
        sys.path.remove(str(tmp_path))
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    value, _ = loss(box, box)
    assert value.tolist() == [0]
