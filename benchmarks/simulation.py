"""What the full regression experiment costs, and what a straight autograd version of it would, in one run.

    python benchmarks/simulation.py [--losses giou,diou,ciou,smooth-iou] [--cases full] [--straight-steps 3]

*Ours*: `smoothiou simulate`'s own descent, all 200 steps: float32, chunks that fit the cache, one process per core.
*Straight*: what one would write first: all boxes in one float64 tensor, torchvision's loss, one backward pass over
the sum, torch's own threads; a few steps are timed, after one that is not, and after ours because of the memory, and
the fastest counts, times 200. So the ratio is that of two versions as they are; ours has numbers half as wide.
CPU seconds are printed beside wall seconds, because other work on the machine stretches mostly the latter; they
and the peak memory are of all processes together.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import huber_loss
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from smoothiou.lab.cases import draw_cases, points_for
from smoothiou.lab.descent import descend
from smoothiou.lab.gradients import exact_gradient
from smoothiou.lab.team import Team, available_cores

STEPS = 200
Loss = Callable[[Tensor, Tensor], Tensor]


def corners(boxes: Tensor) -> Tensor:
    """Return (x, y, w, h) as corners."""
    half = boxes[:, 2:] / 2
    return torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), dim=1)


def plain_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """Return the IoU of pairs."""
    overlap = (torch.minimum(boxes[:, 2:], targets[:, 2:]) - torch.maximum(boxes[:, :2], targets[:, :2])).clamp(min=0)
    intersection = overlap.prod(1)
    area, target_area = ((each[:, 2:] - each[:, :2]).prod(1) for each in (boxes, targets))
    return intersection / (area + target_area - intersection)


def smooth_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """Return the Smooth IoU loss of (x, y, w, h), as its formula reads."""
    iou = plain_iou(corners(boxes), corners(targets))
    lam = iou.detach().mean()
    return lam * (1 - iou) + (1 - lam) * huber_loss(boxes, targets, reduction="none").sum(1)


def on_corners(loss: Loss) -> Loss:
    """Return a loss of corners as one of (x, y, w, h)."""
    return lambda boxes, targets: loss(corners(boxes), corners(targets))


STRAIGHT: dict[str, Loss] = {
    "giou": on_corners(generalized_box_iou_loss),
    "diou": on_corners(distance_box_iou_loss),
    "ciou": on_corners(complete_box_iou_loss),
    "smooth-iou": smooth_iou,
}


def straight_step(name: str, boxes: Tensor, targets: Tensor, rate: float) -> tuple[Tensor, float]:
    """Return the boxes after a step, and their summed error."""
    leaf = boxes.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(STRAIGHT[name](leaf, targets).sum(), leaf)
    with torch.no_grad():
        factor = 2 - plain_iou(corners(boxes), corners(targets))
        boxes = boxes - rate * factor[:, None] * gradient
        return boxes, (boxes - targets).abs().sum().item()


def time_straight(name: str, boxes: Tensor, targets: Tensor, steps: int) -> tuple[float, float]:
    """Return the least wall and CPU seconds of a step, after one that is not timed."""
    boxes, _ = straight_step(name, boxes, targets, 0.1)
    wall, processor = [], []
    for _ in range(steps):
        began, used = time.perf_counter(), time.process_time()
        boxes, _ = straight_step(name, boxes, targets, 0.1)
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    return min(wall), min(processor)


def processor_seconds() -> float:
    """Return the CPU seconds of this process and of those it has waited for."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def peak_gb(*, helpers: bool = False) -> float:
    """Return the most memory that this process has held, in GB, and with `helpers` its largest helper once for each."""
    own, helper = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + helper * (Team().workers - 1) * helpers) * 1024 / 1e9


def line(name: str, wall: float, processor: float, cases: int, *, peak: float) -> str:
    """Return a row of the table."""
    rate = STEPS * cases / wall / 1e6
    return f"{name:<30} {wall:>8.1f} {processor:>8.1f} {STEPS / wall:>8.2f} {rate:>15.2f} {peak:>8.2f}"


def main() -> None:
    """Measure and print two lines per loss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--losses", default=",".join(STRAIGHT))
    parser.add_argument("--cases", default="full")
    parser.add_argument("--straight-steps", type=int, default=3, help="timed steps of the straight version; 0: none")
    arguments = parser.parse_args()
    cases = draw_cases(points_for(arguments.cases))
    base = peak_gb()
    print(f"torch {torch.__version__}, {available_cores()} cores, {len(cases):,} cases, {STEPS} steps")
    print(f"{'':<30} {'wall s':>8} {'CPU s':>8} {'steps/s':>8} {'M case-steps/s':>15} {'peak GB':>8}")
    own: dict[str, tuple[float, float]] = {}
    for name in arguments.losses.split(","):
        used = processor_seconds()
        with Team() as team:  # a new one, so that the start of its processes counts, and their memory is known
            found = descend(cases.anchors, cases.targets, exact_gradient(name), team=team)
        own[name] = found.seconds, processor_seconds() - used
        print(line(f"{name}, float32", *own[name], len(cases), peak=peak_gb(helpers=True)), flush=True)
    boxes, targets = cases.anchors.t().double().contiguous(), cases.targets.t().double().contiguous()
    for name in [name for name in own if name in STRAIGHT and arguments.straight_steps]:
        wall, processor = (STEPS * least for least in time_straight(name, boxes, targets, arguments.straight_steps))
        ratios = f"ratio: wall {wall / own[name][0]:.1f}, CPU {processor / own[name][1]:.1f}"
        print(line(f"  straight, {name}, float64", wall, processor, len(cases), peak=peak_gb()), ratios, flush=True)
    print(f"peak of the first process before its first step, with torch: {base:.2f} GB")


if __name__ == "__main__":
    main()
