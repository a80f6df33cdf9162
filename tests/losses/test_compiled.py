"""The contract of every loss once more, compiled: what `compile_loss` gives is the eager loss."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, SmoothIoU, compile_loss, load_loss
from tests.engine.tiny import needs_gloo
from tests.losses.cases import EXTREME_DELTAS, EXTREME_SHAPES, NAMES, check_contract, deltas, run, some_anchors

# The C++ of a graph takes a minute to compile where it is not cached: what runs it is `slow`. The graph itself and its
# gradient, run by torch's own operations, take seconds.
QUICK = ("smooth-iou",)


def each_loss(function):
    return pytest.mark.slow(pytest.mark.parametrize("name", NAMES)(function))


@functools.cache
def compiled(name: str) -> torch.nn.Module:
    return compile_loss(load_loss(name))  # type: ignore[return-value]


def plain_tanh(pred: Tensor, target: Tensor, *, weights, anchors) -> Tensor:
    return torch.tanh(pred - target).square().sum(1)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_is_one_graph(name):
    torch._dynamo.reset()
    loss = LOSSES[name]()
    one_graph = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    rows = deltas(9, dtype=torch.float32)
    for ours, expected in zip(run(one_graph, **rows), run(LOSSES[name](), **rows), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@each_loss
def test_value_and_gradient_are_those_of_the_eager_loss(name):
    for count in (0, 1, 2, 500, 5000):
        rows = deltas(count, dtype=torch.float32)
        value, gradient = run(compiled(name), **rows)
        expected, expected_gradient = run(LOSSES[name](), **rows)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]


@each_loss
def test_finite_in_range_and_zero_at_equality(name):
    picks = torch.randint(len(EXTREME_DELTAS), (2, 3000, 4), generator=torch.Generator().manual_seed(0))
    check_contract(name, compiled(name), *torch.tensor(EXTREME_DELTAS)[picks], anchors=some_anchors(3000))
    same = torch.cat((torch.tensor(EXTREME_SHAPES), torch.randn(50, 4, generator=torch.Generator().manual_seed(1))))
    value, gradient = run(compiled(name), same, same.clone(), anchors=some_anchors(len(same)))
    # A fused multiply-add may leave a rounding where the eager formula has none.
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_one_graph_serves_every_number_of_boxes():
    counters = torch._dynamo.utils.counters
    loss = compiled("smooth-iou")
    run(loss, **deltas(40, dtype=torch.float32))
    before = counters["stats"]["unique_graphs"]
    assert before > 0
    for count in (2, 7, 333):
        run(loss, **deltas(count, dtype=torch.float32))
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.slow
def test_a_gradient_that_shall_be_differentiated_again_is_refused():
    rows = deltas(9, dtype=torch.float32)
    pred = rows["pred"].requires_grad_()
    value = compiled("smooth-iou")(pred, rows["target"], anchors=rows["anchors"])
    with pytest.raises(ConfigError, match="twice"):
        torch.autograd.grad(value.sum(), pred, create_graph=True)


def test_stands_in_for_the_loss():
    loss = SmoothIoU(lam="ema")
    wrapped = compile_loss(loss)
    assert compile_loss(wrapped) is wrapped
    assert isinstance(wrapped, torch.nn.Module)
    assert wrapped.stateful
    assert wrapped.info is SmoothIoU.info
    assert compile_loss(SmoothIoU(lam="image")).needs_images  # type: ignore[attr-defined]
    assert compile_loss(load_loss("mpdiou")).needs_image_sizes  # type: ignore[attr-defined]
    rows = deltas(1)
    value = wrapped(rows["pred"], rows["target"])  # one box: eager
    assert torch.equal(wrapped.last_lambda, loss.last_lambda)
    assert list(wrapped.state_dict()) == ["rule.average"]
    again = SmoothIoU(lam="ema")
    again.load_state_dict(wrapped.state_dict())
    for copied in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        copied.load_state_dict(loss.state_dict())
        assert copied.state_dict()["rule.average"].equal(loss.state_dict()["rule.average"])
    assert torch.equal(wrapped.on_boxes(rows["pred"], rows["pred"]), torch.zeros_like(value))
    with pytest.raises(ConfigError, match="shape"):
        wrapped(torch.zeros(3, 4), torch.zeros(2, 4))


def test_a_loss_that_cannot_be_compiled_runs_eagerly_after_a_warning(monkeypatch):
    def no_compiler(function, **options):
        def fail(*args, **kwargs):
            raise RuntimeError("no C compiler")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    loss = compile_loss(plain_tanh)
    rows = deltas(4)
    with pytest.warns(UserWarning, match="no C compiler"):
        value = loss(rows["pred"], rows["target"], weights=(1, 1, 1, 1), anchors=rows["anchors"])
    assert torch.equal(value, plain_tanh(rows["pred"], rows["target"], weights=None, anchors=None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(rows["pred"], rows["target"], weights=(1, 1, 1, 1), anchors=rows["anchors"])


def before_and_after_the_group(rank: int, folder: str) -> None:
    loss = compile_loss(SmoothIoU())
    rows = deltas(8, seed=rank, dtype=torch.float32)
    loss(rows["pred"], rows["target"])
    single = loss.last_lambda  # type: ignore[attr-defined]
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    value = loss(rows["pred"].requires_grad_(), rows["target"])
    value.sum().backward()
    second = compile_loss(SmoothIoU())
    second(rows["pred"], rows["target"])
    lambdas = [single, loss.last_lambda, second.last_lambda]  # type: ignore[attr-defined]
    torch.save((lambdas, value.detach(), rows["pred"].grad), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@needs_gloo
def test_lambda_is_global_also_if_the_group_appears_after_the_first_call(tmp_path: Path):
    multiprocessing.spawn(before_and_after_the_group, args=(str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    rows = [deltas(8, seed=rank, dtype=torch.float32) for rank in (0, 1)]
    both = [torch.cat([of_rank[key] for of_rank in rows]) for key in ("pred", "target")]
    eager = SmoothIoU()
    expected, expected_gradient = run(eager, *both)
    for lambdas, _, _ in ranks:
        assert not torch.isclose(lambdas[0], eager.last_lambda)
        torch.testing.assert_close(torch.stack(lambdas[1:]), eager.last_lambda.expand(2))
    torch.testing.assert_close(torch.cat([value for _, value, _ in ranks]), expected)
    torch.testing.assert_close(torch.cat([gradient for _, _, gradient in ranks]), expected_gradient)
