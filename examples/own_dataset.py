"""Images with boxes from your own code: python examples/own_dataset.py, seconds."""

import random

from PIL import Image, ImageDraw

import smoothiou
from smoothiou.data import Box, Record


class Drawing:
    """The image of a record: anything with `read()`; for files there is `smoothiou.data.photo_record`."""

    def __init__(self, xyxy):
        self.xyxy = xyxy

    def read(self):
        image = Image.new("RGB", (96, 96), "white")
        x1, y1, x2, y2 = self.xyxy
        ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill="navy")  # boxes have an open end, PIL's do not
        return image


def drawings():
    """Return the records of each split."""
    numbers = random.Random(0)

    def record(name):
        x, y, side = (numbers.randint(*limits) for limits in ((4, 40), (4, 40), (16, 48)))
        xyxy = (x, y, x + side, y + side)
        return Record(
            name=name, source=Drawing(xyxy), width=96, height=96, boxes=(Box(xyxy=xyxy, label="square"),)
        )  # fmt: skip

    return {split: [record(f"{split}-{n}") for n in range(images)] for split, images in (("train", 24), ("test", 8))}


if __name__ == "__main__":
    run = smoothiou.train(
        drawings, loss="smooth-iou", recipe="quick", steps=10, overwrite=True, out="runs/own-dataset"
    )  # fmt: skip
    print(run.classes, f"AP {run.metrics['AP']:.3f}")
    print(f"AP on the images it was trained on {run.evaluate(split='train')['metrics']['AP']:.3f}")
