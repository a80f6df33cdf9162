"""Makes small data sets of every format, with real image files, for one test each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def save_image(path: Path, size: tuple[int, int] = (100, 80), *, kind: str | None = None) -> Path:
    """Write a red image with a corner of its own, for images of the same bytes are one photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    red, green, blue, *_ = hashlib.sha256(str(path).encode()).digest()
    image = Image.new("RGB", size, (200, 30, 40))
    image.paste((red, green, blue), (0, 0, 8, 8))
    image.save(path, format=kind)
    return path


def write_xml(
    path: Path,
    objects: Sequence[tuple[str, Sequence[Any]]] = (),
    *,
    file_name: str = "",
    size: tuple[int, int] = (100, 80),
    extra: str = "",
) -> Path:
    """Write objects (label, (xmin, ymin, xmax, ymax)) as VOC's XML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = ("xmin", "ymin", "xmax", "ymax")
    body = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, corners, strict=True))
        + "</bndbox></object>\n"
        for label, corners in objects
    )
    name = f"<filename>{file_name}</filename>\n" if file_name else ""
    measure = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>\n"
    path.write_text(f"<annotation>\n{name}{measure}{body}{extra}</annotation>\n")
    return path


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a VOC folder from {split: {id: objects}}, with its lists and images."""

    def make(splits: dict[str, dict[str, Sequence[tuple[str, Sequence[Any]]]]], name: str = "voc") -> Path:
        root = tmp_path / name
        lists = root / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        for split, images in splits.items():
            (lists / f"{split}.txt").write_text("".join(f"{image}\n" for image in images))
            for image, objects in images.items():
                save_image(root / "JPEGImages" / f"{image}.jpg")
                write_xml(root / "Annotations" / f"{image}.xml", objects, file_name=f"{image}.jpg")
        return root

    return make


def coco_content(images: dict[str, list[tuple[str, Sequence[float]]]], classes: Sequence[str]) -> dict[str, Any]:
    """Return COCO's dictionary for {file name: [(label, bbox), ...]}; category ids are 10, 20, ..."""
    content: dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": 10 * n, "name": name} for n, name in enumerate(classes, 1)]
    for number, (file_name, boxes) in enumerate(images.items(), 5):
        content["images"].append({"id": number, "file_name": file_name, "width": 100, "height": 80})
        for label, bbox in boxes:
            category_id = 10 * (list(classes).index(label) + 1)
            entry = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": category_id}
            content["annotations"].append({**entry, "bbox": list(bbox), "iscrowd": 0})
    return content


@pytest.fixture
def make_coco(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a COCO folder of the split `train` and `val` from a dictionary each."""

    def make(train: dict[str, Any], val: dict[str, Any] | None = None, name: str = "coco") -> Path:
        root = tmp_path / name
        (root / "annotations").mkdir(parents=True)
        for split, content in (("train", train), ("val", val)):
            if content is None:
                continue
            (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
            for image in content.get("images", []):
                if isinstance(image, dict) and isinstance(name := image.get("file_name"), str) and ".." not in name:
                    save_image(root / "images" / split / name.lstrip("/"))
        return root

    return make


# The functions themselves, for tests that build a layout of their own.


@pytest.fixture
def image_file() -> Callable[..., Path]:
    return save_image


@pytest.fixture
def xml_file() -> Callable[..., Path]:
    return write_xml


@pytest.fixture
def coco_dict() -> Callable[..., dict[str, Any]]:
    return coco_content
