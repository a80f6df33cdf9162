"""What bad input gets: one sentence with the file and a way out, the right exit code, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image

from .conftest import TINY

OBJECT = (
    "<object><name>{name}</name>"
    "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def annotation(*boxes: tuple, name: str = "cell", filename: str = "a.jpg") -> str:
    objects = "".join(OBJECT.format(*box, name=name) for box in boxes)
    size = "<size><width>64</width><height>48</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{size}{objects}</annotation>"


@pytest.fixture
def voc(tmp_path) -> Path:
    """Eight images in PASCAL VOC's layout, six to learn from and two to test on."""
    root = tmp_path / "voc"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = [f"i{number}" for number in range(8)]
    for name in names:
        Image.new("RGB", (64, 48), "white").save(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(annotation((5, 5, 30, 30), filename=f"{name}.jpg"))
    (root / "ImageSets/Main/train.txt").write_text("\n".join(names[:6]))
    (root / "ImageSets/Main/val.txt").write_text("\n".join(names[6:]))
    return root


def test_good_input_is_taken(smoothiou, voc):
    assert smoothiou("train", voc, "--out", "RUN", *TINY).returncode == 0


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("Annotations/i1.xml", "<annotation><object>", "i1.xml"),
        ("Annotations/i1.xml", BOMB, "i1.xml"),
        ("Annotations/i1.xml", annotation((5, 5, 30, 30), filename="../../../etc/passwd"), "i1.xml"),
        ("Annotations/i1.xml", annotation((30, 5, 5, 30), filename="i1.jpg"), "--allow-dropped"),
        ("Annotations/i1.xml", annotation((500, 500, 600, 600), filename="i1.jpg"), "--allow-dropped"),
        ("Annotations/i1.xml", annotation(("nan", 5, 30, 30), filename="i1.jpg"), "i1.xml"),
        ("Annotations/i1.xml", annotation(("inf", 5, 30, 30), filename="i1.jpg"), "i1.xml"),
        ("Annotations/i1.xml", annotation(("five", 5, 30, 30), filename="i1.jpg"), "i1.xml"),
        ("JPEGImages/i1.jpg", "this is no image", "i1.jpg"),
        ("ImageSets/Main/train.txt", "", "train"),
    ],
    ids=["xml-cut", "entity-bomb", "outside-folder", "no-area", "outside-image", "nan", "inf", "word", "no-image",
         "empty-split"],
)  # fmt: skip
def test_faulty_data_is_named_with_file_and_way_out(smoothiou, voc, file, content, said):
    (voc / file).write_text(content)
    result = smoothiou("train", voc, "--out", "RUN", *TINY)
    assert result.returncode == 3, (result.returncode, result.stderr)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_listed_image_that_is_missing_stops_and_one_without_annotation_is_named(smoothiou, voc):
    (voc / "ImageSets/Main/train.txt").write_text("i1\ni2\ni3\n")
    (voc / "Annotations/i1.xml").unlink()
    result = smoothiou("train", voc, "--out", "RUN", *TINY)
    assert result.returncode == 0, result.stderr
    assert "1 x missing-annotation, first: " in result.stderr
    assert "i1" in result.stderr
    (voc / "JPEGImages/i2.jpg").unlink()
    result = smoothiou("train", voc, "--out", "OTHER", *TINY)
    assert result.returncode == 3
    assert "i2" in result.stderr


def test_boxes_without_area_can_be_left_out_by_number_and_are_counted(smoothiou, voc):
    faulty = annotation((30, 5, 5, 30), (5, 5, 30, 30), filename="i1.jpg")
    (voc / "Annotations/i1.xml").write_text(faulty)
    result = smoothiou("train", voc, "--out", "RUN", "--allow-dropped", "1", *TINY)
    assert result.returncode == 0, result.stderr
    manifest = json.loads((voc.parent / "RUN" / "manifest.json").read_text())
    assert manifest["data"]["train"]["counts"]["dropped"] == 1
    assert "i1.xml" in manifest["data"]["train"]["faults"][0]["where"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_stops_with_its_name_also_from_a_loader_process(smoothiou, voc, workers):
    image = voc / "JPEGImages/i1.jpg"
    Image.effect_noise((64, 48), 90).convert("RGB").save(image, quality=95)
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    words = ["--set", "train.batch_size=6", "--train.workers", workers]
    result = smoothiou("train", voc, "--out", "RUN", *TINY, *words)
    assert result.returncode == 3, result.stderr
    assert "i1.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Replace the file" in result.stderr


@pytest.mark.parametrize("what", ["nowhere", "empty", "file.txt"])
def test_a_path_that_is_no_data_set_is_named(smoothiou, tmp_path, what):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    result = smoothiou("train", what, "--out", "RUN", *TINY)
    assert result.returncode == 3
    assert what in result.stderr
    assert not (tmp_path / "RUN").exists()


def test_a_coco_box_of_an_unknown_class_is_named(smoothiou, tmp_path):
    (tmp_path / "coco/annotations").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(tmp_path / "coco/a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 9, 9], "iscrowd": 0, "area": 81}],
    }
    (tmp_path / "coco/annotations/instances_train.json").write_text(json.dumps(content))
    result = smoothiou("train", "coco", "--out", "RUN", *TINY)
    assert result.returncode == 3, result.stderr
    assert "7" in result.stderr
    assert "instances_train.json" in result.stderr


def test_checkpoints_that_are_cut_off_or_of_another_model_are_refused(smoothiou, tmp_path):
    assert smoothiou("train", "shapes", "--out", "RUN", *TINY).returncode == 0
    last = tmp_path / "RUN/last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[:1000])
    cut = smoothiou("eval", "RUN")
    assert cut.returncode == 4
    assert "RUN/last.ckpt: not readable as a checkpoint" in cut.stderr
    torch.save({"format": 1, "model": {"weight": torch.zeros(2)}, "classes": ["a"], "step": 1}, last)
    other = smoothiou("eval", "RUN")
    assert other.returncode == 4
    assert "another model" in other.stderr
    last.unlink()
    assert smoothiou("eval", "RUN").returncode == 4
    assert smoothiou("eval", "nowhere").returncode == 4
    assert smoothiou("eval", "RUN", "--checkpoint", "best").returncode == 4


def test_weights_that_would_be_downloaded_fail_offline_in_one_sentence(smoothiou, tmp_path):
    words = ["--model", "resnet18-fpn", "--weights", "imagenet", *TINY]
    # A proxy that does not exist stands for a machine without network.
    off = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(tmp_path / "hub")}
    result = smoothiou("train", "shapes", "--out", "RUN", *words, **off)
    assert result.returncode == 4, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-2].startswith("smoothiou: ")  # one sentence and one way out
    assert str(tmp_path / "hub") in result.stderr


def test_a_folder_that_holds_other_things_is_not_written_into(smoothiou, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_text("x")
    for command in ("train", "compare"):
        result = smoothiou(command, "shapes", "--out", "photos", "--overwrite", *TINY)
        assert result.returncode == 2, (command, result.stderr)
    assert (tmp_path / "photos/a.jpg").read_text() == "x"


def test_a_full_disk_stops_in_words_and_the_same_command_continues(smoothiou, tmp_path):
    """A real small file system, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for small files, not for a checkpoint of the nano detector with its optimizer (32 MB).
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs rights that this user has not")
    try:
        result = smoothiou("train", "shapes", "--out", "disk/RUN", *TINY)
        assert result.returncode == 1, result.stderr
        assert "No space left on device" in result.stderr
        assert "Free some space or choose another place" in result.stderr
        assert not (disk / "RUN/last.ckpt").exists()
        assert (disk / "RUN/config.toml").is_file()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        again = smoothiou("train", "shapes", "--out", "disk/RUN", *TINY)
        assert again.returncode == 0, again.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=True)
        shutil.rmtree(disk, ignore_errors=True)


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("kind", ["cut off", "of another net", "with code", "no run"])
def test_weights_that_cannot_be_taken_over_are_refused_in_one_sentence(smoothiou, tmp_path, kind, command):
    file = tmp_path / "start.ckpt"
    content = {"of another net": {"weight": torch.zeros(3)}, "with code": {"model": torch.nn.Linear(2, 2)}}
    torch.save(content.get(kind, {}), file)
    if kind == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    if kind == "no run":
        file.unlink()
        file.mkdir()
    result = smoothiou(command, "shapes", "--weights", file, "--out", "RUN", *TINY)
    assert result.returncode == 4, result.stderr
    sentence, way_out = result.stderr.strip().splitlines()[-2:]
    assert sentence.startswith("smoothiou: ")
    assert str(file) in sentence
    assert way_out.startswith("  ")
    assert not (tmp_path / "RUN" / "plan.json").exists()


@pytest.mark.parametrize(
    ("model", "code", "noun"),
    [
        ("timm:resnet81", 2, "timm:resnet18"),
        ("no_such_module:build", 2, "no module"),
        ("os.path:join", 2, "num_classes"),
    ],
)
def test_a_study_that_no_cell_could_train_is_not_planned(smoothiou, voc, model, code, noun):
    ran = smoothiou("compare", voc, "--model", model, "--out", "STUDY", *TINY)
    assert ran.returncode == code, ran.stderr
    assert noun in ran.stderr
    assert not (voc.parent / "STUDY").exists()
