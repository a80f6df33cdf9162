"""The paper's example, against numbers worked out by hand."""

from __future__ import annotations

import csv
import io

import pytest
import torch
from torch import nn

from smoothiou.errors import ConfigError
from smoothiou.lab import curves as lab
from smoothiou.lab.curves import Slide, slide, slides, slides_csv
from smoothiou.lab.pairs import SinglePairLoss
from smoothiou.losses import LOSSES

HERE = "tests.lab.test_curves"


def at(curve: Slide, x: float, what: str = "value") -> float:
    return getattr(curve, what)[curve.x.index(x)]


class Detached(nn.Module):
    """A loss of one's own that forgot its graph."""

    def on_boxes(self, pred, target):
        return (pred - target).abs().sum(-1).detach()


class OneNumber(Detached):
    """A loss of one's own that reduces."""

    def on_boxes(self, pred, target):
        return (pred - target).abs().sum()


class BatchMean(Detached):
    """A loss of one's own that looks at its mini-batch."""

    def on_boxes(self, pred, target):
        return (pred - target).abs().sum(-1) / (1 + (pred - target).abs().mean())


class DeltasOnly(nn.Module):
    """A loss of one's own that knows detectors alone."""

    def forward(self, pred_deltas, target_deltas, *, weights=None, anchors=None):
        return (pred_deltas - target_deltas).abs().sum(-1)


def test_boxes_touch_cover_and_part_where_the_paper_says():
    curve = slide("iou")
    assert curve.contact == (20, 60)
    assert at(curve, 20, "iou") == 0
    assert at(curve, 20.25, "iou") > 0
    assert at(curve, 40, "iou") == 1
    assert at(curve, 59.75, "iou") > 0
    assert at(curve, 60, "iou") == 0
    assert max(curve.iou) == at(curve, 40, "iou")


# At distance d between the centres two of the four corners differ by d.
@pytest.mark.parametrize(
    ("loss", "x", "value", "gradient"),
    [
        ("huber", 0, 2 * 40 - 1, -2),
        ("huber", 20, 2 * 20 - 1, -2),
        ("huber", 40.5, 0.5**2, 1),  # inside the parabola: d^2
        ("huber[delta=2]", 70, 2 * (2 * 30 - 2), 4),  # 2 (delta d - delta^2 / 2), slope 2 delta
        ("l1", 0, 80, -2),
        ("l2", 0, 40**2, -80),
        ("l2", 55, 15**2, 30),
        ("iou", 5, 1, 0),  # the plateau: the worst loss, and no way out of it
        ("iou", 30, 1 - 10 / 30, -40 / 30**2),  # IoU = (20 - d) / (20 + d)
        ("smooth-iou", 0, 79, -2),
        ("smooth-iou", 30, 1 / 3 * 2 / 3 + 2 / 3 * 19, -(1 / 3 * 40 / 900 + 2 / 3 * 2)),
    ],
)
def test_values_and_gradients_by_hand(loss, x, value, gradient):
    curve = slide(loss)
    assert at(curve, x) == pytest.approx(value, rel=1e-12)
    assert at(curve, x, "gradient") == pytest.approx(gradient, rel=1e-12)


def test_smooth_iou_drops_faster_than_training_pulls():
    # Lambda is a constant to autograd; the curve also falls because lambda moves from Huber to the smaller 1 - IoU.
    curve = slide("smooth-iou")
    by_lambda = 40 / 900 * (2 / 3 - 19)
    assert at(curve, 30, "slope") == pytest.approx(at(curve, 30, "gradient") + by_lambda, rel=1e-6)
    whole = slide("smooth-iou[lam=0.25]")
    assert set(whole.lam or ()) == {0.25}
    inside = [place for place, x in enumerate(whole.x) if 20.5 < x < 39.5 or 40.5 < x < 59.5]
    # Huber's curvature leaps at |d| = delta, which central differences see.
    assert [whole.slope[k] for k in inside] == pytest.approx([whole.gradient[k] for k in inside], abs=1e-4)


def test_the_gradient_through_lambda_is_the_slope_of_the_curve():
    with pytest.warns(UserWarning, match="detach=False"):
        curve = slide("smooth-iou[detach=false]")
    inside = [place for place, x in enumerate(curve.x) if 20.5 < x < 39 or 41 < x < 59.5]
    assert [curve.gradient[k] for k in inside] == pytest.approx([curve.slope[k] for k in inside], abs=1e-6)
    assert curve.value == pytest.approx(slide("smooth-iou").value)


@pytest.mark.parametrize("loss", sorted(set(LOSSES)))
def test_every_loss_of_the_shelf_is_symmetric_and_pulls_to_the_target(loss):
    curve = slide(loss)
    assert curve.value == pytest.approx(curve.value[::-1], rel=1e-9, abs=1e-9)
    mirrored = [-gradient for gradient in curve.gradient[::-1]]
    # At the kink of bounded IoU either one-sided slope may be taken, as rounding has it.
    differing = [a != pytest.approx(b, rel=1e-6, abs=1e-9) for a, b in zip(curve.gradient, mirrored, strict=True)]
    assert sum(differing) <= (2 if loss == "bounded-iou" else 0)
    assert at(curve, 40) == pytest.approx(0, abs=1e-6)
    assert at(curve, 40, "gradient") == pytest.approx(0, abs=1e-6)
    assert max(gradient for x, gradient in zip(curve.x, curve.gradient, strict=True) if x < 40) <= 1e-9
    assert at(curve, 35, "gradient") < 0


def test_figure_2_left_is_huber_outside_the_overlap_and_below_it_inside():
    drawn = slides(lab.FIGURE_2_LEFT)
    assert [curve.loss for curve in drawn[:2]] == ["huber[delta=1]", "huber[delta=1.25]"]
    for delta, huber, smooth in zip(lab.DELTAS, drawn[:5], drawn[5:], strict=True):
        assert at(huber, 0, "gradient") == pytest.approx(-2 * delta)
        for x, a, b in zip(huber.x, huber.value, smooth.value, strict=True):
            if not 20 < x < 60:
                assert b == pytest.approx(a)
            elif x != 40:
                assert b < a or abs(x - 40) <= delta  # in Huber's own parabola 1 - IoU can be the larger


def test_figure_2_right_scales_each_loss_to_one():
    for curve in slides(lab.FIGURE_2_RIGHT):
        assert max(curve.scaled) == 1
        assert curve.scaled[0] == 1
    huber, squared, smooth = slides(lab.FIGURE_2_RIGHT)
    assert at(squared, 20, "scaled") == pytest.approx(0.25)
    assert at(huber, 20, "scaled") == pytest.approx(39 / 79)
    assert at(smooth, 30, "scaled") < at(huber, 30, "scaled")


def test_figure_3_converges_to_a_smaller_value_than_huber():
    huber, smooth = slides(lab.FIGURE_3, size=lab.MISMATCH)
    assert huber.contact == (15, 65)
    assert at(huber, 15, "iou") == 0
    assert at(huber, 40) == pytest.approx(4 * (5 - 0.5))  # four corners, 5 pixels off
    overlap = 400 / 900
    assert at(smooth, 40, "iou") == pytest.approx(overlap)
    assert at(smooth, 40) == pytest.approx(overlap * (1 - overlap) + (1 - overlap) * 18)


def test_a_mini_batch_is_one_pair():
    places = (5.0, 21.0, 33.0, 40.5, 58.0)
    curve = slide("smooth-iou", x=places)
    target = lab.boxes_at(torch.tensor([40.0], dtype=torch.float64), (20, 20))
    for x, value, lam in zip(places, curve.value, curve.lam or (), strict=True):
        pred = lab.boxes_at(torch.tensor([x], dtype=torch.float64), (20, 20))
        assert value == pytest.approx(float(LOSSES["smooth-iou"]().on_boxes(pred, target)), rel=1e-12)
        assert lam == curve.iou[places.index(x)]


def test_csv_reads_back_exactly():
    drawn = slides(["huber[delta=0.5]", "smooth-iou"], size=lab.MISMATCH)
    rows = list(csv.DictReader(io.StringIO(slides_csv(drawn))))
    assert len(rows) == 2 * len(lab.positions())
    for curve in drawn:
        own = [row for row in rows if row["loss"] == curve.loss]
        for name in ("x", "iou", "value", "scaled", "gradient", "slope"):
            assert tuple(float(row[name]) for row in own) == getattr(curve, name)
        assert {(float(row["width"]), float(row["height"])) for row in own} == {lab.MISMATCH}
    lams = [row["lambda"] for row in rows]
    assert lams[0] == ""
    assert float(lams[-1]) == 0


def test_a_loss_of_ones_own_that_looks_at_its_mini_batch_is_computed_pair_by_pair():
    curve = slide(f"{HERE}:BatchMean")
    assert at(curve, 0) == pytest.approx(80 / (1 + 20))
    assert at(curve, 40) == 0
    assert at(slide(f"{HERE}:Detached"), 0, "gradient") == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hubert", "huber"),
        ("huber[beta=1]", "beta"),
        (f"{HERE}:DeltasOnly", "has no on_boxes"),
        (f"{HERE}:OneNumber", "shape ()"),
    ],
)
def test_what_cannot_be_drawn_is_said(spec, said):
    with pytest.raises(ConfigError) as caught:
        SinglePairLoss(spec)(torch.zeros(1, 4), torch.zeros(1, 4))
    assert said in str(caught.value)
