"""The exact gradients of the simulation: against autograd in float64, with lambda over all boxes, and their curves."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou.errors import ConfigError
from smoothiou.lab.cases import ALL_CASES, draw_cases
from smoothiou.lab.descent import descend
from smoothiou.lab.gradients import LambdaOfAll, LossGradient, exact_gradient, published_gradient
from smoothiou.losses import LOSSES, load_loss
from smoothiou.losses._base import PairLoss
from tests.lab.test_descent import evenly_spread


def to_corners(boxes):
    return torch.cat((boxes[:2] - boxes[2:] / 2, boxes[:2] + boxes[2:] / 2)).t()


def slope(of, boxes):
    leaf = boxes.detach().requires_grad_()
    return torch.autograd.grad(of(leaf).sum(), leaf)[0]


def some_cases():
    return draw_cases(4, seed=2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_gradients_are_those_of_torchvisions_losses(name, reference):
    cases = some_cases()
    expected = slope(lambda boxes: reference(to_corners(boxes), to_corners(cases.targets)), cases.anchors)
    found = exact_gradient(name)(cases.anchors, cases.targets)
    # torchvision adds 1e-7 to denominators.
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if issubclass(loss, PairLoss)])
def test_corners_are_a_detour_only(name):
    cases, loss = some_cases(), load_loss(name)
    direct = slope(
        lambda boxes: loss.on_boxes(boxes.t(), cases.targets.t(), box_format="cxcywh"),
        cases.anchors,  # type: ignore[attr-defined]
    )
    assert torch.allclose(exact_gradient(name)(cases.anchors, cases.targets), direct, atol=1e-9)


@pytest.mark.parametrize("spec", ["smooth-iou", "smooth-iou[detach=false]", "smooth-iou[detach=false,iou_weight=10]"])
@pytest.mark.filterwarnings("ignore:SmoothIoU")
def test_lambda_is_taken_over_all_boxes_whatever_the_chunks(spec):
    cases = some_cases()
    name, _, options = spec.partition("[")
    gradient = exact_gradient(spec)
    assert isinstance(gradient, LambdaOfAll)
    loss = load_loss(name, detach="detach" not in options, iou_weight=10.0 if "10" in options else 1.0)
    expected = slope(
        lambda boxes: loss.on_boxes(boxes.t(), cases.targets.t(), box_format="cxcywh"),
        cases.anchors,  # type: ignore[attr-defined]
    )
    gradient.chunk = 500
    chunks = [slice(start, start + 500) for start in range(0, len(cases), 500)]
    count = len(cases)
    observed = sum(gradient.observe(cases.anchors[:, chunk], cases.targets[:, chunk]) for chunk in chunks)
    iou = 1 - load_loss("iou").on_boxes(to_corners(cases.anchors), to_corners(cases.targets))  # type: ignore[attr-defined]
    gradient.prepare(iou.mean().item(), observed / count)
    found = torch.cat([gradient(cases.anchors[:, chunk], cases.targets[:, chunk]) for chunk in chunks], dim=1)
    assert torch.allclose(found, expected, atol=1e-9)


def test_a_loss_of_your_own_that_couples_boxes_gets_them_all_at_once(tmp_path, monkeypatch):
    (tmp_path / "own_simulated.py").write_text(
        "import torch\n"
        "class Alone(torch.nn.Module):\n"
        "    def on_boxes(self, pred, target, *, box_format='xyxy'):\n"
        "        return (pred - target).abs().sum(-1)\n"
        "class Coupled(Alone):\n"
        "    def on_boxes(self, pred, target, *, box_format='xyxy'):\n"
        "        return super().on_boxes(pred, target).square().mean().sqrt().expand(len(pred))\n"
        "def plain(pred, target, *, weights, anchors):\n"
        "    return (pred - target).abs().sum(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert exact_gradient("own_simulated:Alone").chunk is not None
    assert exact_gradient("own_simulated:Coupled").chunk is None
    with pytest.raises(ConfigError, match="own_simulated:plain: this loss has no `on_boxes`"):
        exact_gradient("own_simulated:plain")


def test_losses_that_do_not_exist():
    with pytest.raises(ConfigError, match="No loss is called 'gio'"):
        exact_gradient("gio")
    with pytest.raises(ConfigError, match="the published code has no such loss"):
        published_gradient("huber")


@pytest.mark.filterwarnings("ignore:SmoothIoU")
def test_no_loss_of_the_shelf_is_taken_for_coupled_but_smooth_iou():
    for name in LOSSES:
        assert exact_gradient(name).chunk is not None
    assert isinstance(exact_gradient("smooth-iou[lam=box]"), LossGradient)
    assert not isinstance(exact_gradient("smooth-iou[lam=box]"), LambdaOfAll)


# An independent run with exact gradients in float64 on 137,200 cases: as in test_descent.py.
INDEPENDENT = {
    "giou": ((2.13, 0.63, 0.33, 0.033), 289, 0.988),
    "diou": ((3.11, 0.77, 0.31, 0.060), 360, 0.981),
    "ciou": ((2.74, 0.53, 0.26, 0.008), 321, 0.995),
    "efficient-iou": ((2.20, 0.38, 0.27, 0.003), 271, 0.998),
    "iou-squared": ((6.49, 6.37, 6.30, 6.27), 1283, 0.078),
    "huber": ((0.009, 0.0, 0.0, 0.0), 38, 1.000),
    "smooth-iou": ((0.25, None, 0.21, 0.005), 73, 0.9955),
    "smooth-iou[lam=box]": ((0.28, None, 0.25, 0.006), 76, 0.9944),
    "smooth-iou[detach=false]": ((1.20, None, 1.21, 1.22), 262, 0.134),
    "smooth-iou[lam=box,detach=false]": ((0.98, None, 1.01, 0.98), 223, 0.200),
}


@pytest.mark.parametrize("spec", INDEPENDENT)
@pytest.mark.filterwarnings("ignore:SmoothIoU")
def test_exact_curves_are_those_of_an_independent_run(spec):
    points, area, iou = INDEPENDENT[spec]
    cases = evenly_spread(40)
    found = descend(cases.anchors, cases.targets, exact_gradient(spec))
    millions = [error * ALL_CASES / 1e6 for error in found.error]
    for step, expected in zip((50, 100, 160, 200), points, strict=True):
        if expected is not None:
            assert millions[step] == pytest.approx(expected, rel=0.12, abs=0.02)
    assert sum(millions[1:]) == pytest.approx(area, rel=0.08)
    assert found.mean_iou[-1] == pytest.approx(iou, abs=0.02)


def test_exact_gradients_undo_the_published_order():
    # The point of the whole: with its own gradient GIoU brings home what the published code left far away, and is
    # ahead of DIoU over the steps.
    cases = evenly_spread(20)
    area = {}
    for name in ("giou", "diou"):
        for make in (exact_gradient, published_gradient):
            error = descend(cases.anchors, cases.targets, make(name)).error
            area[name, make.__name__] = sum(error), error[-1]
    assert area["giou", "published_gradient"][1] > 20 * area["giou", "exact_gradient"][1]
    assert area["giou", "published_gradient"][0] > area["diou", "published_gradient"][0]
    assert area["giou", "exact_gradient"][0] < area["diou", "exact_gradient"][0]
