"""The numbers of the interactive page are those of the losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from smoothiou.boxes import aligned_iou, to_xyxy
from smoothiou.errors import ConfigError
from smoothiou.lab.grid import NUMBERS, REACH, SIDES, loss_grid, unpack
from smoothiou.lab.pairs import SinglePairLoss
from smoothiou.losses import LOSSES

TRUTH = torch.tensor([[30.0, 30.0, 50.0, 50.0]], dtype=torch.float64)
HERE = "tests.lab.test_grid"
# Indices of width, height, y and x in the arrays: equal boxes, contact, a corner, one inside the other, far off.
PLACES = [(2, 2, 0, 0), (2, 2, 0, 20), (2, 2, 0, 10), (1, 3, 13, 7), (4, 4, 4, 3), (0, 4, 29, 31), (3, 0, 40, 40)]


class RightSideOnly(nn.Module):
    """Pulls one side, so its mirror image is another loss."""

    def on_boxes(self, pred, target):
        return (pred - target)[:, 2].square()


class TooLarge(nn.Module):
    """Leaves half precision."""

    def on_boxes(self, pred, target):
        return (pred - target).square().sum(-1) * 1e4


@pytest.mark.parametrize("loss", ["huber", "iou", "smooth-iou", "smooth-iou[lam=0.5,delta=2]"])
def test_numbers_are_the_loss_and_its_gradient(loss):
    stored = unpack(loss_grid([loss]).losses[0].packed, len(NUMBERS))
    assert stored.shape == (5, len(SIDES), len(SIDES), REACH + 1, REACH + 1)
    for w, h, y, x in PLACES:
        centre = torch.tensor([[40.0 + x, 40.0 + y, SIDES[w], SIDES[h]]], dtype=torch.float64, requires_grad=True)
        pair = SinglePairLoss(loss)
        value, corners = pair(to_xyxy(centre, box_format="cxcywh"), TRUTH)
        # By the chain rule of the conversion, not by our own formula for it.
        (gradient,) = torch.autograd.grad(to_xyxy(centre, box_format="cxcywh"), centre, corners)
        expected = [float(value), *gradient[0].tolist()]
        assert stored[:, w, h, y, x] == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_a_loss_that_is_no_mirror_image_keeps_all_positions():
    whole, half = loss_grid([f"{HERE}:RightSideOnly", "huber"]).losses
    assert whole.whole
    assert not half.whole
    stored = unpack(whole.packed, len(NUMBERS), whole=True)
    for w, h, y, x in PLACES:
        for side in (-1, 1):
            apart = side * x + (SIDES[w] - 20) / 2  # of the right sides
            expected = [apart**2, 2 * apart, 0, apart, 0]
            assert stored[:, w, h, REACH - y, REACH + side * x] == pytest.approx(expected, rel=1e-3)


def test_overlap_is_kept_too():
    iou = unpack(loss_grid(["huber"]).iou, 1)[0]
    for w, h, y, x in PLACES:
        box = to_xyxy(torch.tensor([[40.0 + x, 40.0 + y, SIDES[w], SIDES[h]]]), box_format="cxcywh")
        assert iou[w, h, y, x] == pytest.approx(float(aligned_iou(box, TRUTH.float())), abs=5e-4)


def test_the_whole_shelf_fits_into_a_few_megabytes():
    grid = loss_grid(tuple(LOSSES))
    assert [loss.loss for loss in grid.losses] == list(LOSSES)
    assert all(loss.summary and loss.formula for loss in grid.losses)
    # As text, four signs stand for three bytes.
    assert sum(len(loss.packed) for loss in grid.losses) * 4 / 3 < 4e6


def test_equal_input_gives_equal_bytes():
    assert loss_grid(["iou"]) == loss_grid(["iou"])
    assert np.array_equal(
        unpack(loss_grid(["iou", "huber"]).losses[1].packed, 5), unpack(loss_grid(["huber"]).losses[0].packed, 5)
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (f"{HERE}:TooLarge", "above 65504"),
        ("hubert", "Did you mean"),
    ],
)
def test_what_cannot_be_shown_is_said(spec, said):
    with pytest.raises(ConfigError) as caught:
        loss_grid([spec])
    assert said in str(caught.value)
