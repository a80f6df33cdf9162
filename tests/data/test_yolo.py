"""YOLO's format: layouts as exporters write them, rows, and every fault with its place, on files made here."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.data.registry import detect_format, list_splits
from smoothiou.errors import DataError
from smoothiou.files import Limits, allowing
from tests.data.conftest import save_image
from tests.data.doctor_sets import TRAINING
from tests.data.folders import boxes

ROW = "0 0.5 0.5 0.2 0.25\n"  # of 100 x 80 pixels: x 40 to 60, y 30 to 50
ROBOFLOW = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['cat', 'dog']\n"


@pytest.fixture
def make_yolo(tmp_path):
    """Return a function that makes a folder from {image: rows, or None for no label file} and a data.yaml."""

    def make(images: dict[str, str | None], config: str = ROBOFLOW, name: str = "yolo") -> Path:
        root = tmp_path / name
        for image, rows in images.items():
            save_image(root / image)
            if rows is not None:
                labels = (root / image.replace("images/", "labels/")).with_suffix(".txt")
                labels.parent.mkdir(parents=True, exist_ok=True)
                labels.write_text(rows)
        if config:
            (root / "data.yaml").write_text(config)
        return root

    return make


@pytest.fixture
def roboflow(make_yolo):
    return make_yolo({f"{split}/images/a.rf.1.jpg": ROW for split in ("train", "valid", "test")})


def test_roboflows_folder_is_read_with_its_paths_that_lead_out(roboflow):
    assert detect_format(roboflow) == "yolo"
    assert list_splits(roboflow) == ("train", "val", "test")
    dataset = load_dataset(roboflow, split="val")
    assert boxes(dataset) == [pytest.approx((40, 30, 60, 50))]
    assert (dataset.classes, dataset.records[0].name) == (("cat",), "valid/images/a.rf.1.jpg")


@pytest.mark.parametrize(
    ("config", "images"),
    [
        ("path: .\ntrain: images/train\nval: images/val\n", ("images/train/a.jpg", "images/val/b.jpg")),
        ("path: /another/machine\ntrain: images/train\nval: images/val\n", ("images/train/a.jpg", "images/val/b.jpg")),
        (
            "train: /content/set/train/images\nval: /content/set/val/images\n",
            ("train/images/a.jpg", "val/images/b.jpg"),
        ),
        ("train: [one/images, two/images]\nval: three/images\n", ("one/images/a.jpg", "three/images/b.jpg")),
        ("train: images/train/\nvalidation: images/val\n", ("images/train/deep/a.jpg", "images/val/b.jpg")),
        ("path: inner\ntrain: images/t\nval: images/v\n", ("inner/images/t/a.jpg", "inner/images/v/b.jpg")),
        ("train: photos\nval: others\n", ("photos/a.jpg", "others/b.jpg")),
    ],
)
def test_layouts(make_yolo, config, images):
    root = make_yolo({**dict.fromkeys(images, ROW), "two/images/c.jpg": ROW}, f"{config}names: {{0: cat}}\n")
    for split, image in zip(("train", "val"), images, strict=True):
        assert image.removeprefix("inner/") in [record.name for record in load_dataset(root, split=split).records]
        assert len(boxes(load_dataset(root / "data.yaml", split=split))) >= 1


@pytest.mark.parametrize("line", ["./images/{}.jpg", "images/{}.jpg", "/elsewhere/images/{}.jpg", " images/{}.jpg \r"])
def test_lists_of_images(make_yolo, line):
    root = make_yolo({"images/a.jpg": ROW, "images/b.jpg": ROW}, "train: train.txt\nval: val.txt\nnames: [cat]\n")
    (root / "train.txt").write_text(f"{line.format('a')}\n\n{line.format('a')}\n")
    (root / "val.txt").write_text(line.format("b"))
    dataset = load_dataset(root, split="train")
    assert [record.name for record in dataset.records] == ["images/a.jpg"]
    assert any("twice" in note for note in dataset.notes)


def test_without_data_yaml_the_names_are_those_of_classes_txt_and_the_images_are_cut(make_yolo):
    root = make_yolo({f"images/{n}.jpg": ROW for n in range(10)}, config="")
    (root / "classes.txt").write_text("cat\ndog\n")
    assert list_splits(root) == ("train", "val")
    assert [len(load_dataset(root, split=split).records) for split in ("train", "val")] == [8, 2]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("0\t0.5\t0.5  0.2 0.25   ", (40, 30, 60, 50)),
        ("0.0 0.5 0.5 0.2 0.25", (40, 30, 60, 50)),
        ("\ufeff0 0.5 0.5 0.2 0.25", (40, 30, 60, 50)),
        ("0 0.4 0.5 0.6 0.4 0.5 0.625", (40, 32, 60, 50)),  # a triangle
        ("0 .1 .1 .2 .1 .2 .2 .1 .2", (10, 8, 20, 16)),  # an oriented box
        ("0 0.95 0.5 0.2 0.25", (85, 30, 100, 50)),  # leaves the image by 5 pixels
    ],
)
def test_rows(make_yolo, row, expected):
    root = make_yolo({"train/images/a.jpg": row, "valid/images/b.jpg": ROW})
    assert boxes(load_dataset(root)) == [pytest.approx(expected, abs=1e-6)]


def test_a_box_past_the_border_is_a_counted_fault(make_yolo):
    root = make_yolo({"train/images/a.jpg": "0 0.95 0.5 0.2 0.25", "valid/images/b.jpg": ROW})
    assert [(fault.kind, fault.pixels) for fault in load_dataset(root).faults] == [("overhang", pytest.approx(5))]


def test_keypoints_follow_the_box_of_a_pose(make_yolo):
    config = ROBOFLOW + "kpt_shape: [2, 3]\n"
    root = make_yolo({"train/images/a.jpg": ROW.strip() + " .1 .1 2 .9 .9 2", "valid/images/b.jpg": ROW}, config)
    assert boxes(load_dataset(root)) == [pytest.approx((40, 30, 60, 50))]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2 0.5 0.5 0.2 0.2", "names"),
        ("-1 0.5 0.5 0.2 0.2", "whole number"),
        ("0.5 0.5 0.5 0.2 0.2", "whole number"),
        ("cat 0.5 0.5 0.2 0.2", "numbers only"),
        ("0 0.5 0.5 0.2", "four numbers"),
        ("0 0.5 0.5 0.2 0.2 0.97", "score"),
        ("0 50 40 20 20", "shares"),
        ("0 nan 0.5 0.2 0.2", "finite"),
        ("0 0.5 0.5 0 0.2", "area"),
        ("0 1.4 0.5 0.2 0.2", "outside"),
    ],
)
def test_a_row_that_is_not_understood_stops_with_its_place_and_the_doctor_names_it(make_yolo, row, what):
    root = make_yolo({"train/images/a.jpg": f"{ROW}{row}\n", "valid/images/b.jpg": ROW})
    with pytest.raises(DataError) as error:
        load_dataset(root)
    assert "train/labels/a.txt, line 2" in error.value.message
    assert what in f"{error.value.message} {error.value.hint}"
    assert examine(root).errors >= 1


def test_empty_and_missing_label_files_are_images_without_objects_and_the_missing_are_counted(make_yolo):
    images = {"train/images/a.jpg": ROW, "train/images/b.jpg": "", "train/images/c.jpg": None}
    dataset = load_dataset(make_yolo({**images, "valid/images/d.jpg": ROW}))
    assert [len(record.boxes) for record in dataset.records] == [1, 0, 0]
    assert any(note.startswith("1 image of train without a label file") for note in dataset.notes)


@pytest.mark.parametrize(
    "images", [{"train/images/a.jpg": None}, {"train/images/a.jpg": ROW, "valid/images/b.jpg": None}]
)
def test_a_split_whose_labels_are_elsewhere_is_a_fault(make_yolo, images):
    with pytest.raises(DataError, match=r"label file"):
        load_dataset(make_yolo({"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW, **images}))


def test_a_test_split_may_be_withheld_or_missing(make_yolo):
    images = {"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW}
    assert list_splits(make_yolo(images)) == ("train", "val")
    assert list_splits(make_yolo({**images, "test/images/c.jpg": None}, name="other")) == ("train", "val")


def test_labels_of_an_image_that_does_not_exist(make_yolo):
    root = make_yolo({"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW})
    (root / "train" / "labels" / "gone.txt").write_text(ROW)
    (root / "train" / "labels" / "._a.txt").write_bytes(b"\0")  # a companion of another system
    with pytest.raises(DataError, match="missing"):
        load_dataset(root)


def test_without_data_yaml_folders_of_images_are_splits(make_yolo):
    root = make_yolo({f"images/{split}/{n}.jpg": ROW for split in ("train", "val") for n in range(3)}, config="")
    (root / "classes.txt").write_text("cat\n")
    train = load_dataset(root)
    assert [record.name for record in train.records] == [f"images/train/{n}.jpg" for n in range(3)]
    assert not [note for note in train.notes if "none is shipped" in note]


def test_labels_and_classes_may_lie_beside_the_images(tmp_path):
    for number in range(5):
        save_image(tmp_path / "set" / f"{number}.jpg")
        (tmp_path / "set" / f"{number}.txt").write_text(ROW)
    (tmp_path / "set" / "classes.txt").write_text("cat\n")
    assert detect_format(tmp_path / "set") == "yolo"
    assert len(boxes(load_dataset(tmp_path / "set"))) == 4


@pytest.mark.parametrize("ending", [".jpg_", "", ".heic"])
def test_an_image_of_a_rare_ending_is_not_missing(roboflow, ending):
    image = roboflow / "train/images/a.rf.1.jpg"
    image.rename(image.with_name(f"b{ending}"))
    labels = roboflow / "train/labels"
    (labels / "a.rf.1.txt").rename(labels / "b.txt")
    save_image(roboflow / "train/images/other.jpg")
    assert [r.name for r in load_dataset(roboflow).records if r.boxes] == [f"train/images/b{ending}"]


def test_a_split_that_does_not_exist_is_never_the_folder_above_it(make_yolo):
    config = "train: images/train\nval: images/val\ntest: ../test/images\nnames: [cat, dog]\n"
    root = make_yolo({"images/train/a.jpg": ROW, "images/val/b.jpg": ROW}, config)
    assert list_splits(root) == ("train", "val")
    (root / "data.yaml").write_text(config.replace("val: images/val", "val: valid/images"))
    with pytest.raises(DataError, match="valid/images"):
        load_dataset(root)


@pytest.mark.parametrize("labels", ["train/labels/night/b.txt", "train/labels/b.TXT"])
def test_labels_without_an_image_are_missed_wherever_they_are(roboflow, labels):
    (roboflow / labels).parent.mkdir(exist_ok=True)
    (roboflow / labels).write_text(ROW)
    with pytest.raises(DataError, match="missing"):
        load_dataset(roboflow)


def test_images_behind_a_link_are_read(roboflow):
    save_image(roboflow / "store/b.jpg")
    (roboflow / "train/images/night").symlink_to("../../store")
    assert "train/images/night/b.jpg" in [record.name for record in load_dataset(roboflow).records]


@pytest.mark.parametrize("names", [b"cat\n\ndog\n", "\u8f66\n".encode("gbk")])
def test_a_classes_txt_that_is_not_understood(make_yolo, names):
    root = make_yolo({f"images/{n}.jpg": ROW for n in range(5)}, config="")
    (root / "classes.txt").write_bytes(names)
    with pytest.raises(DataError, match=r"classes\.txt"):
        load_dataset(root)


def test_of_two_files_that_could_be_the_data_neither_is_taken(make_yolo):
    root = make_yolo({"images/a.jpg": ROW}, config="")
    for name in ("fold1", "fold2"):
        (root / f"{name}.yaml").write_text("train: images\nval: images\nnames: [cat]\n")
    with pytest.raises(DataError, match=r"fold1\.yaml, fold2\.yaml"):
        load_dataset(root)
    assert load_dataset(root / "fold1.yaml").records


def test_images_beside_folders_of_splits_are_not_dropped(make_yolo):
    images = [f"images/{split}/{n}.jpg" for split in ("train", "val") for n in range(3)]
    root = make_yolo(dict.fromkeys((*images, "images/c.jpg"), ROW), config="")
    (root / "classes.txt").write_text("cat\n")
    assert sum(len(load_dataset(root, split=split).records) for split in ("train", "val")) == 7


def test_a_label_file_may_end_in_capitals(roboflow):
    (roboflow / "train/labels/a.rf.1.txt").rename(roboflow / "train/labels/a.rf.1.TXT")
    assert len(boxes(load_dataset(roboflow))) == 1


def no_file(labels: Path) -> None:
    labels.unlink()
    labels.mkdir()


def no_target(labels: Path) -> None:
    labels.unlink()
    labels.symlink_to("nothing.txt")


def another(labels: Path) -> None:
    (labels.parents[1] / "images" / labels.name).write_text("0 0.5 0.5 0.9 0.9\n")


def in_capitals(labels: Path) -> None:
    labels.with_suffix(".TXT").write_text("0 0.5 0.5 0.9 0.9\n")


def another_image(labels: Path) -> None:
    save_image(labels.parents[1] / "images" / f"{labels.stem}.png")


@pytest.mark.parametrize("change", [no_file, no_target, another, in_capitals, another_image])
def test_labels_that_are_no_file_or_of_two_minds_are_named(roboflow, change):
    change(roboflow / "train/labels/a.rf.1.txt")
    with pytest.raises(DataError, match=r"a\.rf\.1"):
        load_dataset(roboflow)
    assert examine(roboflow, training=TRAINING).finding("unreadable-annotation")


@pytest.mark.parametrize("beside", [ROW, ROW.replace("\n", "\r\n"), "a photo of a cat\n"])
def test_a_text_beside_a_photo_that_is_its_labels_or_none_does_not_matter(roboflow, beside):
    (roboflow / "train/images/a.rf.1.txt").write_bytes(beside.encode())
    assert len(boxes(load_dataset(roboflow))) == 1


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("train: [\n", "YAML"),
        ("- a\n- b\n", "expected keys"),
        ("names: [cat]\n", "train is missing"),
        ("train: train/images\nval: nowhere\nnames: [cat]\n", "nowhere"),
        ("train: train/images\nval: {a: b}\nnames: [cat]\n", "val"),
        ("train: train/images\n", "names"),
        ("train: train/images\nnames: {0: cat, 2: dog}\n", "ids"),
        ("train: train/images\nnc: 3\nnames: [cat, dog]\n", "nc"),
        ("train: train/images\nval: /x/images\nnames: [cat]\n", "/x/images"),
        ("train: train/images\nval: ../set/train/images\nnames: [cat]\n", "both"),
        ("train: train/images\nnames: [cat]\nnames: [dog]\n", "twice"),
        ("train: train/images\nVal: valid/images\nnames: [cat]\n", "Val"),
        ("train: train/images\nnames: [cat]\nnc: \u00b2\n", "nc"),
        ("train: train/images\nnames: [cat]\nnc: three\n", "nc"),
        ("train: train/images\nnames: {0: cat, \u00b2: dog}\n", "ids"),
        ("train: train/images\nnames: [cat]\nkpt_shape: '4, 2'\n", "kpt_shape"),
        ("train: train/images\ntest: [valid/images, nowhere]\nnames: [cat]\n", "nowhere"),
    ],
)
def test_a_data_yaml_that_is_not_understood(make_yolo, config, what):
    root = make_yolo({"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW}, config)
    with pytest.raises(DataError) as error:
        load_dataset(root)
    assert what in error.value.message


def test_class_names_are_texts_whatever_yaml_makes_of_them(make_yolo):
    config = "train: train/images\nval: valid/images\nnames: [yes, no, 3]\n"
    rows = "".join(f"{n} 0.5 0.5 0.2 0.25\n" for n in range(3))
    root = make_yolo({"train/images/a.jpg": rows, "valid/images/b.jpg": rows}, config)
    assert load_dataset(root).classes == ("yes", "no", "3")


def test_data_outside_the_folder_is_read_only_when_that_is_allowed(make_yolo, tmp_path):
    make_yolo({"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW}, config="")
    config = tmp_path / "configs" / "my.yaml"
    config.parent.mkdir()
    config.write_text(f"path: ../yolo\n{ROBOFLOW}")
    with pytest.raises(DataError, match="leads out"):
        load_dataset(config)
    assert len(boxes(load_dataset(config, follow_links=True))) == 1


def test_labels_reached_through_a_link_that_leads_out(make_yolo, tmp_path):
    root = make_yolo({"train/images/a.jpg": None, "train/images/b.jpg": ROW, "valid/images/c.jpg": ROW})
    (tmp_path / "secret.txt").write_text(ROW)
    (root / "train" / "labels" / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DataError, match="leads out"):
        load_dataset(root)
    with allowing(Limits(links=True)):
        assert detect_format(root) == "yolo"


def test_an_image_that_cannot_be_read_is_the_fault_not_its_boxes(make_yolo):
    root = make_yolo({"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW})
    (root / "train" / "images" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="image"):
        load_dataset(root)


def test_boxes_are_of_the_pixels_as_stored(make_yolo):
    root = make_yolo({"train/images/a.jpg": ROW, "valid/images/b.jpg": ROW})
    Image.new("RGB", (200, 40)).save(root / "train" / "images" / "a.jpg")
    assert boxes(load_dataset(root)) == [pytest.approx((80, 15, 120, 25))]
