"""How the cost grows: of a training step with image size, boxes and classes, of evaluation with images.

    python benchmarks/scaling.py [--device cpu] [--rounds 3] [--picture FILE] [--json FILE]

`nano`, one synthetic image a step, bf16 where the hardware has it. The slope is that of log time over log size for the
larger half of the sizes: 1 is linear, 2 quadratic. Size of an image is its number of pixels. With `--picture` the
same is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from evaluation import ours, scene
from measuring import Report, arguments, interleaved, median

from smoothiou.detectors import build_detector
from smoothiou.engine.devices import choose_placement

SIDES, BOXES, CLASSES = (128, 256, 384, 512, 768, 1024), (1, 10, 50, 100, 300, 1000), (1, 10, 80, 300, 1000)
IMAGES = (125, 250, 500, 1000, 2000)


def step(device: str, *, side: int = 384, boxes: int = 10, classes: int = 3) -> Callable[[], None]:
    """Return one forward and backward pass of `nano`, ready to be timed."""
    place = choose_placement(device, "auto")
    torch.manual_seed(0)
    model: Any = build_detector("nano", num_classes=classes, min_size=side, max_size=side)
    model = model.to(place.device, memory_format=torch.channels_last).train()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, side, side, generator=generator).to(place.device)
    size = side * (0.05 + 0.3 * torch.rand(boxes, 2, generator=generator))
    corner = torch.rand(boxes, 2, generator=generator) * (side - size)
    labels = torch.randint(1, classes + 1, (boxes,), generator=generator)
    target = {"boxes": torch.cat([corner, corner + size], 1).to(place.device), "labels": labels.to(place.device)}

    def run() -> None:
        model.zero_grad()
        with torch.autocast(place.device.type, torch.bfloat16, enabled=place.precision == "bf16"):
            losses = model([image], [target])
        torch.stack(list(losses.values())).sum().backward()

    return run


def slope(sizes: list[float], seconds: list[float]) -> float:
    """Return the slope of log seconds over log size for the larger half of the sizes, by least squares."""
    half = len(sizes) // 2
    x, y = ([math.log(value) for value in values[half:]] for values in (sizes, seconds))
    middle = sum(x) / len(x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def plot(curves: dict[str, tuple[list[float], list[float]]], path: Path) -> None:
    """Draw time over size, both logarithmic, one panel a curve, with a line of slope 1 for comparison."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, panels = pyplot.subplots(1, len(curves), figsize=(3.2 * len(curves), 3), layout="constrained")
    for panel, (name, (sizes, seconds)) in zip(panels, curves.items(), strict=True):
        panel.loglog(sizes, seconds, "o-", color="#0072b2")
        linear = [seconds[-1] * size / sizes[-1] for size in sizes]
        panel.loglog(sizes, linear, "--", color="#888888", linewidth=1)
        panel.set(title=name.split(" over ")[0], xlabel=name.split(" over ")[1], ylabel="seconds")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0,) if max(sizes) > 30 * min(sizes) else (1.0, 2.0, 5.0)))
        panel.set_ylim(min(seconds) / 3, max(seconds) * 2)
        panel.grid(alpha=0.3)
    figure.suptitle("Time over size; dashed: linear", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Measure, print one table and draw a picture, if one was asked for."""
    options = arguments(
        __doc__,
        rounds={"type": int, "default": 3},
        picture={"metavar": "FILE", "help": "draw the curves there"},
        short={"action": "store_true", "help": "the smaller sizes only"},
    )
    report = Report("How the cost grows", options.device)
    device: Any = options.device

    def evaluation(count: int) -> Callable[[], Any]:
        truth, detections = scene(count, 100)
        return lambda: ours(truth, detections)

    questions: dict[str, tuple[tuple[int, ...], Callable[[int], Callable[[], Any]], Callable[[int], float]]] = {
        "step over pixels": (SIDES, lambda size: step(device, side=size), lambda size: size**2),
        "step over boxes an image": (BOXES, lambda count: step(device, boxes=count), float),
        "step over classes": (CLASSES, lambda count: step(device, classes=count), float),
        "evaluation over images": (IMAGES, evaluation, float),
    }
    rows, curves = [], {}
    for name, (sizes, make, as_size) in questions.items():
        some = sizes[: len(sizes) // 2 + 1] if options.short else sizes
        variants = {str(size): make(size) for size in some}
        interleaved(variants, rounds=1, device=device)
        times = interleaved(variants, rounds=options.rounds, device=device)
        seconds = [median(times[str(size)]) for size in some]
        places = [as_size(size) for size in some]
        curves[name] = (places, seconds)
        listed = ", ".join(f"{size}: {1000 * taken:.0f}" for size, taken in zip(places, seconds, strict=True))
        rows.append([name, listed.replace(".0:", ":"), f"{slope(places, seconds):.2f}"])
    report.table(
        "nano, one image, 384 x 384 pixels, 10 boxes, 3 classes but for what is varied",
        ["", "size: ms", "slope"],
        rows,
        f"Medians of {options.rounds} rounds.",
    )
    if options.picture:
        plot(curves, Path(options.picture))
    report.write(options.json)


if __name__ == "__main__":
    main()
