"""Images ready for the detector: ours, in the first epoch and later ones, against torchvision's way, one process each.

    python benchmarks/data_loading.py [--data FOLDER] [--images 100] [--rounds 5] [--json FILE]

Ready is: decoded, mirrored or not, as floats, normalised, resized, boxes too.
The reference decodes and prepares every image in every epoch (`reference.py`, and torchvision's own transform).
"""

from __future__ import annotations

from typing import Any

import torch
from measuring import Report, arguments, interleaved, median, ratio
from reference import Photos, stock_nano

from smoothiou.engine.config import build_config
from smoothiou.engine.detector import build
from smoothiou.engine.devices import choose_placement
from smoothiou.engine.loading import training_images
from smoothiou.engine.open_data import open_splits


def main() -> None:
    """Measure and print one table."""
    options = arguments(
        __doc__,
        data={"default": "shapes", "help": "a data set"},
        images={"type": int, "default": 100},
        rounds={"type": int, "default": 5},
    )
    report = Report("Data loading", options.device)
    config = build_config("quick" if options.data == "shapes" else "bccd", {"data.path": options.data})
    data = open_splits(config.data).train
    count = min(options.images, len(data.records))
    sizes = {"min_size": config.model.min_size, "max_size": config.model.max_size}
    model, place = build(config, classes=len(data.classes)), choose_placement("cpu", "auto")
    transform: Any = stock_nano(len(data.classes), **sizes).transform
    photos, kept = Photos(data), training_images(model, data, config, place)

    def reference() -> None:
        for index in range(count):
            image, target = photos[index]
            transform.resize(transform.normalize(image), target)

    def first() -> None:
        images = training_images(model, data, config, place)
        for index in range(count):
            images.example(index, flip=index % 2 == 1)

    def later() -> None:
        for index in range(count):
            kept.example(index, flip=index % 2 == 1)

    later()
    torch.manual_seed(0)
    times = interleaved(
        {"torchvision reference": reference, "smoothiou, first epoch": first, "smoothiou, later epochs": later},
        rounds=options.rounds,
    )
    peer = times["torchvision reference"]
    rows = [
        [name, f"{count / median(taken):.0f}", f"{1000 * median(taken) / count:.3f}", ratio(peer, taken)]
        for name, taken in times.items()
    ]
    report.table(
        f"{data.name}, {count} images to {sizes['max_size']} x {sizes['min_size']} pixels",
        ["", "images/s", "ms an image", "reference / this"],
        rows,
        f"{options.rounds} rounds; what is kept takes memory up to train.cache_mb, here {config.train.cache_mb} MiB.",
    )
    report.write(options.json)


if __name__ == "__main__":
    main()
