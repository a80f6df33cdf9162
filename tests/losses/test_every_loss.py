"""What every loss of `LOSSES` must keep; a new loss is covered by having a name and a card."""

from __future__ import annotations

import inspect
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from smoothiou import boxes
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, load_loss

CATALOGUE = {name: loss.info for name, loss in LOSSES.items()}

WEIGHTS = boxes.DELTA_WEIGHTS
finite_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.fixture(params=sorted(LOSSES))
def name(request) -> str:
    return request.param


@pytest.fixture
def loss(name) -> nn.Module:
    return LOSSES[name]()


def positives(count: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Deltas as a detector meets them: anchors in pixels, targets near them, predictions near those."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    corner = draw(count, 2) * 300
    anchors = torch.cat((corner, corner + 20 + draw(count, 2) * 100), 1)
    target = (draw(count, 4) - 0.5) * 4
    pred = target + (draw(count, 4) - 0.5) * 6
    return {"pred": pred.to(dtype), "target": target.to(dtype), "anchors": anchors.to(dtype)}


def run(loss: nn.Module, pred: Tensor, target: Tensor, anchors: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return (loss (K,), gradient of its sum to the predictions)."""
    pred = pred.clone().requires_grad_()
    value = loss(pred, target, weights=WEIGHTS, anchors=anchors)
    value.sum().backward()
    assert pred.grad is not None
    return value.detach(), pred.grad


def some_anchors(count: int) -> Tensor:
    return torch.tensor([[10.0, 20.0, 60.0, 100.0]]).expand(count, 4)


def test_has_a_card_and_every_card_a_loss(name):
    assert CATALOGUE[name].name == name
    assert LOSSES[name].info is CATALOGUE[name]
    assert set(CATALOGUE) == set(LOSSES)
    assert inspect.getdoc(LOSSES[name])
    assert len(CATALOGUE[name].summary) < 100


def test_one_value_for_each_box_without_parameters_or_state(loss):
    value, gradient = run(loss, **positives(7))
    assert value.shape == (7,)
    assert gradient.shape == (7, 4)
    assert (gradient != 0).any(1).all()
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


def test_boxes_do_not_see_each_other_but_through_lambda(name, loss):
    both = positives(6)
    value, _ = run(loss, **both)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled, _ = run(loss, **{key: rows[order] for key, rows in both.items()})
    torch.testing.assert_close(shuffled, value[order])
    if name != "smooth-iou":  # the others have no lambda, or a fixed one
        alone, _ = run(loss, **{key: rows[:1] for key, rows in both.items()})
        torch.testing.assert_close(alone, value[:1])


def test_no_boxes_give_a_loss_that_can_still_be_trained_on(loss):
    value, gradient = run(loss, torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4))
    assert value.shape == (0,)
    assert gradient.shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_equal_boxes_have_loss_and_gradient_zero(loss, dtype):
    rows = [[0.3, -0.7, 1.1, 0.2], [0, 0, 0, 0], [6e4, -6e4, 0, 0], [0, 0, -6e4, -6e4], [1, 2, 6e4, 6e4]]
    if dtype != torch.float16:
        rows.append([1e30, -1e30, 1e30, -1e30])
    same = torch.tensor(rows, dtype=dtype)
    value, gradient = run(loss, same, same, some_anchors(len(rows)).to(dtype))
    assert torch.equal(value, torch.zeros_like(value))
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_gradcheck(name, loss):
    # Predictions stay clear of the kinks: |z| = delta, and sides that coincide.
    rows = positives(12, seed=3)
    if name == "ciou":
        # Its weight alpha is a constant to autograd but not to finite differences: see test_oracles.py.
        loss = LOSSES["diou"]()
    if isinstance(getattr(loss, "lam", None), str):
        # Lambda is a constant to autograd but not to finite differences: hold it at its value.
        loss(rows["pred"], rows["target"])
        held = LOSSES["smooth-iou"](lam=float(loss.last_lambda))
        _, expected = run(held, **rows)
        _, got = run(loss, **rows)
        torch.testing.assert_close(got, expected)
        loss = held
    pred = rows["pred"].requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, rows["target"], weights=WEIGHTS, anchors=rows["anchors"]), pred)


def test_a_step_against_the_gradient_lowers_the_loss(loss):
    rows = positives(64, seed=4)
    value, gradient = run(loss, **rows)
    lower, _ = run(loss, rows["pred"] - 1e-4 * gradient, rows["target"], rows["anchors"])
    assert lower.sum() < value.sum()


def test_float32_agrees_with_float64(loss):
    exact, exact_gradient = run(loss, **positives(500, seed=5))
    value, gradient = run(loss, **positives(500, seed=5, dtype=torch.float32))
    assert exact.dtype == torch.float64
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    # A rounded number may fall on the other side of a kink: one of 2,000 codes is forgiven.
    wrong = (gradient.double() - exact_gradient).abs() > 1e-4 + 1e-4 * exact_gradient.abs()
    assert wrong.sum() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(loss, dtype):
    half = positives(50, seed=6, dtype=dtype)
    value, gradient = run(loss, **half)
    expected, expected_gradient = run(loss, **{key: rows.float() for key, rows in half.items()})
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.equal(value, expected)
    assert torch.equal(gradient, expected_gradient.to(dtype))


def test_mixed_precision_is_computed_in_the_wider_one(loss):
    rows = positives(5)
    value, _ = run(loss, rows["pred"].half(), rows["target"].float(), rows["anchors"].float())
    assert value.dtype == torch.float32


@given(numbers=st.lists(finite_floats, min_size=16, max_size=16))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_finite_input_has_a_finite_loss_in_its_range_and_a_finite_gradient(name, numbers):
    check_finite(name, torch.tensor(numbers[:8]).view(2, 4), torch.tensor(numbers[8:]).view(2, 4))


EXTREMES = [
    0.0,
    1e-45,
    1e-38,
    1e-20,
    1.0,
    1 + 2**-23,
    20.0,
    -20.0,
    700.0,
    -700.0,
    1e10,
    1e30,
    -1e30,
    3e38,
    -3e38,
]


@given(numbers=st.lists(st.sampled_from(EXTREMES), min_size=16, max_size=16))
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_so_has_every_input_made_of_extremes(name, numbers):
    check_finite(name, torch.tensor(numbers[:8]).view(2, 4), torch.tensor(numbers[8:]).view(2, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_so_has_the_largest_half_precision_number(name, dtype):
    largest = torch.finfo(dtype).max
    pred = torch.tensor([[largest, -largest, largest, -largest], [-largest, 0, -largest, largest]], dtype=dtype)
    check_finite(name, pred, -pred)


def check_finite(name: str, pred: Tensor, target: Tensor) -> None:
    value, gradient = run(LOSSES[name](), pred, target, some_anchors(2).to(pred.dtype))
    low, high = CATALOGUE[name].bounds
    assert value.isfinite().all()
    assert (value >= low).all()
    assert (value <= high).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_prediction_that_is_no_number_stays_visible(name, broken):
    pred = torch.tensor([[broken, 0.0, 0.0, 0.0]])
    assert not LOSSES[name]()(pred, torch.zeros(1, 4), anchors=some_anchors(1)).isfinite().all()


def test_disjoint_boxes_have_a_gradient_or_none_as_the_card_says(name, loss):
    # Four anchor widths apart, along both axes.
    _, gradient = run(loss, torch.tensor([[40.0, 40.0, 0.5, 0.5]]), torch.zeros(1, 4), some_anchors(1))
    centre = gradient[0, :2]
    assert (centre == 0).all() == CATALOGUE[name].vanishes_when_disjoint
    if name == "siou":
        # By its formula the distance counts less at 45 degrees: the longer way is shortened at the other's cost.
        assert centre.sum() > 0
    elif not CATALOGUE[name].vanishes_when_disjoint:
        # Descent moves the centre back to the target.
        assert (centre > 0).all()
    if name == "bounded-iou":
        assert (gradient[0, 2:] > 0).all()  # its sizes still learn
    elif CATALOGUE[name].vanishes_when_disjoint:
        assert (gradient == 0).all()


def test_the_gradient_points_home_from_all_sides(loss):
    # Overlapping boxes of the target's size, moved by 0.2 of it along x.
    pred = torch.tensor([[2.0, 0.0, 0.0, 0.0], [-2.0, 0.0, 0.0, 0.0]])
    _, gradient = run(loss, pred, torch.zeros(2, 4), some_anchors(2))
    assert gradient[0, 0] > 0
    assert gradient[1, 0] < 0


class Watch(TorchDispatchMode):
    """Record every operation by name; fail on those that wait for the device or whose size depends on data."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "item", "unique", "_to_copy")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        operation = func.overloadpacket.__name__
        self.seen.append(operation)
        if operation in self.WAITING:
            raise AssertionError(f"{operation} waits for the device")
        if operation.startswith("index"):
            raise AssertionError(f"{operation}: indexing by a mask waits for the device")
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device(loss):
    rows = positives(9, dtype=torch.float32)
    pred = rows["pred"].requires_grad_()
    with Watch() as watch:
        loss(pred, rows["target"], weights=WEIGHTS, anchors=rows["anchors"]).sum().backward()
    assert len(watch.seen) > 3
    assert len(watch.seen) < 260, "a loss that is called twice in every step should be few operations"


def test_the_watch_sees_what_waits():
    with pytest.raises(AssertionError, match="waits"), Watch():
        torch.arange(3.0).sum().item()
    with pytest.raises(AssertionError, match="waits"), Watch():
        torch.arange(3.0)[torch.arange(3.0) > 1]


def test_runs_on_a_device_that_holds_no_numbers(loss):
    """The meta device has shapes but no values, so whatever looks at a value fails."""
    pred = torch.zeros(5, 4, device="meta", requires_grad=True)
    value = loss(pred, torch.zeros(5, 4, device="meta"), anchors=torch.zeros(5, 4, device="meta"))
    value.sum().backward()
    assert value.device.type == "meta"


def compare_compiled(loss: nn.Module, backend: str) -> None:
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    for count in (9, 4):
        rows = positives(count, seed=count, dtype=torch.float32)
        value, gradient = run(compiled, **rows)
        last_lambda = getattr(loss, "last_lambda", None)
        expected, expected_gradient = run(loss, **rows)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
        if last_lambda is not None:
            torch.testing.assert_close(last_lambda, loss.last_lambda)


def test_is_one_graph_to_the_compiler(loss):
    torch._dynamo.reset()
    compare_compiled(loss, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ciou", "smooth-iou"])
def test_compiled_agrees_with_eager(name):
    """To machine code: two losses that between them have every operation that the others have."""
    torch._dynamo.reset()
    compare_compiled(LOSSES[name](), "inductor")


def test_survives_pickling_and_is_the_same_by_name(name, loss):
    rows = positives(5)
    value, _ = run(loss, **rows)
    assert torch.equal(run(pickle.loads(pickle.dumps(loss)), **rows)[0], value)
    assert torch.equal(run(load_loss(name), **rows)[0], value)


def test_has_defaults_for_weights_and_anchors(loss):
    rows = positives(5)
    # Without anchors a loss that mixes the axes takes square ones.
    square = torch.tensor([[0.0, 0.0, 7.0, 7.0]]).repeat(5, 1)
    assert torch.equal(loss(rows["pred"], rows["target"]), run(loss, rows["pred"], rows["target"], square)[0])


def test_depends_on_the_frame_as_the_card_says(name, loss):
    rows = positives(200)
    other = rows["anchors"].clone()
    other[:, 2] += 100
    same = torch.equal(run(loss, **rows)[0], run(loss, rows["pred"], rows["target"], other)[0])
    assert same == (CATALOGUE[name].frame == "any")
    if not same:
        held = LOSSES[name](frame="anchor")
        assert torch.equal(run(held, **rows)[0], run(held, rows["pred"], rows["target"], other)[0])


@pytest.mark.parametrize(
    ("pred", "target"),
    [((3, 4), (2, 4)), ((4,), (4,)), ((3, 5), (3, 5)), ((1, 3, 4), (1, 3, 4)), ((3, 4), (1, 4))],
)
def test_a_wrong_shape_is_said_to_be_one(loss, pred, target):
    with pytest.raises(ConfigError, match=r"expected predictions and targets of one shape \(K, 4\), got"):
        loss(torch.zeros(pred), torch.zeros(target))


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu_without_waiting(loss):
    rows = positives(100, dtype=torch.float32)
    expected, expected_gradient = run(loss, **rows)
    on_device = {key: value.cuda() for key, value in rows.items()}
    run(loss, **on_device)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        value, gradient = run(loss, **on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.cpu(), expected_gradient, rtol=1e-4, atol=1e-5)
