"""A merged data set goes through the commands as any other."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from smoothiou.api.settings import data_name

from .conftest import TINY

XML = (
    "<annotation><size><width>64</width><height>48</height></size><object><name>dog</name><bndbox>"
    "<xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def two_years(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        root = tmp_path / "kit" / year
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        for split, numbers in (("train", range(4)), ("val", range(4, 6))):
            names = [f"{year[3:]}_{number}" for number in numbers]
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names))
            for number, name in zip(numbers, names, strict=True):
                colour = (40 * number, int(year[3:]) % 100, 9)
                Image.new("RGB", (64, 48), colour).save(root / "JPEGImages" / f"{name}.png")
                (root / "Annotations" / f"{name}.xml").write_text(XML)
    return "kit/VOC2007+kit/VOC2012"


def test_the_paper_s_merged_set_is_trained_on_and_tested_on_2012_val(smoothiou, tmp_path, two_years):
    result = smoothiou("train", two_years, "--data.train", "VOC++Train", "--loss", "huber", *TINY)
    assert result.returncode == 0, result.stderr
    assert "train VOC2007+VOC2012/VOC++Train (voc): 8 images, 8 boxes" in result.stderr
    assert "same-photo" not in result.stderr
    folder = tmp_path / "runs" / "VOC2007-VOC2012-huber-seed0"
    data = json.loads((folder / "manifest.json").read_text())["data"]
    assert (data["train"]["split"], data["test"]["name"], data["test"]["split"]) == ("VOC++Train", "VOC2012", "val")
    assert len(json.loads((folder / "localization.json").read_text())["images"]) == 2
    assert smoothiou("eval", folder).returncode == 0


def test_a_study_of_a_sum_is_planned(smoothiou, two_years):
    words = ("--data.train", "VOC2012:train+VOC2007:train", "--data.test", "VOC2012:val", "--dry-run")
    result = smoothiou("compare", two_years, *words, *TINY)
    assert result.returncode == 0, result.stderr
    assert "merged, images of each: VOC2012:train 4, VOC2007:train 4" in result.stderr


def test_a_mistake_in_a_sum_is_exit_3_with_a_way_out(smoothiou, two_years):
    result = smoothiou("compare", two_years, "--data.train", "VOC2007:trian", "--dry-run", *TINY)
    assert result.returncode == 3
    assert 'Did you mean "train"' in result.stderr


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/bccd", "bccd"),
        ("a/VOC2007+b/VOC2012", "VOC2007-VOC2012"),
        ("a/x:train+b/y", "x-train-y"),
        ("shapes", "shapes"),
    ],
)
def test_the_name_of_a_folder_tells_all_data(path, name):
    assert data_name(path) == name
