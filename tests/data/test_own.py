"""Data sets and formats of one's own, as `package.module:object`."""

from __future__ import annotations

import sys

import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.data.doctor.repair import repair
from smoothiou.data.registry import detect_format, list_splits
from smoothiou.errors import ConfigError, DataError
from tests.data.conftest import save_image
from tests.data.doctor_sets import TRAINING

CODE = """
import dataclasses
from pathlib import Path

from smoothiou.data import Box, photo_record
from smoothiou.data.formats.base import Entry, Format

HERE = Path(__file__).parent


def photos():
    return {
        split: [photo_record(HERE / f"{split}.jpg", [Box(xyxy=(1, 2, 30, 40), label="cat")], name=split)]
        for split in ("train", "test")
    }


def outside():
    return {"train": [photo_record(HERE / "train.jpg", [Box(xyxy=(1, 2, 1, 40), label="cat", where="a")])]}


def twice():
    return {"train": 2 * photos()["train"]}


def fails():
    raise KeyError("x")


def one_photo_twice():
    return {"train": [photo_record(HERE / "train.jpg", name=name) for name in "ab"]}


def of(**box):
    return {"train": [photo_record(HERE / "train.jpg", [Box(**{"xyxy": (1, 2, 30, 40), "label": "cat", **box})])]}


def text_flag():
    return of(difficult="false")


def nan_flag():
    return of(crowd=float("nan"))


def number_for_a_name():
    return of(label=3)


def no_name():
    return of(label="")


def three_sides():
    return of(xyxy=(1, 2, 3))


def no_sides():
    return of(xyxy=None)


def no_records():
    return {"train": None}


def breaks_off():
    def records():
        yield photos()["train"][0]
        raise KeyError("halfway")

    return {"train": records()}


def number_as_name():
    return {"train": [dataclasses.replace(photos()["train"][0], name=5)]}


def no_boxes():
    return {"train": [dataclasses.replace(photos()["train"][0], boxes=None)]}


def named(name):
    return {"train": [photo_record(HERE / "train.png", [Box(xyxy=(1, 2, 30, 40), label="cat")], name=name)]}


def names_outside():
    return named(str(HERE / "train.png"))


def climbs():
    return named("../../../escaped")


def text_sides():
    return of(xyxy=("1", "2", "30", "40"))


def array():
    import numpy as np

    return of(xyxy=np.array([1, 2, 30, 40.0]), difficult=np.bool_(False))


def other_size():
    (record,) = of()["train"]
    return {"train": [dataclasses.replace(record, width=960.0, height=640.0)]}


def other():
    return [1, 2]


class Corners(Format):
    format = "corners"
    splits = ("train", "test")

    @classmethod
    def fits(cls, path):
        return False

    def has_boxes(self, split):
        return True

    def classes(self):
        return ("cat",)

    def entries(self, split):
        image = self.path / f"{split}.jpg"
        boxes = (Box(xyxy=(1, 2, 30, 40), label="cat"),)
        return [Entry(name=split, split=split, where=split, locate=lambda: image, boxes=boxes)]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return the folder of a module `own_photos` that can be imported."""
    for split in ("train", "test"):
        save_image(tmp_path / f"{split}.jpg")
    (tmp_path / "own_photos.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_photos", None)


def test_a_function_gives_the_records(own):
    assert detect_format("own_photos:photos") == "own"
    assert list_splits("own_photos:photos") == ("train", "test")
    dataset = load_dataset("own_photos:photos", split="test")
    assert (dataset.name, dataset.classes, dataset.records[0].boxes[0].xyxy) == ("photos", ("cat",), (1, 2, 30, 40))
    assert dataset.records[0].source.read().size == (100, 80)
    assert examine("own_photos:photos").survey.name == "photos"


def test_an_array_is_four_numbers(own):
    assert load_dataset("own_photos:array").records[0].boxes[0].xyxy == (1.0, 2.0, 30.0, 40.0)
    assert examine("own_photos:array").survey.name == "array"


def test_a_class_reads_a_folder_as_a_format(own):
    dataset = load_dataset(own, format="own_photos:Corners", split="test")
    assert (dataset.format, len(dataset.records)) == ("corners", 1)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("outside", "area"), ("twice", "two images"), ("fails", "KeyError"), ("other", "list"),
        ("one_photo_twice", "several annotations"), ("text_flag", "difficult"), ("nan_flag", "crowd"),
        ("number_for_a_name", "label"), ("no_name", "label"), ("three_sides", "xyxy"), ("text_sides", "xyxy"),
        ("other_size", "100 x 80"), ("no_sides", "xyxy"), ("no_records", "train"), ("breaks_off", "halfway"),
        ("number_as_name", "name"), ("no_boxes", "boxes"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_named(own, name, what):
    with pytest.raises(DataError, match=what):
        load_dataset(f"own_photos:{name}")


def test_what_is_no_format_and_what_is_no_code(own):
    with pytest.raises(ConfigError, match="Format"):
        load_dataset(own, format="own_photos:photos")
    with pytest.raises(DataError, match="no such folder"):
        load_dataset("no_such_folder_or_module:train")


@pytest.mark.parametrize("name", ["names_outside", "climbs"])
def test_a_repaired_copy_is_written_into_its_folder_alone(own, name, tmp_path):
    photo = tmp_path / "train.png"
    Image.new("RGBA", (100, 80), (200, 30, 40, 90)).save(photo)
    before = photo.read_bytes()
    repair(examine(f"own_photos:{name}", training=TRAINING), tmp_path / "deep/er/out")
    assert photo.read_bytes() == before
    assert len(list((tmp_path / "deep/er/out/images/train").iterdir())) == 1
