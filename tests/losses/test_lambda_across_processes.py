"""Two processes must train on the same loss as one: lambda is the mean over the boxes of both."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from smoothiou.losses import SmoothIoU
from tests.engine.tiny import needs_gloo

COUNT = 12
OPTIONS = [{}, {"lam": "box"}, {"lam": 0.25}, {"detach": False}, {"sync": False}]

pytestmark = needs_gloo


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(COUNT, 4, generator=generator, dtype=torch.float64)
    return target + torch.randn(COUNT, 4, generator=generator, dtype=torch.float64), target


def losses_and_gradients(part: slice) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For every option: (loss, gradient of its sum, lambda) of these rows."""
    results = []
    for options in OPTIONS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = SmoothIoU(**options)
        pred, target = (whole[part] for whole in rows())
        pred = pred.clone().requires_grad_()
        value = loss(pred, target)
        value.sum().backward()
        assert pred.grad is not None
        results.append((value.detach(), pred.grad, loss.last_lambda))
    return results


def one_of_two(rank: int, folder: str, split: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    part = slice(0, split) if rank == 0 else slice(split, COUNT)
    torch.save(losses_and_gradients(part), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "split", [4, pytest.param(COUNT, marks=pytest.mark.slow)], ids=["4 and 8 boxes", "12 and none"]
)
def test_two_processes_have_the_loss_gradient_and_lambda_of_one(tmp_path: Path, split: int):
    multiprocessing.spawn(one_of_two, args=(str(tmp_path), split), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    single = losses_and_gradients(slice(0, COUNT))
    # The last option is sync=False: its lambda is each process's own, and the test must be able to see that.
    for one, two, whole in zip(first[:-1], second[:-1], single[:-1], strict=True):
        torch.testing.assert_close(torch.cat((one[0], two[0])), whole[0])
        torch.testing.assert_close(torch.cat((one[1], two[1])), whole[1])
    for option in (0, 3):
        torch.testing.assert_close(first[option][2], single[option][2])
        torch.testing.assert_close(second[option][2], single[option][2])
    if split < COUNT:
        assert not torch.isclose(first[-1][2], second[-1][2])
        assert not torch.allclose(torch.cat((first[-1][0], second[-1][0])), single[-1][0])
