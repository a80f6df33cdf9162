"""What a box loss costs, forward and backward, against torchvision's: paired and interleaved in one run.

    python benchmarks/box_losses.py [--device cpu] [--threads 1] [--rounds 21] [--json FILE]
    python benchmarks/box_losses.py --threads 0 --counts 65536,1000000  # as many threads as torch takes by itself

torchvision has GIoU, DIoU and CIoU, by plain autograd. Every round times one forward and backward pass of each loss
of overlap and of those three, on the same boxes and in an order that rotates from round to round. What is reported is
the median over rounds of the time, and of its ratio to torchvision's CIoU of the same round with the quartiles; for
the losses that torchvision has, the same against its own one. A second timing of torchvision's CIoU shows the noise.
`fastest` is the least time of all rounds, and beside it how many times torchvision's CIoU takes as long, least
against least: on a machine that others use, this is the ratio to read. On a CPU with one thread, time is that of the
processor, which runs only while the loss does; else it is that of the clock on the wall. On a CPU, losses of overlap
here compute in NumPy, which uses one core; torchvision's compute in torch, which shares many boxes among all its
threads. One thread alone would hide that, so the large counts are to be measured with `--threads 0` as well, and on a
machine that nothing else uses: threads that wait for one without a core have taken a hundred times as long.

Operations are those that torch's formulas dispatch in a forward and backward pass, as on a GPU without our kernels;
views, which move no number, apart. Ours are counted on meta tensors, which have no numbers, since on a CPU they run
NumPy, and on a GPU with Triton the kernels of `fused_loss.py`; torchvision's on a CPU, where they are torch as
everywhere (one selects by a mask, for which meta tensors will not do).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou import losses
from smoothiou.losses.catalogue import CATALOGUE

Loss = Callable[..., Tensor]

BASE = "torchvision ciou"
AGAIN = "torchvision ciou again"
THEIRS: dict[str, Loss] = {
    "torchvision giou": generalized_box_iou_loss,
    "torchvision diou": distance_box_iou_loss,
    BASE: complete_box_iou_loss,
    AGAIN: complete_box_iou_loss,
}
OURS: dict[str, Loss] = {
    name: getattr(losses, name.replace("-", "_") + "_loss") for name, card in CATALOGUE.items() if card.space != "codes"
}
LEAST_SECONDS = 0.002
"""A pass shorter than this is repeated until it is as long, so that the clock does not matter."""


def random_pair(count: int, device: str) -> tuple[Tensor, Tensor]:
    """Return boxes of 10 to 110 pixels, and predictions that are off by up to 40 in each corner, most overlapping."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * 500
    target = torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=generator) * 100), 1)
    pred = target + (torch.rand(count, 4, generator=generator) - 0.5) * 80
    low, high = torch.minimum(pred[:, :2], pred[:, 2:]), torch.maximum(pred[:, :2], pred[:, 2:])
    return torch.cat((low, high + 1), 1).to(device).requires_grad_(), target.to(device)


class Count(TorchDispatchMode):
    """Count the operations that are dispatched, views apart."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.views = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.is_view:
            self.views += 1
        else:
            self.operations += 1
        return func(*args, **(kwargs or {}))


def one_pass(loss: Loss, pred: Tensor, target: Tensor) -> None:
    """Compute the summed loss and its gradient."""
    pred.grad = None
    loss(pred, target, reduction="sum").backward()


def count_operations(loss: Loss, device: str) -> dict[str, int]:
    """Return how many operations and views a pass dispatches for tensors of a device."""
    pred, target = (rows.detach().to(device) for rows in random_pair(64, "cpu"))
    pred.requires_grad_()
    with Count() as count:
        one_pass(loss, pred, target)
    return {"operations": count.operations, "views": count.views}


def clock_for(device: str) -> tuple[Callable[[], float], str]:
    """Return the clock to read, and which one it is."""
    if device != "cpu" or torch.get_num_threads() > 1:
        return time.perf_counter, "wall clock"
    return time.thread_time, "processor time"


def seconds(loss: Loss, pred: Tensor, target: Tensor, repeats: int) -> float:
    """Return how long a pass takes, the device's own work included."""
    if pred.is_cuda:
        torch.cuda.synchronize()
    clock, _ = clock_for(pred.device.type)
    started = clock()
    for _ in range(repeats):
        one_pass(loss, pred, target)
    if pred.is_cuda:
        torch.cuda.synchronize()
    return (clock() - started) / repeats


def measure(count: int, *, rounds: int, device: str) -> dict[str, list[float]]:
    """Return the seconds of every loss in every round."""
    pred, target = random_pair(count, device)
    table = {**THEIRS, **OURS}
    names = list(table)
    repeats = {}
    for name, loss in table.items():  # warms up as well
        seconds(loss, pred, target, 1)
        repeats[name] = max(1, round(LEAST_SECONDS / seconds(loss, pred, target, 1)))
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(seconds(table[name], pred, target, repeats[name]))
    return times


def ratio(own: list[float], base: list[float]) -> dict[str, float]:
    """Return median and quartiles of the ratio within each round."""
    low, middle, high = statistics.quantiles([a / b for a, b in zip(own, base, strict=True)], n=4)
    return {"median": middle, "low": low, "high": high}


def summary(times: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return per loss its median time, its ratio to torchvision's CIoU and to torchvision's loss of that name."""
    rows = {}
    for name, taken in times.items():
        peer = f"torchvision {name}"
        rows[name] = {
            "seconds": statistics.median(taken),
            "fastest": min(taken),
            "times_faster_than_torchvision_ciou": min(times[BASE] + times[AGAIN]) / min(taken),
            "to_torchvision_ciou": ratio(taken, times[BASE]),
            "to_its_peer": ratio(taken, times[peer]) if peer in times else None,
        }
    return rows


def printed(bounds: dict[str, float] | None) -> str:
    """Return a ratio and its quartiles in one fixed width."""
    return "" if bounds is None else f"{bounds['median']:.2f}  {bounds['low']:.2f} to {bounds['high']:.2f}"


def main() -> None:
    """Measure and print one table per number of boxes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU; 0: its default")
    parser.add_argument("--counts", default="64,512,4096,65536,1000000", help="numbers of boxes")
    parser.add_argument("--rounds", type=int, default=21, help="rounds for up to 65536 boxes; beyond, a third of them")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    device = arguments.device
    if device != "cpu":
        device = f"{device} ({torch.cuda.get_device_name()})"
    about = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "device": device,
        "threads": torch.get_num_threads(),
        "clock": clock_for(arguments.device)[1],
        "load": round(os.getloadavg()[0], 1),
        "rounds": arguments.rounds,
    }
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, {device}, "
        f"{about['threads']} thread{'s' * (about['threads'] > 1)}, {about['clock']}, float32, "
        f"load {about['load']} at the start"
    )
    operations = {name: count_operations(loss, "cpu") for name, loss in THEIRS.items() if name != AGAIN}
    operations |= {name: count_operations(loss, "meta") for name, loss in OURS.items()}
    print(
        "\nwhat torch's formulas dispatch, forward and backward; ours on meta tensors, since a CPU runs NumPy instead"
    )
    print(f"{'loss':<24} {'operations':>10} {'views':>6}")
    for name, counted in operations.items():
        print(f"{name:<24} {counted['operations']:>10} {counted['views']:>6}")

    tables = {}
    for count in (int(word) for word in arguments.counts.split(",")):
        rounds = arguments.rounds if count <= 65536 else max(5, arguments.rounds // 3)
        tables[count] = summary(measure(count, rounds=rounds, device=arguments.device))
        print(f"\n{count} boxes, {rounds} rounds")
        header = f"{'loss':<24} {'median us':>10} {'fastest':>8} {'faster':>7}   "
        print(header + f"{'to torchvision ciou':<22} to torchvision's own")
        for name, row in tables[count].items():
            to_ciou, to_peer = printed(row["to_torchvision_ciou"]), printed(row["to_its_peer"])
            print(
                f"{name:<24} {row['seconds'] * 1e6:>10.0f} {row['fastest'] * 1e6:>8.0f} "
                f"{row['times_faster_than_torchvision_ciou']:>6.2f}x   {to_ciou:<22} {to_peer}".rstrip(),
                flush=True,
            )

    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"about": about, "operations_of_formulas": operations, "boxes": tables}, file, indent=2)


if __name__ == "__main__":
    main()
