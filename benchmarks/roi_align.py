"""RoIAlign alone, forward and backward, against torchvision's: paired and interleaved in one run.

    python benchmarks/roi_align.py [--device cpu] [--threads 1] [--rounds 9] [--json FILE]

Two cases: the one map of `nano` for a batch of four images, and the pyramid of four maps of resnet50-fpn, the finest
of 160 x 160 cells, for two images. Boxes have sides of 16 to 200 pixels; maps and boxes are drawn at random, in
float32, and lie as the nets have them: ours channels last, torchvision's not, gradients as the crops do. Forward builds
what backward needs; backward is timed on its own, on a graph that is kept, and gives the gradient of the maps. Both
sides give the same crops and gradients to rounding, which is looked at first.

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
from smoothiou.detectors.roi_align import SeparableRoIAlign

THEIRS, OURS = "torchvision", "smoothiou"
LEVELS = ["0", "1", "2", "3"]
Crop = Callable[[], tuple[Tensor, list[Tensor]]]


def random_boxes(count: int, height: int, width: int) -> Tensor:
    """Return boxes (count, 4) with sides of 16 to 200 pixels that lie in the image."""
    size = 16 + 184 * torch.rand(count, 2)
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - size)
    return torch.cat([corner, corner + size], 1)


def cropping(align: MultiScaleRoIAlign, maps: dict[str, Tensor], boxes: list[Tensor], size: tuple[int, int]) -> Crop:
    """Return the forward pass: it gives the crops, and the maps that they depend on."""
    leaves = {name: one.detach().requires_grad_() for name, one in maps.items()}

    def crop() -> tuple[Tensor, list[Tensor]]:
        return align(leaves, boxes, [size] * len(boxes)), list(leaves.values())

    return crop


def case(
    ours: MultiScaleRoIAlign, *, images: int, each: int, size: tuple[int, int], channels: int, device: str
) -> dict[str, Crop]:
    """Return both sides' forward passes on the same maps and boxes.

    Args:
        ours: the module to compare; torchvision's gets its options.
        images: in the batch.
        each: boxes of an image.
        size: (height, width) of an image in pixels.
        channels: of the maps.
        device: where to compute.
    """
    torch.manual_seed(0)
    strides = [16] if len(ours.featmap_names) == 1 else [4, 8, 16, 32]
    maps = {
        name: torch.randn(images, channels, size[0] // stride, size[1] // stride).to(device)
        for name, stride in zip(ours.featmap_names, strides, strict=True)
    }
    boxes = [random_boxes(each, *size).to(device) for _ in range(images)]
    theirs = MultiScaleRoIAlign(ours.featmap_names, output_size=7, sampling_ratio=ours.sampling_ratio)
    last = {name: one.contiguous(memory_format=torch.channels_last) for name, one in maps.items()}
    return {THEIRS: cropping(theirs, maps, boxes, size), OURS: cropping(ours, last, boxes, size)}


def backward(crop: Crop) -> Callable[[], tuple[Tensor, ...]]:
    """Return the backward pass alone, which may be repeated."""
    crops, maps = crop()
    gradient = torch.empty_like(crops).copy_(torch.randn(crops.shape, generator=torch.Generator().manual_seed(1)))
    return lambda: torch.autograd.grad(crops, maps, gradient, retain_graph=True)


def largest_difference(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    """Return the largest difference of two results, relative to the largest number in them."""
    with torch.no_grad():
        apart = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
        return apart / max(float(b.abs().max()) for b in theirs)


def rows_of(name: str, crops: dict[str, Crop], *, rounds: int, device: str) -> tuple[list[list[Any]], float]:
    """Return the rows of a case, and by how much the two sides differ."""
    backwards = {side: backward(crop) for side, crop in crops.items()}
    apart = max(
        largest_difference((crops[OURS]()[0],), (crops[THEIRS]()[0],)),
        largest_difference(backwards[OURS](), backwards[THEIRS]()),
    )
    rows = []
    for way, works in (("forward", crops), ("backward", backwards)):
        interleaved(works, rounds=1, device=device)  # warms up
        times = interleaved(works, rounds=rounds, device=device)
        for side, taken in times.items():
            milliseconds = [f"{1000 * median(taken, cpu=cpu):.1f}" for cpu in (False, True)]
            rows.append(
                [name, way, side, *milliseconds, *(ratio(times[THEIRS], taken, cpu=cpu) for cpu in (False, True))]
            )
    return rows, apart


def main() -> None:
    """Measure and print one table."""
    options = arguments(
        __doc__,
        rounds={"type": int, "default": 9},
        threads={"type": int, "default": 1, "help": "of torch on the CPU; 0: its default"},
    )
    if options.threads:
        torch.set_num_threads(options.threads)
    report = Report("RoIAlign alone", options.device)
    on = {"device": options.device}
    cases = {
        "512 boxes, maps of 15 x 20 with 128 channels": case(
            SeparableRoIAlign(stride=16), images=4, each=128, size=(240, 320), channels=128, **on
        ),
        "800 boxes, pyramids from 160 x 160 with 256 channels": case(
            PyramidRoIAlign(LEVELS, output_size=7, sampling_ratio=2),
            images=2,
            each=400,
            size=(640, 640),
            channels=256,
            **on,
        ),
    }
    rows, apart = [], 0.0
    for name, crops in cases.items():
        found, difference = rows_of(name, crops, rounds=options.rounds, device=options.device)
        rows, apart = rows + found, max(apart, difference)
    if apart > 1e-4:
        raise SystemExit(f"not the same crops: they differ by {apart:.1e}")
    report.table(
        f"Crops of 7 x 7 cells, four samples each, float32, {torch.get_num_threads()} threads",
        ["case", "pass", "", "ms", "CPU ms", "torchvision / this, wall", "torchvision / this, CPU"],
        rows,
        f"Medians of {options.rounds} rounds, in brackets the quartiles of the ratio. Crops and gradients differ by at "
        f"most {apart:.0e} of the largest.",
    )
    report.write(options.json)


if __name__ == "__main__":
    main()
