"""What a box loss costs, forward and backward, eager and compiled, as a ratio to torchvision's: interleaved in one run.

    python benchmarks/box_losses.py [--device cpu] [--counts 64,512,8192] [--rounds 21] [--json FILE]

torchvision has GIoU, DIoU and CIoU; Smooth IoU is set against its CIoU. Every round times each loss once, in an order
that rotates, on the same float32 boxes and on one thread; the table holds the medians over rounds of the time and of
the ratio within a round. On a CPU, time is that of the processor, which runs only while the loss does. Compiling takes
up to a minute for each loss.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou.losses import ciou_loss, diou_loss, giou_loss, smooth_iou_loss

Loss = Callable[..., Tensor]

PAIRS: dict[str, tuple[Loss, Loss]] = {
    "giou": (giou_loss, generalized_box_iou_loss),
    "diou": (diou_loss, distance_box_iou_loss),
    "ciou": (ciou_loss, complete_box_iou_loss),
    "smooth-iou": (smooth_iou_loss, complete_box_iou_loss),
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


def seconds(loss: Loss, pred: Tensor, target: Tensor, repeats: int) -> float:
    """Return how long the summed loss and its gradient take."""
    clock = time.perf_counter if pred.is_cuda else time.thread_time
    if pred.is_cuda:
        torch.cuda.synchronize()
    started = clock()
    for _ in range(repeats):
        pred.grad = None
        loss(pred, target, reduction="sum").backward()
    if pred.is_cuda:
        torch.cuda.synchronize()
    return (clock() - started) / repeats


def measure(losses: dict[str, Loss], count: int, *, rounds: int, device: str) -> dict[str, list[float]]:
    """Return the seconds of every loss in every round."""
    pred, target = random_pair(count, device)
    repeats = {}
    for name, loss in losses.items():
        seconds(loss, pred, target, 3)  # compiles and warms up
        repeats[name] = max(1, round(LEAST_SECONDS / seconds(loss, pred, target, 3)))
    times: dict[str, list[float]] = {name: [] for name in losses}
    names = list(losses)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            times[name].append(seconds(losses[name], pred, target, repeats[name]))
    return times


def main() -> None:
    """Measure and print one table per number of boxes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--counts", default="64,512,8192", help="numbers of boxes")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each table")
    parser.add_argument("--losses", default=",".join(PAIRS), help="which of them")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = round(os.getloadavg()[0], 1)
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, {options.device}, load {load} at the start"
    )
    losses: dict[str, Loss] = {}
    named = options.losses.split(",")
    for name in named:
        ours, theirs = PAIRS[name]
        losses |= {f"torchvision {name}": theirs, name: ours, f"{name} compiled": torch.compile(ours, dynamic=True)}
    tables = {}
    for count in map(int, options.counts.split(",")):
        times = tables[count] = measure(losses, count, rounds=options.rounds, device=options.device)
        print(f"\n{count} boxes: median us, and its ratio to torchvision's (of smooth-iou: to torchvision's CIoU)")
        print(f"{'loss':<12} {'torchvision':>11} {'eager':>8} {'ratio':>6} {'compiled':>8} {'ratio':>6}")
        for name in named:
            base = times[f"torchvision {name}"]
            row = f"{name:<12} {statistics.median(base) * 1e6:>11.0f}"
            for own in (times[name], times[f"{name} compiled"]):
                ratio = statistics.median(a / b for a, b in zip(own, base, strict=True))
                row += f" {statistics.median(own) * 1e6:>8.0f} {ratio:>6.2f}"
            print(row, flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "load": load, "seconds": tables}, file, indent=1)


if __name__ == "__main__":
    main()
