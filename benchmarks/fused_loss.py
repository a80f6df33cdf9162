"""What the GPU kernels of the losses cost: launches, and time against the memory that must be moved.

    python benchmarks/fused_loss.py [--counts 512,16000000] [--losses smooth-iou,iou] [--json FILE]

Forward and backward on boxes, float32: by the kernels, and by the torch formulas (SMOOTHIOU_FUSED=0), interleaved;
times are of CUDA events, the median of the rounds. What one launch forward and one backward must move is 88 bytes a
box: both boxes in, twice (64), the value out (4), its gradient in (4), the gradient of the prediction out (16). The
project's target is stated for 80. Both columns tell how many times as long a loss takes as so many bytes a box take at
the bandwidth that copying half a gigabyte has on this GPU. `smooth-iou` and `mix` need lambda, and so every IoU, before
the first value: what they move more for that counts against them. Launches are counted by torch's profiler.

Needs a CUDA device and Triton; without, it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from smoothiou import losses
from smoothiou.boxes.fused import SWITCH

TARGET_BYTES, MOVED_BYTES = 80, 88
"""Bytes of a box: those of the project's target, and those that a forward and a backward pass move at least."""
ROUNDS = 15


def random_pair(count: int) -> tuple[Tensor, Tensor]:
    """Return boxes of 10 to 110 pixels, and predictions that are off by up to 5 in each corner."""
    generator = torch.Generator("cuda").manual_seed(0)
    corner = torch.rand(count, 2, generator=generator, device="cuda") * 500
    target = torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=generator, device="cuda") * 100), 1)
    pred = target + (torch.rand(count, 4, generator=generator, device="cuda") - 0.5) * 10
    return pred.requires_grad_(), target


def milliseconds(work: Callable[[], Any]) -> float:
    """Return how long the GPU works."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def bytes_per_millisecond() -> float:
    """Return the bandwidth of a copy: bytes read and bytes written."""
    source = torch.zeros(2**27, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / statistics.median(milliseconds(lambda: target.copy_(source)) for _ in range(ROUNDS))


def one_pass(name: str, pred: Tensor, target: Tensor, ones: Tensor, *, fused: bool) -> Callable[[], None]:
    """Return the loss's forward and backward pass, by kernels or by torch."""
    loss = getattr(losses, name.replace("-", "_") + "_loss")

    def work() -> None:
        os.environ[SWITCH] = "1" if fused else "0"
        pred.grad = None
        loss(pred, target).backward(ones)

    return work


def launches(work: Callable[[], None]) -> int:
    """Return how many kernels and copies the GPU runs for it."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
        torch.cuda.synchronize()
    on_gpu = [event for event in profiled.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum("sync" not in event.name.lower() for event in on_gpu)


def measure(name: str, count: int, bandwidth: float) -> dict[str, float]:
    """Return launches and times of one loss for so many boxes."""
    pred, target = random_pair(count)
    ones = torch.ones(count, device="cuda")
    ways = {way: one_pass(name, pred, target, ones, fused=way == "fused") for way in ("fused", "plain")}
    counted = {}
    for way, work in ways.items():
        work()
        counted[way] = launches(work)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, work in ways.items():
            times[way].append(milliseconds(work))
    fused, plain = (statistics.median(times[way]) for way in ("fused", "plain"))
    return {
        "launches": counted["fused"],
        "plain_launches": counted["plain"],
        "milliseconds": fused,
        "plain_milliseconds": plain,
        "times_80_bytes": fused / (TARGET_BYTES * count / bandwidth),
        "times_88_bytes": fused / (MOVED_BYTES * count / bandwidth),
    }


def main() -> None:
    """Measure and print one line per loss and number of boxes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--counts", default="512,65536,1000000,16000000", help="numbers of boxes")
    parser.add_argument("--losses", default="smooth-iou,iou,giou,diou,ciou,efficient-iou")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: nothing was measured. The kernels' numbers are tested by tests/losses/test_fused.py.")
        return
    if importlib.util.find_spec("triton") is None:
        print("no Triton: nothing was measured. pip install triton")
        return
    bandwidth = bytes_per_millisecond()
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, copying at {bandwidth / 1e6:.0f} GB/s")
    print(
        f"{'boxes':>9} {'loss':<14} {'launches':>8} {'ms':>8} {'to 80 B':>8} {'to 88 B':>8} {'plain ms':>9} "
        f"{'launches':>8}"
    )
    rows = []
    for count in (int(word) for word in arguments.counts.split(",")):
        for name in arguments.losses.split(","):
            row = measure(name, count, bandwidth)
            rows.append({"boxes": count, "loss": name, **row})
            print(
                f"{count:>9} {name:<14} {row['launches']:>8} {row['milliseconds']:>8.3f} "
                f"{row['times_80_bytes']:>7.2f}x {row['times_88_bytes']:>7.2f}x "
                f"{row['plain_milliseconds']:>9.3f} {row['plain_launches']:>8}",
                flush=True,
            )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"device": torch.cuda.get_device_name(), "copy_bytes_per_ms": bandwidth, "rows": rows}, file)


if __name__ == "__main__":
    main()
