"""New images through a run: the object of the API, the files, tiles, and what cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smoothiou
from smoothiou.data import load_dataset
from smoothiou.engine.predict import image_files, predict_images, summary_line
from smoothiou.engine.tiles import touches_cut, windows
from smoothiou.errors import CheckpointError, ConfigError, DataError


def photo(path: Path, size=(90, 60), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photo(path, exif=exif, quality=95)


def test_a_run_predicts_from_a_path_an_image_and_an_array_alike(run, tmp_path):
    detector = smoothiou.load_run(run)
    path = photo(tmp_path / "a.png")
    boxes, scores, names = detector.predict(path, score=0.01)
    assert boxes.shape == (len(scores), 4)
    assert len(names) == len(scores) > 0
    assert set(names) <= {"cat", "dog"}
    assert (np.diff(scores) <= 0).all()
    with Image.open(path) as image:
        for other in (image, np.asarray(image)):
            assert (detector.predict(other, score=0.01).boxes == boxes).all()
    only_dogs = detector.predict(path, score={"cat": 1.0, "dog": 0.01})
    assert set(only_dogs.names) == {"dog"}


def test_grey_of_16_bits_is_scaled_in_a_file_and_in_an_image_alike(run, tmp_path):
    detector = smoothiou.load_run(run)
    grey = np.random.default_rng(1).integers(0, 65536, (60, 90)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    boxes = detector.predict(tmp_path / "a.png", score=0.01).boxes
    assert (detector.predict(Image.fromarray(grey), score=0.01).boxes == boxes).all()
    with pytest.raises(DataError, match="which is black"):
        detector.predict(Image.fromarray(grey.astype(np.float32)))


@pytest.mark.parametrize("tile", [0, 64])
@pytest.mark.parametrize("size", [(1, 400), (400, 1), (0, 0), (0, 5)])
def test_an_image_or_array_that_is_too_long_or_empty_is_named(run, size, tile):
    detector = smoothiou.load_run(run)
    message = "image: it has no pixels" if 0 in size else f"image: {size[0]} x {size[1]} pixels are too long"
    for image in (Image.new("RGB", size), Image.new("I;16", size), np.zeros((size[1], size[0], 3), dtype=np.uint8)):
        with pytest.raises(DataError, match=message):
            detector.predict(image, tile=tile)


@pytest.mark.parametrize("score", [-1, 2, "x", None, {"cat": 0.5}])
def test_a_score_out_of_range_or_of_one_class_only(run, tmp_path, score):
    with pytest.raises(ConfigError, match="score"):
        smoothiou.load_run(run).predict(photo(tmp_path / "a.png"), score=score)


def test_the_best_scores_are_asked_for_where_none_were_measured(run, tmp_path):
    with pytest.raises(CheckpointError, match="best scores"):
        smoothiou.load_run(run).predict(photo(tmp_path / "a.png"), score="best")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_is_turned_as_a_viewer_turns_it(run, tmp_path, orientation):
    # Pillow's own transposition is the reference; boxes are in the pixels of what is seen.
    path = turned(tmp_path / "a.jpg", orientation)
    with Image.open(path) as stored:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    detector = smoothiou.load_run(run)
    picture, found = detector.read(path)
    assert found == orientation
    assert (np.asarray(picture) == expected).all()
    with Image.open(path) as stored:
        boxes = [detector.predict(image, score=0.1).boxes for image in (path, stored, picture, expected)]
    assert all((each == boxes[0]).all() for each in boxes)


def test_a_study_names_its_runs(tmp_path, run):
    study = tmp_path / "STUDY"
    (study / "cells").mkdir(parents=True)
    run.rename(study / "cells" / "huber-seed0")
    (study / "plan.json").write_text("{}")
    with pytest.raises(CheckpointError) as error:
        smoothiou.load_run(study)
    assert "cells/huber-seed0" in error.value.hint


def test_files_are_coco_csv_and_label_files_that_our_own_readers_read_back(run, tmp_path):
    images = [photo(tmp_path / "photos" / "a.jpg"), turned(tmp_path / "photos" / "b.jpg", 6)]
    out = tmp_path / "OUT"
    found = predict_images(run, [tmp_path / "photos"], out=out, score=0.2, formats=("yolo", "voc"))["images"]
    assert [entry["image"] for entry in found] == [str(path) for path in images]
    assert [(entry["width"], entry["height"], entry["orientation"]) for entry in found] == [(90, 60, 1), (60, 90, 6)]
    coco = json.loads((out / "predictions.json").read_text())
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert len(coco["annotations"]) == len(rows) == sum(len(entry["boxes"]) for entry in found) > 0
    for entry in found:
        with Image.open(entry["picture"]) as picture:
            assert (picture.format, picture.size) == ("JPEG", (entry["width"], entry["height"]))

    # As data sets: the photos as they are seen, beside the label files.
    for name, folder in (("yolo", "images"), ("voc", "JPEGImages")):
        for entry in found:
            (out / folder).mkdir(exist_ok=True)
            Image.new("RGB", (entry["width"], entry["height"])).save(out / folder / f"{entry['name']}.png")
        records = [
            record
            for split in ("train", "val")
            for record in load_dataset(out, format=name, split=split, allow_dropped=99).records
        ]
        for entry in found:
            read = next(record for record in records if Path(record.name).stem == entry["name"])
            assert len(read.boxes) <= len(entry["boxes"])
            for box in read.boxes:
                nearest = min(np.abs(np.subtract(box.xyxy, b["xyxy"])).max() for b in entry["boxes"])
                assert nearest < 0.05


def test_what_cannot_be_read_is_listed_at_the_end_and_the_rest_is_done(run, tmp_path):
    photo(tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no image")
    (tmp_path / "photos" / "._c.jpg").write_bytes(b"a companion")
    photo(tmp_path / "photos" / "d.png")
    with pytest.raises(DataError, match=r"b\.jpg") as error:
        predict_images(run, [tmp_path / "photos"], out=tmp_path / "OUT")
    assert [Path(entry["image"]).name for entry in error.value.details["images"]] == ["a.jpg", "d.png"]
    assert {path.name for path in (tmp_path / "OUT").iterdir()} == {
        "predictions.json", "predictions.csv", "a-boxes.jpg", "d-boxes.png",
    }  # fmt: skip


def test_files_that_are_of_no_earlier_prediction_are_left_alone(run, tmp_path):
    images = [photo(tmp_path / "DATA/images/a.jpg")]
    with pytest.raises(ConfigError, match="run"):
        predict_images(run, images, out=run)
    (tmp_path / "DATA/labels").mkdir()
    with pytest.raises(ConfigError, match="labels"):
        predict_images(run, images, out=tmp_path / "DATA", formats=["yolo"])
    for _ in range(2):  # its own may be written again
        predict_images(run, images, out=tmp_path / "out", formats=["yolo"], pictures=False)


def test_what_a_folder_holds_beside_images_is_said(run, tmp_path):
    photo(tmp_path / "photos/a.jpg")
    for name in ("IMG.HEIC", "b.jpg_", "a.xml", ".DS_Store", "Thumbs.db"):
        (tmp_path / "photos" / name).write_bytes(b"")
    photo(tmp_path / "photos/more/b.jpg")
    result = predict_images(run, [tmp_path / "photos"], out=tmp_path / "out", pictures=False)
    assert [Path(name).name for name in result["left_out"]] == ["IMG.HEIC", "b.jpg_", "more"]
    line = summary_line(result["images"], 0.5, left_out=result["left_out"])
    assert "IMG.HEIC" in line


def test_an_interrupt_loses_nothing_that_was_found(run, tmp_path):
    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    images = [photo(tmp_path / f"{name}.png") for name in "abc"]
    with pytest.raises(KeyboardInterrupt):
        predict_images(run, images, out=tmp_path / "OUT", pictures=False, progress=stop)
    assert len(json.loads((tmp_path / "OUT" / "predictions.json").read_text())["images"]) == 2


def test_two_images_of_one_name_have_two_pictures(run, tmp_path):
    images = [photo(tmp_path / folder / "a.png") for folder in "xy"]
    found = predict_images(run, images, out=tmp_path / "OUT")["images"]
    assert len({entry["picture"] for entry in found}) == 2


def test_globs_and_what_is_not_there(tmp_path):
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.jpg")
    assert image_files([tmp_path / "*.png"]) == [tmp_path / "a.png"]
    for companion in ("._d.png", "__MACOSX/e.png"):
        photo(tmp_path / companion)
    assert image_files([tmp_path / "**/*.png"]) == [tmp_path / "a.png"]
    assert image_files([tmp_path / "__MACOSX/*"]) == [tmp_path / "__MACOSX/e.png"]  # as it was asked for
    photo(tmp_path / "c[1].png")
    assert image_files([tmp_path / "c[1].png"]) == [tmp_path / "c[1].png"]
    for missing in ("*.gif", "nothing.png"):
        with pytest.raises(DataError):
            image_files([tmp_path / missing])


def test_tiles_cover_the_image_and_overlap():
    tiles = windows((1000, 640), tile=640, overlap=0.2)
    assert tiles == [(0, 0, 640, 640), (360, 0, 1000, 640)]
    assert windows((640, 480), tile=640, overlap=0.2) == []
    covered = np.zeros((700, 1500), dtype=bool)
    for left, top, right, bottom in windows((1500, 700), tile=256, overlap=0.1):
        covered[top:bottom, left:right] = True
        assert (right - left, bottom - top) == (256, 256)
    assert covered.all()


def test_a_box_that_a_tile_cuts_is_known_and_one_at_the_border_of_the_image_is_none():
    boxes = np.array([[0, 10, 50, 60], [600, 10, 640, 60], [10, 10, 50, 50]], dtype=float)
    assert touches_cut(boxes, (0, 0, 640, 640), (1000, 640)).tolist() == [False, True, False]


def test_tiles_give_each_object_once(run, tmp_path):
    detector = smoothiou.load_run(run)
    path = photo(tmp_path / "a.png", size=(200, 150))
    found = detector.predict(path, score=0.1, tile=96)
    assert len(found.boxes) > 0
    assert (found.boxes[:, 2] <= 200).all()
    from smoothiou.metrics import box_iou

    for name in set(found.names):
        same = found.boxes[[n == name for n in found.names]]
        overlaps = np.triu(box_iou(same, same), k=1)
        assert (overlaps <= detector.opened.config.eval.nms + 1e-6).all()
