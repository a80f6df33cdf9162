"""Every reader of files that others made, each with good files to start from."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.box_list import read_box_list
from smoothiou.data.formats.coco import Coco
from smoothiou.data.formats.udacity_table import read_labels
from smoothiou.data.formats.voc_xml import read_annotation
from smoothiou.data.formats.yolo_config import read_config
from smoothiou.data.images import image_size, read_image
from smoothiou.data.registry import detect_format, list_splits
from smoothiou.data.splits import read_list
from smoothiou.detectors import tf_checkpoint
from smoothiou.detectors.pretrained import read_checkpoint
from smoothiou.engine.checkpoint import load_checkpoint, restore_model, save_checkpoint
from smoothiou.engine.config import build_config, recipes
from smoothiou.metrics import evaluate_detections
from tests.detectors.tf_writer import write_tf_checkpoint
from tests.fuzz.mutate import mutate


@dataclass(frozen=True)
class Reader:
    """One way in.

    Args:
        name: for the log.
        seeds: good files.
        kind: how they are made worse (`mutate`).
        read: reads a folder that holds the bad file as `name`.
        file: what it is called there.
    """

    name: str
    seeds: Callable[[Path], list[bytes]]
    kind: str
    read: Callable[[Path], object]
    file: str


def bad_file(reader: Reader, seeds: list[bytes], seed: int) -> bytes:
    """Return the file of one case: the same for the same number."""
    chance = random.Random(seed)
    if chance.random() < 0.02:
        return chance.randbytes(chance.choice((0, 1, 7, 100, 5000)))
    return mutate(chance.choice(seeds), chance, kind=reader.kind)


# ---- good files

XML = (
    "<annotation><folder>VOC</folder><filename>a.png</filename>"
    "<size><width>20</width><height>10</height><depth>3</depth></size>"
    "<object><name>dog</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax>"
    "</bndbox><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    "</object><object><name>cat</name><bndbox><xmin>1.5</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax></bndbox>"
    "</object></annotation>"
)
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}, {"id": 2, "file_name": "b/a.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 6.5], "iscrowd": 0, "area": 32.5},
        {"id": 2, "image_id": 2, "category_id": 7, "bbox": [0, 0, 20, 10], "iscrowd": 1},
    ],
    "categories": [{"id": 1, "name": "dog"}, {"id": 7, "name": "cat"}],
}
RESULTS = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 6], "score": 0.9}] * 3
CSV = (
    "xmin,ymin,xmax,ymax,Frame,Label,Preview URL\n1,2,9,8,a.png,Car,x\n3,4,12,9,a.png,Truck,y\n",
    'a.png 1 2 9 8 0 "car"\na.png 3 4 12 9 1 "trafficLight" "Red"\n',
    "frame,xmin,xmax,ymin,ymax,class_id\na.png,1,9,2,8,1\na.png,3,12,4,9,2\n",
)

YAML = (
    "path: .\ntrain: ../train/images\nval: [a, b]\ntest:\nnc: 2\nnames: ['dog', \"cat\"]\n",
    "train: images/train\nval: images/val\nnames:\n  0: dog\n  1: cat\nkpt_shape: [17, 3]\n",
)


def picture(kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(10, 20, 3)).convert(mode)
    image.save(buffer, kind)
    return buffer.getvalue()


def pictures(_: Path) -> list[bytes]:
    plain = [picture(kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "DIB", "AVIF")]
    others = [picture("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    packed = []
    for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 10), (1, 2, 3)).save(buffer, "TIFF", compression=how)
        packed.append(buffer.getvalue())
    frames = io.BytesIO()
    Image.new("RGB", (20, 10)).save(frames, "GIF", save_all=True, append_images=[Image.new("RGB", (20, 10), (9, 9, 9))])
    return [*plain, *others, *packed, frames.getvalue(), picture("JPEG", "CMYK"), picture("EPS")]


def checkpoints(folder: Path) -> list[bytes]:
    save_checkpoint(folder / "a.ckpt", {"model": torch.nn.Linear(2, 3).state_dict(), "step": 3, "classes": ["a"]})
    legacy = io.BytesIO()
    torch.save(torch.nn.Linear(2, 3).state_dict(), legacy, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "a.ckpt") as whole:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as again:
            for name in whole.namelist():
                again.writestr(name, whole.read(name) + b"\0" * 100_000 * name.endswith("data/0"))
    return [(folder / "a.ckpt").read_bytes(), legacy.getvalue(), packed.getvalue()]


def indexes(folder: Path) -> list[bytes]:
    some = {f"layer_{n}/weights": np.arange(n + 1, dtype=np.float32) for n in range(9)}
    write_tf_checkpoint(folder / "model.ckpt", some)
    return [(folder / "model.ckpt.index").read_bytes()]


# ---- readers


def _coco(folder: Path) -> None:
    Coco(folder / "train.json").entries("train")


def _data(folder: Path) -> None:
    """Read a whole data set with one bad file in it, up to its pixels and its fingerprint."""
    try:
        detect_format(folder)
        list_splits(folder)
    finally:
        data = load_dataset(folder, allow_dropped=10)
        str(data.counts()) + data.fingerprint
        for record in data.records[:3]:
            record.source.read()


def _checkpoint(folder: Path) -> None:
    try:
        content = load_checkpoint(folder / "a.ckpt", needed=("model", "step"))
        restore_model(torch.nn.Linear(2, 3), content["model"], path="a.ckpt")
    finally:
        read_checkpoint(folder / "a.ckpt")


def _index(folder: Path) -> None:
    found = tf_checkpoint.open_tf_checkpoint(folder / "model.ckpt")
    for name in found.variables:
        found.read(name)


def _index_without_checksums(folder: Path) -> None:
    """Believe every checksum, so that what is behind them is tried as well."""
    with (
        mock.patch.object(tf_checkpoint, "crc32c", return_value=0),
        mock.patch.object(tf_checkpoint, "unmask", return_value=0),
    ):
        _index(folder)


def _results(folder: Path) -> None:
    (folder / "truth.json").write_text(json.dumps(COCO))
    evaluate_detections(folder / "truth.json", folder / "results.json")


def _boxes(folder: Path) -> None:
    (folder / "b.json.gz").write_bytes(gzip.compress((folder / "a.json").read_bytes(), 1, mtime=0))
    try:
        read_box_list(folder / "a.json")
    finally:
        read_box_list(folder / "b.json.gz")


def _packed(_: Path) -> list[bytes]:
    return [gzip.compress(json.dumps(COCO).encode(), mtime=0)]


def _recipe(folder: Path) -> None:
    build_config(str(folder / "a.toml"), {}).flat()


def _image(folder: Path) -> None:
    try:
        image_size(folder / "a.png")
    finally:
        read_image(folder / "a.png")


def _texts(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda _: [text.encode() for text in texts]


def _yolo_rows(folder: Path) -> list[bytes]:
    (folder / "data.yaml").write_text("train: .\nval: .\nnames: [dog, cat]\n")
    return [b"0 .5 .5 .2 .3\n1 .1 .1 .9 .1 .5 .8\n", b"1\t0.25 0.5 0.5 1 \r\n\r\n"]


def _recipes(_: Path) -> list[bytes]:
    return [path.read_bytes() for path in recipes().values()]


JSON = _texts(json.dumps(COCO))
READERS = (
    Reader("voc-xml", _texts(XML), "xml", lambda f: read_annotation(f / "a.xml", root=f), "a.xml"),
    Reader("voc-data", _texts(XML), "xml", _data, "a.xml"),
    Reader("voc-list", _texts("a\nb  1\nc.jpg -1\n"), "lines", lambda f: read_list(f / "a.txt"), "a.txt"),
    Reader("coco-json", JSON, "json", _coco, "train.json"),
    Reader("coco-data", JSON, "json", _data, "train.json"),
    Reader("yolo-yaml", _texts(*YAML), "lines", lambda f: read_config(f / "data.yaml"), "data.yaml"),
    Reader("yolo-data", _yolo_rows, "lines", _data, "a.txt"),
    Reader("csv", _texts(*CSV), "lines", lambda f: read_labels(f / "labels.csv"), "labels.csv"),
    Reader("csv-data", _texts(*CSV), "lines", _data, "labels.csv"),
    Reader("boxes", JSON, "json", _boxes, "a.json"),
    Reader("boxes-gz", _packed, "bytes", lambda f: read_box_list(f / "a.json.gz"), "a.json.gz"),
    Reader("results", _texts(json.dumps(RESULTS)), "json", _results, "results.json"),
    Reader("truth", JSON, "json", lambda f: evaluate_detections(f / "truth.json", RESULTS), "truth.json"),
    Reader("recipe", _recipes, "toml", _recipe, "a.toml"),
    Reader("image", pictures, "bytes", _image, "a.png"),
    Reader("checkpoint", checkpoints, "bytes", _checkpoint, "a.ckpt"),
    Reader("tf-index", indexes, "bytes", _index, "model.ckpt.index"),
    Reader("tf-inside", indexes, "bytes", _index_without_checksums, "model.ckpt.index"),
)


def prepare(reader: Reader, folder: Path) -> list[bytes]:
    """Lay down what the reader needs beside the bad file, and return its good files."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = reader.seeds(folder)
    if reader.name.endswith("-data"):
        (folder / "b").mkdir(exist_ok=True)
        for place in (folder / "a.png", folder / "b" / "a.png"):
            place.write_bytes(picture("PNG"))
    return seeds
