"""Wise-, Shape-, MPD-, Interp-, Inner-, Focaler-IoU and NWD: answers worked out by hand, and what their options do."""

from __future__ import annotations

import math

import pytest
import torch

from smoothiou.boxes import encode_boxes
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, load_loss
from smoothiou.losses.modifier import MODIFIED
from tests.losses.cases import check_contract, deltas, function, random_boxes, run

# A box of 20 x 10 and its target, 5 to the right: intersection 150, union 250, IoU .6; the enclosing box
# is 25 x 10.
PRED = torch.tensor([[0.0, 0.0, 20.0, 10.0]], dtype=torch.float64)
RIGHT = PRED + torch.tensor([5.0, 0.0, 5.0, 0.0], dtype=torch.float64)
# The same centre, twice as wide: IoU .5.
WIDER = torch.tensor([[-10.0, 0.0, 30.0, 10.0]], dtype=torch.float64)
# A gap of 5 between them.
APART = PRED + torch.tensor([25.0, 0.0, 25.0, 0.0], dtype=torch.float64)

ANSWERS = {
    ("wise-iou", "right"): (RIGHT, {}, math.exp(25 / 725) * 0.4),  # distance 5, diagonal^2 of 25 x 10
    ("wise-iou", "apart"): (APART, {}, math.exp(625 / 2125)),  # distance 25 in 45 x 10; 1 - IoU is 1
    ("shape-iou", "right"): (RIGHT, {}, 0.4 + 25 / 725),  # scale 0: both weights are 1, the shapes are equal
    # Scale 1, target 20 x 10: ww = 2 * 20 / 30, hh = 2 * 10 / 30; hh goes with dx.
    ("shape-iou", "scale 1"): (RIGHT, {"scale": 1}, 0.4 + (2 / 3) * 25 / 725),
    # Widths 20 and 40: |dw| / the larger = 1/2; Omega = (1 - e^-.5)^4, of which half counts.
    ("shape-iou", "wider"): (WIDER, {}, 0.5 + 0.5 * (1 - math.exp(-0.5)) ** 4),
    ("mpdiou", "right"): (RIGHT, {}, 0.4 + 2 * 25 / (2 * 640**2)),  # both corners are 5 off
    ("mpdiou", "small image"): (RIGHT, {"side": 10}, 0.4 + 2 * 25 / 200),
    # On the way at .98: 5 * .02 = .1 off, intersection 199 of 201.
    ("interp-iou", "right"): (RIGHT, {}, 0.4 + 1 - 199 / 201),
    ("interp-iou", "half way"): (RIGHT, {"alpha": 0.5}, 0.4 + 1 - 175 / 225),
    ("interp-iou", "dynamic"): (RIGHT, {"alpha": "dynamic"}, 0.4 + 1 - 180 / 220),  # 1 - IoU = .4, at least .6: 2 off
    ("interp-iou", "apart"): (APART, {}, 1 + 1 - 195 / 205),  # 25 * .02 = .5 off
    ("inner-iou", "half size"): (RIGHT, {"ratio": 0.5}, 1 - 25 / 75),  # 10 x 5 boxes, 5 off
    ("inner-iou", "twice the size"): (APART, {"ratio": 2}, 1 - 300 / 1300),  # 40 x 20 boxes, 25 off, still meet
    # GIoU's enclosing box is 250, all of it covered: only IoU is another one.
    ("inner-iou", "of giou"): (RIGHT, {"ratio": 0.5, "of": "giou"}, 1 - 25 / 75),
    ("inner-iou", "of diou"): (RIGHT, {"ratio": 0.5, "of": "diou"}, 1 - 25 / 75 + 25 / 725),
    ("focaler-iou", "right"): (RIGHT, {}, 1 - 0.6 / 0.95),
    ("focaler-iou", "a stretch"): (RIGHT, {"low": 0.5, "high": 0.75}, 1 - 0.1 / 0.25),
    ("focaler-iou", "good enough"): (RIGHT, {"low": 0.1, "high": 0.6}, 0.0),
    ("focaler-iou", "of giou, apart"): (APART, {"of": "giou"}, 1 + (450 - 400) / 450),
    ("nwd", "right"): (RIGHT, {}, 1 - math.exp(-5 / 12.8)),
    ("nwd", "wider"): (WIDER, {"constant": 20}, 1 - math.exp(-10 / 20)),  # dw = 20, of which a half counts
    ("efficient-iou", "focal"): (RIGHT, {"gamma": 0.5}, math.sqrt(0.6) * (0.4 + 25 / 725)),
    # P = mean of (5 / 20, 5 / 20, 0, 0) = 1/8.
    ("powerful-iou", "right"): (RIGHT, {}, 0.4 + 1 - math.exp(-1 / 64)),
    ("powerful-iou", "version 2"): (
        RIGHT,
        {"version": 2},
        3 * 1.3 * math.exp(-1 / 8) * math.exp(-((1.3 * math.exp(-1 / 8)) ** 2)) * (0.4 + 1 - math.exp(-1 / 64)),
    ),
}


@pytest.mark.parametrize(("name", "case"), ANSWERS, ids=[f"{name}, {case}" for name, case in ANSWERS])
def test_answers_worked_out_by_hand(name, case):
    target, options, answer = ANSWERS[name, case]
    assert function(name)(PRED, target, **options).item() == pytest.approx(answer, rel=1e-6, abs=1e-12)
    on_deltas = load_loss(name, **options)(encode_boxes(PRED, RIGHT), encode_boxes(target, RIGHT), anchors=RIGHT)
    assert on_deltas.item() == pytest.approx(answer, rel=1e-6, abs=1e-12)


# Five pairs, (x1, y1, x2, y2): shifted, within, thin, larger, apart.
PAIRS = (
    [[0, 0, 20, 10], [3, 2, 17, 30], [10, 12, 14, 40], [100, 50, 180, 90], [5, 5, 9, 8]],
    [[5, 3, 27, 12], [0, 0, 20, 25], [2, 10, 30, 20], [120, 40, 170, 99], [30, 2, 60, 20]],
)
# What the authors' programs give for them in float64, with their eps at 0: Instinct323/wiou at ca97fc0 (Wise-IoU),
# malagoutou/Shape-IoU at 6cc086e, malagoutou/Inner-IoU at db9e8db, jwwangchn/NWD at 9775ac2.
AUTHORS = {
    ("wise-iou", ()): [0.673454858, 0.439206962, 0.9883321, 0.519397869, 1.548396789],
    ("wise-iou", (("version", 3),)): [0.477070108, 0.235412147, 0.861703774, 0.317212031, 1.413453951],
    ("shape-iou", ()): [0.690104077, 0.446820333, 1.072645154, 0.528282114, 1.544763332],
    ("shape-iou", (("scale", 1.0),)): [0.675900613, 0.446726263, 1.100941822, 0.529172733, 1.444720122],
    ("shape-iou", (("scale", 0.5),)): [0.6826419, 0.446743841, 1.079970344, 0.528681517, 1.491693108],
    ("inner-iou", (("of", "ciou"),)): [0.821207619, 0.500836562, 1.211077742, 0.528126743, 1.437238532],
    ("inner-iou", (("of", "siou"), ("ratio", 1.2))): [0.633329953, 0.428077607, 1.065732832, 0.529298543, 1.44464417],
    ("nwd", ()): [0.402660568, 0.315266104, 0.773821213, 0.763454018, 0.959692314],
}


@pytest.mark.parametrize(("name", "options"), AUTHORS, ids=[f"{name} {dict(options)}" for name, options in AUTHORS])
def test_values_are_those_of_the_authors_program(name, options):
    pred, target = torch.tensor(PAIRS, dtype=torch.float64)
    with torch.no_grad():  # Wise-IoU 3: before a step, when the moving mean is 1
        values = load_loss(name, **dict(options)).on_boxes(pred, target)
    assert values.tolist() == pytest.approx(AUTHORS[name, options], rel=1e-6)


NOT_THE_DEFAULT = {
    ("wise-iou", "version"): 3,
    ("shape-iou", "scale"): 2.0,
    ("mpdiou", "side"): 32.0,
    ("interp-iou", "alpha"): "dynamic",
    ("inner-iou", "ratio"): 1.5,
    ("focaler-iou", "low"): 0.3,
    ("nwd", "constant"): 1e-3,
    ("efficient-iou", "gamma"): 0.5,
    ("powerful-iou", "version"): 2,
}


@pytest.mark.parametrize(("name", "option"), NOT_THE_DEFAULT)
def test_options_keep_loss_and_gradient_finite_and_zero_at_equality(name, option):
    loss = load_loss(name, **{option: NOT_THE_DEFAULT[name, option]})
    generator = torch.Generator().manual_seed(0)
    scale = 10.0 ** torch.randint(-30, 30, (2000, 1), generator=generator)
    pred, target = torch.randn(2, 2000, 4, generator=generator) * scale
    for boxes in ((pred, target), (target, pred)):
        value, gradient = run(loss.on_boxes, *boxes)
        assert value.isfinite().all()
        assert gradient.isfinite().all()
        assert (value >= 0).all()
    value, gradient = run(loss.on_boxes, pred, pred.clone())
    assert not value.any()
    assert not gradient.any()
    row = random_boxes(8, seed=3).requires_grad_()
    once = torch.autograd.grad(loss.on_boxes(row, random_boxes(8, seed=4)).sum(), row, create_graph=True)[0]
    assert torch.autograd.grad(once.square().sum(), row)[0].isfinite().all()


@pytest.mark.parametrize("of", MODIFIED)
@pytest.mark.parametrize("name", ["inner-iou", "focaler-iou"])
def test_a_modifier_changes_the_overlap_of_any_loss_and_nothing_else(name, of):
    pred, target = random_boxes(100, seed=1), random_boxes(100, seed=2)
    modified = load_loss(name, of=of).on_boxes(pred, target) - load_loss(name).on_boxes(pred, target)
    penalty = function(of)(pred, target) - function("iou")(pred, target)
    torch.testing.assert_close(modified, penalty, rtol=1e-9, atol=1e-9)
    nothing = load_loss("focaler-iou", of=of, low=0.0, high=1.0)
    torch.testing.assert_close(nothing.on_boxes(pred, target), function(of)(pred, target), rtol=1e-9, atol=1e-9)
    rows = torch.cat((pred, target)).float() * 1e20
    assert load_loss(name, of=of).on_boxes(rows, rows.flip(0)).isfinite().all()


def test_nwd_has_a_gradient_of_one_length_however_near_and_none_at_equality():
    # Elsewhere the root's slope at 0 makes it NaN.
    for off in (1.0, 1e-3, 1e-6):
        _, gradient = run(function("nwd"), PRED + off * torch.tensor([[1.0, 0, 1, 0]]), PRED)
        pull = gradient[0, 0] + gradient[0, 2]
        assert pull.item() == pytest.approx(math.exp(-off / 12.8) / 12.8, rel=1e-6)
    _, gradient = run(function("nwd"), PRED, PRED.clone())
    assert gradient.tolist() == [[0.0] * 4]


def test_mpdiou_is_told_the_size_of_each_image():
    loss = load_loss("mpdiou")
    pair = PRED.repeat(2, 1), RIGHT.repeat(2, 1)
    sizes = torch.tensor([[30.0, 40.0], [300.0, 400.0]])
    expected = [0.4 + 50 / 2500, 0.4 + 50 / 250000]
    assert loss.on_boxes(*pair, image_sizes=sizes).tolist() == pytest.approx(expected)
    encoded = (encode_boxes(rows, pair[1]) for rows in pair)
    assert loss(*encoded, anchors=pair[1], image_sizes=sizes).tolist() == pytest.approx(expected)
    assert not load_loss("mpdiou", side=640).needs_image_sizes
    with pytest.raises(ConfigError, match="image_sizes"):
        loss.on_boxes(*pair, image_sizes=sizes[:1])


class TestWiseIoUVersion3:
    def test_the_factor_is_1_at_delta_and_largest_at_one_over_ln_alpha(self):
        loss = load_loss("wise-iou", version=3)
        top = 1 / math.log(1.7)
        beta = torch.tensor([2.7, top, top - 0.01, top + 0.01, 50.0], dtype=torch.float64)
        one, peak, below, above, outlier = loss.focus(beta).tolist()
        assert one == pytest.approx(1)
        assert peak > max(below, above)
        assert outlier < 1e-9

    def test_the_moving_mean_follows_the_batches_and_is_kept(self):
        rows = deltas(40)
        loss = load_loss("wise-iou", version=3, memory=0.5)
        assert loss.stateful
        plain = load_loss("wise-iou")(
            **{
                key.replace("pred", "pred_deltas").replace("target", "target_deltas"): value
                for key, value in rows.items()
            }
        )
        with torch.no_grad():
            start = loss(rows["pred"], rows["target"], anchors=rows["anchors"])
        iou_loss = load_loss("iou")(rows["pred"], rows["target"])
        # Before a step the mean is 1, as in the authors' code.
        torch.testing.assert_close(start, plain * loss.focus(iou_loss))
        loss(rows["pred"].requires_grad_(), rows["target"], anchors=rows["anchors"])
        with torch.no_grad():
            later = loss(rows["pred"], rows["target"], anchors=rows["anchors"])
        # One batch: the mean is that of the batch, to the precision that it is kept in.
        torch.testing.assert_close(later, plain * loss.focus(iou_loss / iou_loss.mean()), rtol=1e-5, atol=1e-6)
        copy = load_loss("wise-iou", version=3)
        copy.load_state_dict(loss.state_dict())
        with torch.no_grad():
            assert torch.equal(copy(rows["pred"], rows["target"], anchors=rows["anchors"]), later)

    def test_a_perfect_batch_leaves_no_infinity(self):
        same = random_boxes(5)
        loss = load_loss("wise-iou", version=3)
        for _ in range(3):
            value, gradient = run(loss.on_boxes, same, same.clone())
        assert not value.any()
        assert not gradient.any()
        assert loss.on_boxes(same, same + 1).isfinite().all()


def test_powerful_iou_2_pushes_far_boxes_away_as_published():
    # The factor falls faster than the loss grows once P is above .94: what docs/losses.md warns of.
    near, far = (torch.tensor([[x, 0.0, x + 10, 10.0]], dtype=torch.float64) for x in (12.0, 30.0))
    target = torch.tensor([[0.0, 0, 10, 10]], dtype=torch.float64)
    for pred, sign in ((near, 1), (far, -1)):
        _, gradient = run(lambda p, t: function("powerful-iou")(p, t, version=2), pred, target)
        assert (gradient[0, 0] + gradient[0, 2]) * sign > 0


def test_ranges_hold_with_every_option_that_is_a_name():
    pred, target = (torch.randn(5000, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    check_contract("shape-iou", lambda p, t: function("shape-iou")(p, t, scale=3.0), pred, target)
    check_contract("interp-iou", lambda p, t: function("interp-iou")(p, t, alpha="dynamic"), pred, target)
    assert set(MODIFIED) < set(LOSSES)
