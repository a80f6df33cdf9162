"""Helper processes: the same numbers with and without them, and what happens when one is lost."""

from __future__ import annotations

import time

import pytest
import torch

from smoothiou.errors import SmoothIoUError
from smoothiou.lab.cases import draw_cases
from smoothiou.lab.descent import descend
from smoothiou.lab.gradients import exact_gradient, published_gradient
from smoothiou.lab.team import Team


@pytest.fixture(scope="module")
def team():
    with Team(3, least_chunks=4) as team:
        yield team


def small_chunks(make, spec):
    gradient = make(spec)
    for part in (gradient, getattr(gradient, "overlap", gradient), getattr(gradient, "huber", gradient)):
        part.chunk = 150
    return gradient


@pytest.mark.parametrize(
    ("make", "spec"),
    [
        (published_gradient, "giou"),
        (exact_gradient, "giou"),
        (exact_gradient, "smooth-iou"),
        (exact_gradient, "smooth-iou[detach=false]"),
    ],
)
@pytest.mark.filterwarnings("ignore:SmoothIoU")
def test_helpers_change_no_bit_of_a_result(team, make, spec):
    cases = draw_cases(3, seed=4)
    alone = descend(cases.anchors, cases.targets, small_chunks(make, spec))
    shared = descend(cases.anchors, cases.targets, small_chunks(make, spec), team=team)
    assert (alone.workers, shared.workers) == (1, 3)
    assert shared.error == alone.error
    assert shared.mean_iou == alone.mean_iou
    assert shared.above == alone.above
    assert shared.inverted == alone.inverted
    assert torch.equal(shared.boxes, alone.boxes)
    assert torch.equal(shared.iou, alone.iou)


def test_short_descents_need_no_helper():
    cases = draw_cases(1)
    with Team(2) as team:
        assert descend(cases.anchors, cases.targets, published_gradient("iou"), team=team).workers == 1
        assert team.helpers(15) == []
    with Team(1, least_chunks=1) as team:
        assert team.helpers(100) == []


def test_a_loss_of_your_own_reaches_the_helpers_and_may_print(tmp_path, monkeypatch, team):
    (tmp_path / "own_shared.py").write_text(
        "import torch\n"
        "class Loud(torch.nn.Module):\n"
        "    def on_boxes(self, pred, target, *, box_format='xyxy'):\n"
        "        print('computing')\n"
        "        return (pred - target).square().sum(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cases = draw_cases(2)
    with Team(2, least_chunks=1) as own:  # started after the folder was put on the path
        found = descend(cases.anchors, cases.targets, small_chunks(exact_gradient, "own_shared:Loud"), team=own)
    assert found.workers == 2
    assert found.mean_iou[-1] > 0.99


def test_what_fails_in_a_helper_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "own_failing.py").write_text(
        "import os, torch\n"
        "class Failing(torch.nn.Module):\n"
        "    parent = os.getpid()\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.born = os.getpid()\n"
        "    def on_boxes(self, pred, target, *, box_format='xyxy'):\n"
        "        if os.getpid() != self.born:\n"
        "            raise ValueError('not here')\n"
        "        return (pred - target).square().sum(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cases = draw_cases(2)
    with (
        Team(2, least_chunks=1) as own,
        pytest.raises(SmoothIoUError, match="A helper process of the simulation failed: ValueError: not here"),
    ):
        descend(cases.anchors, cases.targets, small_chunks(exact_gradient, "own_failing:Failing"), team=own)


def test_a_helper_that_is_killed_is_told():
    cases = draw_cases(2)
    with Team(2, least_chunks=1) as own:
        (helper,) = own.helpers(10)

        def kill(step, error, iou):
            if step == 3:
                helper.process.kill()
                helper.process.wait()

        with pytest.raises(SmoothIoUError, match="ended with exit code -9"):
            descend(cases.anchors, cases.targets, small_chunks(published_gradient, "iou"), team=own, on_step=kill)


def test_helpers_end_with_their_team():
    with Team(2, least_chunks=1) as own:
        (helper,) = own.helpers(10)
        assert helper.process.poll() is None
    deadline = time.monotonic() + 10
    while helper.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert helper.process.poll() == 0
