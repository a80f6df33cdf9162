"""RoIAlign alone, forward and backward, against torchvision's: paired and interleaved in one run.

    python benchmarks/roi_align.py [--device cpu] [--threads 1] [--rounds 9] [--json FILE]

The one map of `nano` for a batch of four images, and the pyramid of resnet50-fpn for two. Boxes have sides of 16 to 200
pixels; ours gets maps channels last and torchvision's not, as in the nets. Backward is timed on a graph that is kept.
Both sides give the same crops and gradients to rounding, which is checked first.

On a CPU torchvision's kernel shares boxes among threads forward, and runs on one backward; so `--threads` matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from measuring import Report, arguments, interleaved, median, ratio
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign
from smoothiou.detectors.roi_align import SparseRoIAlign

THEIRS, OURS = "torchvision", "smoothiou"
Work = Callable[[], tuple[Tensor, ...]]


def forward_and_backward(
    align: MultiScaleRoIAlign, maps: dict[str, Tensor], boxes: list[Tensor], size: tuple[int, int]
) -> tuple[Work, Work]:
    """Return the forward pass and the backward pass alone, which may be repeated."""
    leaves = {name: one.detach().requires_grad_() for name, one in maps.items()}

    def forward() -> tuple[Tensor, ...]:
        return (align(leaves, boxes, [size] * len(boxes)),)

    (crops,) = forward()
    gradient = torch.empty_like(crops).copy_(torch.randn(crops.shape, generator=torch.Generator().manual_seed(1)))
    return forward, lambda: torch.autograd.grad(crops, list(leaves.values()), gradient, retain_graph=True)


def case(
    ours: MultiScaleRoIAlign, *, images: int, boxes_per_image: int, size: tuple[int, int], channels: int, device: str
) -> dict[str, tuple[Work, Work]]:
    """Return both sides' passes on the same maps and boxes."""
    torch.manual_seed(0)
    strides = [16] if len(ours.featmap_names) == 1 else [4, 8, 16, 32]
    maps = {
        name: torch.randn(images, channels, size[0] // stride, size[1] // stride).to(device)
        for name, stride in zip(ours.featmap_names, strides, strict=True)
    }
    boxes = []
    for _ in range(images):
        sides = 16 + 184 * torch.rand(boxes_per_image, 2)
        corner = torch.rand(boxes_per_image, 2) * (torch.tensor([size[1], size[0]]) - sides)
        boxes.append(torch.cat([corner, corner + sides], 1).to(device))
    theirs = MultiScaleRoIAlign(ours.featmap_names, output_size=7, sampling_ratio=ours.sampling_ratio)
    channels_last = {name: one.contiguous(memory_format=torch.channels_last) for name, one in maps.items()}
    return {
        THEIRS: forward_and_backward(theirs, maps, boxes, size),
        OURS: forward_and_backward(ours, channels_last, boxes, size),
    }


def largest_difference(ours: Work, theirs: Work) -> float:
    """Return the largest difference of two results, relative to the largest number in them."""
    pairs = list(zip(ours(), theirs(), strict=True))
    return max(float((a - b).detach().abs().max()) for a, b in pairs) / max(float(b.abs().max()) for _, b in pairs)


def main() -> None:
    """Measure and print one table."""
    threads = {"type": int, "default": 1, "help": "of torch on the CPU; 0: its default"}
    options = arguments(__doc__, rounds={"type": int, "default": 9}, threads=threads)
    if options.threads:
        torch.set_num_threads(options.threads)
    report, device = Report("RoIAlign alone", options.device), options.device
    nano, pyramid = SparseRoIAlign(stride=16), PyramidRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
    cases = {
        "512 boxes, maps of 15 x 20 with 128 channels": case(
            nano, images=4, boxes_per_image=128, size=(240, 320), channels=128, device=device
        ),
        "800 boxes, pyramids from 160 x 160 with 256 channels": case(
            pyramid, images=2, boxes_per_image=400, size=(640, 640), channels=256, device=device
        ),
    }
    rows: list[list[Any]] = []
    for name, sides in cases.items():
        for number, direction in enumerate(("forward", "backward")):
            work = {side: passes[number] for side, passes in sides.items()}
            if (difference := largest_difference(work[OURS], work[THEIRS])) > 1e-4:
                raise SystemExit(f"{name}, {direction}: results differ by {difference:.1e}")
            times = interleaved(work, rounds=options.rounds, device=device)
            for side, own in times.items():
                milliseconds = [f"{1000 * median(own, cpu=cpu):.1f}" for cpu in (False, True)]
                ratios = [ratio(times[THEIRS], own, cpu=cpu) for cpu in (False, True)]
                rows.append([name, direction, side, *milliseconds, *ratios])
    report.table(
        f"Crops of 7 x 7 cells, four samples each, float32, {torch.get_num_threads()} threads",
        ["case", "pass", "", "ms", "CPU ms", "torchvision / this, wall", "torchvision / this, CPU"],
        rows,
        f"Medians of {options.rounds} rounds, in brackets the quartiles of the ratio.",
    )
    report.write(options.json)


if __name__ == "__main__":
    main()
