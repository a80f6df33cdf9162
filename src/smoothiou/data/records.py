"""What every data format becomes: images with labelled boxes, and the faults met on the way. No torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from smoothiou.files import allowing, check_word, limits, printable, visible

if TYPE_CHECKING:
    from smoothiou.data.dataset import TorchDataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One annotated object.

    Args:
        xyxy: left, top, right, bottom in pixels, 0-based with an open end, inside the image.
        label: class name.
        difficult: PASCAL's flag: neither a training target nor counted in evaluation.
        crowd: COCO's `iscrowd`: a region of many objects, an ignore region in evaluation.
        where: position in the annotation files, for messages ("a.xml: object 2").
    """

    xyxy: tuple[float, float, float, float]
    label: str
    difficult: bool = False
    crowd: bool = False
    where: str = ""

    @property
    def ignored(self) -> bool:
        """Whether this box is no training target and no positive in evaluation."""
        return self.difficult or self.crowd


class ImageSource(Protocol):
    """Anything that can give an image's pixels: a file, or a generator of synthetic images."""

    def read(self) -> Any:
        """Return the image as an RGB `PIL.Image.Image`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One image: where its pixels are, its size, and its boxes (possibly none)."""

    name: str
    source: ImageSource
    width: int
    height: int
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something wrong in a data set, counted and named instead of silently repaired.

    Args:
        kind: "no-area" | "outside" (both drop the box) | "overhang" (the box was clipped to its image)
            | "missing-image" | "missing-annotation" | "size-mismatch" (the file's size counts)
            | "same-photo" (the image is in the training split, too).
        where: file and object.
        message: one sentence.
        drops: whether a box or an image of the annotation was lost by it.
        pixels: by how many a box left its image, where it was clipped.
    """

    kind: str
    where: str
    message: str
    drops: bool = False
    pixels: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One split of a data set, in the order of its list file.

    `len(dataset)` is the number of its images, `dataset[i]` the record of one, and `dataset.torch()` what a loop of
    PyTorch trains on.

    Args:
        name: short name for tables ("bccd").
        format: "voc" | "coco" | "pets" | "udacity" | "shapes"; of merged data sets, all, joined by "+".
        split: the split's name in the data set ("train").
        classes: names in a fixed order, the same for every split; label of class i is i + 1 (0 is background).
        records: the images.
        faults: everything found wrong.
        notes: what was decided while reading, one sentence each ("split 80/20 by seed 0: none is shipped").
    """

    name: str
    format: str
    split: str
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        # Names stand in every table, page and line of output; those of files have passed no reader's check.
        images = [record.name for record in self.records]
        named = {"data set": [self.name], "split": [self.split], "class": self.classes, "image": images}
        for what, name in ((what, name) for what, names in named.items() for name in names):
            if not printable(name):
                check_word(name, what=what, where=visible(self.name))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def torch(self, *, transform: Callable[[Any, Any], tuple[Any, Any]] | None = None) -> TorchDataset:
        """Return this split as a PyTorch data set, with images and targets as torchvision's detectors take them.

            images = dataset.torch()
            loader = DataLoader(images, batch_size=2, shuffle=True, collate_fn=images.collate)

        Args:
            transform: called with each image and target, returns both; for augmentation of your own. None: nothing.

        Returns:
            A data set of (image, target), see `smoothiou.data.dataset.TorchDataset`.
        """
        from smoothiou.data.dataset import TorchDataset

        return TorchDataset(self, transform=transform)

    @property
    def fingerprint(self) -> str:
        """A short hash of every name, size, box and class: equal data gives equal fingerprints."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for record in self.records:
            digest.update(f"{record.name}|{record.width}x{record.height}".encode())
            for box in record.boxes:
                digest.update(f"|{box.label}{box.xyxy}{box.difficult}{box.crowd}".encode())
        return digest.hexdigest()[:8]

    def counts(self) -> dict[str, Any]:
        """Return the numbers of images, boxes and faults that every result carries."""
        boxes = [box for record in self.records for box in record.boxes]
        labels = Counter(box.label for box in boxes if not box.ignored)
        return {
            "images": len(self.records),
            "images_without_boxes": sum(not record.boxes for record in self.records),
            "boxes": len(boxes),
            "difficult": sum(box.difficult for box in boxes),
            "crowd": sum(box.crowd for box in boxes),
            "dropped": sum(fault.drops for fault in self.faults),
            "faults": dict(Counter(fault.kind for fault in self.faults)),
            "per_class": {name: labels[name] for name in self.classes},
        }


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image on disk, decoded by its content, whatever its name ends in.

    Args:
        path: of the file.
        pixels: limit on width x height; as allowed when the data set was read.
    """

    path: Path
    pixels: int = field(default_factory=lambda: limits().pixels)

    def read(self) -> Any:
        """Return the decoded RGB image.

        Raises:
            DataError: the file is missing, cut off or no image.
        """
        from smoothiou.data.images import read_image

        with allowing(dataclasses.replace(limits(), pixels=self.pixels)):
            return read_image(self.path)
