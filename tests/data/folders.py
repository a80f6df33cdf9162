"""Folders of photos with their XML, as people lay them out, and what is read of them."""

from __future__ import annotations

from smoothiou.data import load_dataset

ONE = [("dog", (11, 21, 30, 40))]
BOX = (1, 1, 20, 20)
CORNERS = "<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"


def boxes(dataset):
    return [box.xyxy for record in dataset.records for box in record.boxes]


def records(root, split="train", **options):
    return {record.name: record for record in load_dataset(root, split=split, **options).records}


def names(root, split="train"):
    return sorted(record.name for record in load_dataset(root, split=split).records)


def two_folders(root, xml_file, image_file, *, xml: str, images: str, count: int = 5):
    for number in range(count):
        image_file(root / images / f"{number}.jpg")
        xml_file(root / xml / f"{number}.xml", ONE, file_name=f"{number}.jpg")
    return root


def photos_of(root, split="train"):
    return sorted(record.source.path.relative_to(root).as_posix() for record in load_dataset(root, split=split).records)


def split_of(root, xml_file, image_file, folder, *, xml="", images="", count=2, name=""):
    """Write some photos with their XML into two folders, by default the same."""
    for number in range(count):
        image_file(root / folder / images / f"{name}{number}.jpg")
        xml_file(root / folder / xml / f"{name}{number}.xml", ONE, file_name=f"{name}{number}.jpg")


def yolo(root, image_file, *, name="a", label="a"):
    image_file(root / "images/train" / f"{name}.jpg")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train" / f"{label}.txt").write_text("0 0.5 0.5 0.4 0.3\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [cat]\n")
    return root
