"""Synthetic images of coloured shapes with exact boxes, drawn when read; no files. No torch.

A small detector learns them from random weights in a minute, because each class has its own colour; boxes are exact
to a quarter of a pixel, however objects overlap. With `loose`, edges of training boxes are moved at random, as the
paper says of its own data; `long_tail` makes classes rare.
"""

# ruff: noqa: D102 (methods of a format are documented in its base class)

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from smoothiou.data.formats.base import Entry, Format, record_entry
from smoothiou.data.records import Box, Dataset, Record
from smoothiou.data.splits import find_split
from smoothiou.errors import ConfigError

CLASSES = ("circle", "rectangle", "triangle", "ring", "cross")
SPLITS = ("train", "val", "test")

_FINE = 4  # Forms are drawn at 4 times the resolution, so that edges fall between pixels.
_HIDDEN = 0.6  # A form that would hide more than this of another is not placed.
_LAYOUT, _PAINT, _LOOSE = range(3)  # Streams of random numbers, so that `loose` changes no pixel.


@dataclass(frozen=True, slots=True)
class Shape:
    """One object: its exact box, and how much of each pixel it covers.

    Args:
        label: one of `CLASSES`.
        xyxy: full extent in pixels with an open end, also where others lie on top.
        corner: left and top pixel of `coverage` in the image.
        coverage: (h, w) uint8, 255 where a pixel is covered wholly.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    corner: tuple[int, int]
    coverage: np.ndarray


@dataclass(frozen=True, slots=True)
class ShapesImage:
    """One image, determined by the numbers it is drawn from."""

    seed: int
    split: str
    index: int
    size: int
    long_tail: float

    def read(self) -> Image.Image:
        """Return the drawn RGB image, the same every time."""
        return self.paint(self.scene())

    def scene(self) -> list[Shape]:
        """Return one to four shapes, later ones on top of earlier ones."""
        random = self._random(_LAYOUT)
        weights = (1.0 + np.arange(len(CLASSES))) ** -self.long_tail
        shapes: list[Shape] = []
        owner = np.full((self.size, self.size), -1)
        areas: list[int] = []
        count = int(random.integers(1, 5))
        for _ in range(4 * count):
            shape = _random_shape(random, str(random.choice(CLASSES, p=weights / weights.sum())), self.size)
            after = owner.copy()
            body = shape.coverage > 127
            _window(after, shape)[body] = len(shapes)
            visible = np.bincount(after[after >= 0], minlength=len(shapes) + 1)
            if all(uncovered >= (1 - _HIDDEN) * area for uncovered, area in zip(visible, areas, strict=False)):
                shapes.append(shape)
                areas.append(int(body.sum()))
                owner = after
            if len(shapes) == count:
                break
        return shapes

    def paint(self, shapes: Sequence[Shape]) -> Image.Image:
        """Return shapes on a cluttered background; the background does not depend on them."""
        random = self._random(_PAINT)
        pixels = _background(random, self.size).astype(np.float32)
        texture = random.normal(0.0, 7.0, (self.size, self.size, 1)).astype(np.float32)
        for shape in shapes:
            hue = (CLASSES.index(shape.label) + random.uniform(-0.15, 0.15)) / len(CLASSES)
            colour = colorsys.hsv_to_rgb(hue % 1.0, random.uniform(0.65, 1.0), random.uniform(0.65, 1.0))
            alpha = shape.coverage[..., None].astype(np.float32) / 255
            window = _window(pixels, shape)
            window += alpha * (255 * np.asarray(colour, dtype=np.float32) - window)
        return Image.fromarray((pixels + texture).clip(0, 255).astype(np.uint8))

    def loose_boxes(self, shapes: Sequence[Shape], loose: float) -> list[tuple[float, float, float, float]]:
        """Return the boxes with every edge moved by up to `loose` of the side, kept inside the image."""
        random = self._random(_LOOSE)
        boxes = []
        for shape in shapes:
            x1, y1, x2, y2 = shape.xyxy
            reach = loose * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
            while True:  # until at least a pixel of it lies in the image
                moved = (shape.xyxy + random.uniform(-1, 1, 4) * reach).clip(0, self.size)
                if moved[2] - moved[0] >= 1 and moved[3] - moved[1] >= 1:
                    break
            boxes.append((float(moved[0]), float(moved[1]), float(moved[2]), float(moved[3])))
        return boxes

    def _random(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, SPLITS.index(self.split), self.index, stream))


class Shapes(Format):
    """Drawn images of `CLASSES`: val has a sixth as many as train, test a third."""

    format = "shapes"
    is_path = False
    splits = SPLITS

    @classmethod
    def fits(cls, path: Path) -> bool:
        return str(path) == "shapes"

    def has_boxes(self, split: str) -> bool:
        return True

    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def listed_classes(self) -> tuple[str, ...]:
        return CLASSES

    def entries(self, split: str) -> list[Entry]:
        return [record_entry(record, split) for record in self.read(split, allow_dropped=0).records]

    def read(self, split: str, *, allow_dropped: int) -> Dataset:
        """Return one split; its images are drawn when they are read.

        Raises:
            ConfigError: an option out of range.
            DataError: no such split.
        """
        options = self.options
        ranges = (
            ("images", options.images, options.images >= 3, "3 or more"),
            ("size", options.size, 32 <= options.size <= 2048, "32 to 2048 pixels"),
            ("loose", options.loose, 0 <= options.loose <= 0.5, "0 to 0.5"),
            ("long_tail", options.long_tail, options.long_tail >= 0, "0 or more"),
        )
        for name, value, good, expected in ranges:
            if not good:
                raise ConfigError(f"data.{name}: expected {expected}, got {value!r}.")
        split = find_split(split, self.splits, data="shapes")
        counts = {"train": options.images, "val": max(1, options.images // 6), "test": max(1, options.images // 3)}
        loose = options.loose if split == "train" else 0.0
        notes = ["drawn by the program: boxes are exact and show the full extent of partly hidden objects"]
        if loose:
            notes.append(f"training boxes are loose by up to {loose:g} of their side; test boxes are exact")
        images = [
            ShapesImage(options.split_seed, split, i, options.size, options.long_tail) for i in range(counts[split])
        ]
        return Dataset(
            name="shapes",
            format="shapes",
            split=split,
            classes=CLASSES,
            records=tuple(_record(image, loose) for image in images),
            notes=tuple(notes),
        )


def _record(source: ShapesImage, loose: float) -> Record:
    name = f"{source.split}-{source.index:05d}"
    shapes = source.scene()
    corners = source.loose_boxes(shapes, loose) if loose else [shape.xyxy for shape in shapes]
    boxes = tuple(
        Box(xyxy=xyxy, label=shape.label, where=f"{name}: object {number}")
        for number, (shape, xyxy) in enumerate(zip(shapes, corners, strict=True), 1)
    )
    return Record(name=name, source=source, width=source.size, height=source.size, boxes=boxes)


def _random_shape(random: np.random.Generator, label: str, size: int) -> Shape:
    """Return a shape of random size, aspect and position, wholly inside the image."""
    side = size * np.exp(random.uniform(np.log(0.2), np.log(0.5)))
    stretch = np.exp(random.uniform(-0.35, 0.35))
    width, height = (max(2 * _FINE, round(_FINE * s)) for s in (side * stretch, side / stretch))
    left, top = (int(random.integers(0, _FINE * size - s + 1)) for s in (width, height))
    # Only the pixels that the shape touches are drawn.
    x, y = left // _FINE, top // _FINE
    columns, rows = -(-(left + width) // _FINE) - x, -(-(top + height) // _FINE) - y
    canvas = Image.new("L", (_FINE * columns, _FINE * rows))
    _draw_form(canvas, label, (left - _FINE * x, top - _FINE * y, width, height), turn=int(random.integers(4)))
    extent = canvas.getbbox()
    assert extent is not None
    x1, y1, x2, y2 = ((start + offset / _FINE) for start, offset in zip((x, y, x, y), extent, strict=True))
    return Shape(label, (x1, y1, x2, y2), (x, y), np.asarray(canvas.reduce(_FINE)))


def _draw_form(canvas: Image.Image, label: str, frame: tuple[int, int, int, int], *, turn: int) -> None:
    """Fill a form that touches all four sides of a frame (left, top, width, height)."""
    left, top, width, height = frame
    right, bottom = left + width - 1, top + height - 1
    pen = ImageDraw.Draw(canvas)
    if label == "rectangle":
        pen.rectangle((left, top, right, bottom), fill=255)
    elif label == "triangle":
        middle = ((left + right) // 2, (top + bottom) // 2)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        tips = [(middle[0], bottom), (left, middle[1]), (middle[0], top), (right, middle[1])]
        # A side of the frame and the middle of the opposite side.
        pen.polygon([corners[turn], corners[(turn + 1) % 4], tips[turn]], fill=255)
    elif label == "cross":
        pen.rectangle((left + width // 3, top, right - width // 3, bottom), fill=255)
        pen.rectangle((left, top + height // 3, right, bottom - height // 3), fill=255)
    else:
        pen.ellipse((left, top, right, bottom), fill=255)
        if label == "ring":
            pen.ellipse((left + width // 4, top + height // 4, right - width // 4, bottom - height // 4), fill=0)


def _background(random: np.random.Generator, size: int) -> np.ndarray:
    """Return (size, size, 3) uint8: dull clouds, with grey strokes and scraps that are no objects."""
    grey = random.integers(60, 170, (5, 5, 1))
    clouds = (grey + random.integers(-18, 18, (5, 5, 3))).astype(np.uint8)
    image = Image.fromarray(clouds).resize((size, size), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(4, 12))):
        x, y = (int(v) for v in random.integers(0, size, 2))
        dx, dy = (int(v) for v in random.integers(-size // 4, size // 4, 2))
        shade = int(random.integers(30, 220))
        frame = (min(x, x + dx), min(y, y + dy), max(x, x + dx), max(y, y + dy))
        colour = (shade, shade, shade)
        match int(random.integers(3)):
            case 0:
                pen.line((x, y, x + dx, y + dy), fill=colour, width=max(1, size // 64))
            case 1:
                pen.arc(frame, 0, int(random.integers(60, 300)), fill=colour, width=max(1, size // 64))
            case _:
                pen.rectangle((x, y, x + abs(dx) // 4, y + abs(dy) // 4), fill=colour)
    return np.asarray(image)


def _window(pixels: np.ndarray, shape: Shape) -> np.ndarray:
    """Return the view of an image array that a shape covers."""
    (x, y), (height, width) = shape.corner, shape.coverage.shape
    return pixels[y : y + height, x : x + width]
