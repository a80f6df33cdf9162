"""Udacity's folders: which label file, where the frames are, and a cut that keeps stretches of a drive together."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.data import choose_splits, detect_format, list_splits, load_dataset
from smoothiou.data.formats.udacity import class_order, group_by_time, second, set_and_split
from smoothiou.data.splits import seeded_cut
from smoothiou.errors import DataError

START = 1478019952


def cut_by_time(frames, *, seed):
    group, how = group_by_time(frames)
    return seeded_cut(frames, seed=seed, group_of=group), how


def frame(seconds: float) -> str:
    return f"{round((START + seconds) * 1_000_000) * 1000}.jpg"


FRAMES = [frame(step / 2) for step in range(1200)]  # Ten minutes at 2 Hz.


@pytest.fixture
def make(tmp_path, image_file):
    """Return a function that writes label files {name: [(frame, corners, label), ...]} in autti's layout."""

    def make_folder(files: dict[str, list[tuple[str, tuple, str]]], images: str = "images") -> Path:
        root = tmp_path / "drive"
        root.mkdir(exist_ok=True)
        for name, rows in files.items():
            text = "".join(f'{at} {" ".join(map(str, corners))} 0 "{label}"\n' for at, corners, label in rows)
            content = text.encode()
            (root / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
            for at, *_ in rows:
                if not (root / images / at).exists():
                    image_file(root / images / at)
        return root

    return make_folder


def rows(*frames: str, label: str = "car") -> list[tuple[str, tuple, str]]:
    return [(at, (10, 20, 30, 40), label) for at in frames]


@pytest.mark.parametrize("images", ["images", ".", "object-dataset"])
@pytest.mark.parametrize("name", ["labels.csv", "labels_autti.csv.gz"])
def test_frames_beside_the_labels_in_images_or_in_any_folder_there(make, images, name):
    root = make({name: rows(*FRAMES[::60])}, images=images)
    assert detect_format(root) == detect_format(root / name) == "udacity"
    assert list_splits(root) == ("train", "val")
    assert choose_splits(root) == ("train", "", "val")
    train, val = (load_dataset(root, split=split) for split in ("train", "val"))
    assert sorted(r.name for r in (*train.records, *val.records)) == FRAMES[::60]
    assert train.records[0].boxes[0].xyxy == (10, 20, 30, 40)
    assert train.records[0].source.read().size == (100, 80)
    assert "split 80/20 by seed 0 in blocks of 25 s of the drive: none is shipped" in train.notes


def test_missing_frames_are_named_and_counted(make):
    root = make({"labels.csv": rows(*FRAMES[::60])})
    for name in FRAMES[: 5 * 60 : 60]:
        (root / "images" / name).unlink()
    expected = f"5 .*missing: {FRAMES[0]}, {FRAMES[60]}, {FRAMES[120]}.* 2 more"
    for split in ("train", "val"):
        with pytest.raises(DataError, match=expected):
            load_dataset(root, split=split)


def test_one_file_per_split_is_read_as_shipped(make):
    files = {"set_train.csv": rows("a.jpg", "b.jpg"), "set_valid.csv": rows("c.jpg"), "set.csv": rows("a.jpg")}
    root = make(files)
    assert list_splits(root) == ("train", "valid")
    assert [len(load_dataset(root, split=split).records) for split in ("train", "val")] == [2, 1]
    # A file stands for the files of its set.
    assert list_splits(root / "set_valid.csv") == ("train", "valid")
    assert load_dataset(root / "set_train.csv", split="val").split == "valid"
    # Named itself, the file of all frames is cut.
    assert list_splits(root / "set.csv") == ("train", "val")


def test_of_several_sets_the_one_called_labels_is_read_and_others_must_be_named(make):
    two = {"labels_crowdai.csv": rows("a.jpg"), "labels_autti.csv": rows("b.jpg")}
    root = make(two)
    with pytest.raises(DataError, match=r"2 sets.*labels_autti, labels_crowdai\..*labels_autti\.csv"):
        list_splits(root)
    make({"labels.csv": rows("a.jpg", "b.jpg")})
    train = load_dataset(root)
    assert train.name == "drive"
    assert "of 3 sets of labels in the folder, that called labels was read" in train.notes
    assert load_dataset(root / "labels_autti.csv").name == "labels_autti"


def test_two_files_for_one_split_are_refused(make):
    root = make({"labels_train.csv": rows("a.jpg"), "train_labels.csv": rows("a.jpg")})
    with pytest.raises(DataError, match=r"labels_train\.csv and train_labels\.csv"):
        load_dataset(root)


def test_other_csv_files_are_no_labels(make, tmp_path):
    root = make({"labels_train.csv": rows("a.jpg"), "labels_val.csv": rows("b.jpg")})
    (root / "readme.csv").write_text("what,why\nthis,that\n")
    assert list_splits(root) == ("train", "val")
    with pytest.raises(DataError, match=r"readme\.csv: .*row"):
        load_dataset(root / "readme.csv", format="udacity")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no label file"):
        load_dataset(tmp_path / "empty", format="udacity")


def test_boxes_without_area_and_beyond_the_frame(make):
    odd = [("a.jpg", (10, 0, 30, 0), "car"), ("a.jpg", (60, 10, 104, 40), "car"), ("a.jpg", (90, 10, 300, 40), "car")]
    root = make({"labels_train.csv": [*odd, *rows("b.jpg")]})
    with pytest.raises(DataError) as caught:
        load_dataset(root)
    assert "2 boxes without area or outside the image: labels_train.csv, line 1 has no area" in str(caught.value)
    assert "line 3 lies more than half outside its image of 100 x 80 pixels (x 90 to 300" in str(caught.value)
    dataset = load_dataset(root, allow_dropped=2)
    assert [box.xyxy for box in dataset.records[0].boxes] == [(60, 10, 100, 40)]
    assert dataset.counts()["faults"] == {"no-area": 1, "overhang": 1, "outside": 1}


def test_a_frame_name_that_leads_out_is_refused(make):
    root = make({"labels_train.csv": rows("a.jpg")})
    (root / "labels_train.csv").write_text('../../secret.jpg 1 2 3 4 0 "car"\n')
    with pytest.raises(DataError, match=r"labels_train\.csv, line 1"):
        load_dataset(root)


def test_classes_have_a_fixed_order(make):
    assert class_order({"biker", "car", "truck"}) == ("car", "truck", "biker")
    assert class_order({"10", "9", "1"}) == ("1", "9", "10")
    assert class_order({"stop", "car"}) == ("car", "stop")
    root = make({"labels_train.csv": rows("a.jpg", label="Truck"), "labels_val.csv": rows("b.jpg", label="Car")})
    train, val = (load_dataset(root, split=split) for split in ("train", "val"))
    assert train.classes == val.classes == ("car", "truck")
    assert 'classes without a box in the split "train": car' in val.notes


@given(st.lists(st.floats(0, 4000), unique=True, min_size=20, max_size=200), st.integers(0, 50))
def test_no_second_of_a_drive_is_on_both_sides(times, seed):
    frames = list(dict.fromkeys(frame(at) for at in times))
    cut, _ = cut_by_time(frames, seed=seed)
    assert sorted(cut["train"] + cut["val"]) == sorted(frames)
    assert not {second(name) for name in cut["train"]} & {second(name) for name in cut["val"]}


def test_the_blocks_are_long_where_the_drive_is():
    cut, how = cut_by_time(FRAMES, seed=0)
    assert how == "in blocks of 25 s of the drive"
    assert 0.7 < len(cut["train"]) / len(FRAMES) < 0.9
    # Blocks of about 50 frames, so few frames have a neighbour on the other side.
    side = {name: part for part, names in cut.items() for name in names}
    changes = sum(side[a] != side[b] for a, b in itertools.pairwise(FRAMES))
    assert 0 < changes <= 2 * 5
    assert cut_by_time(FRAMES[:120], seed=0)[1] == "in blocks of 5 s of the drive"
    assert cut_by_time(FRAMES[:20], seed=0)[1] == "in seconds of the drive"
    assert cut_by_time(FRAMES, seed=1)[0] != cut


def test_names_without_a_time_are_cut_one_by_one_and_said_to_be():
    cut, how = cut_by_time(["road1.png", "road2.png", *FRAMES[:3]], seed=0)
    assert how == "frame by frame, since the names hold no time"
    assert len(cut["train"]) == 4


@pytest.mark.parametrize(
    ("name", "at"),
    [("1478019952686311006.jpg", START), ("a/1478019952.png", START), ("road150.png", None), ("147801995.jpg", None)],
)
def test_the_second_of_a_frame(name, at):
    assert second(name) == at


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("labels.csv", ("labels", "")),
        ("as_autti_train.csv", ("as_autti", "train")),
        ("labels_crowdai.csv.gz", ("labels_crowdai", "")),
        ("valid.csv", ("", "valid")),
        ("train_test.csv", ("train_test", "")),
    ],
)
def test_what_a_file_name_tells(name, told):
    assert set_and_split(Path(name)) == told
