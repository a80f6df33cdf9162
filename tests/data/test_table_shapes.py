"""Tables of any usual delimiter and ending, and whose frames they are of."""

from __future__ import annotations

import pytest

from smoothiou.data import load_dataset
from smoothiou.errors import DataError
from tests.data.folders import records

ROWS = [
    ("xmin", "ymin", "xmax", "ymax", "Frame", "Label"),
    (1, 2, 30, 40, "a.jpg", "Car"),
    (5, 6, 70, 71.5, "b.jpg", "Truck"),
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("header", [True, False])
def test_a_table_may_be_quoted_and_have_any_usual_delimiter(tmp_path, image_file, delimiter, quoted, header):
    for name in "ab":
        image_file(tmp_path / f"{name}.jpg")
    texts = [[f'"{cell}"' if quoted else str(cell) for cell in row] for row in ROWS[0 if header else 1 :]]
    if delimiter == ";":
        texts[-1][3] = texts[-1][3].replace(".", ",")  # as a spreadsheet in German writes it
    (tmp_path / "labels_train.csv").write_text("\n".join(delimiter.join(row) for row in texts))
    assert {name: r.boxes[0].xyxy for name, r in records(tmp_path).items()} == {
        "a.jpg": (1, 2, 30, 40),
        "b.jpg": (5, 6, 70, 71.5),
    }


def test_a_quoted_label_may_hold_a_delimiter(tmp_path, image_file):
    image_file(tmp_path / "a.jpg")
    (tmp_path / "labels_train.csv").write_text('xmin,ymin,xmax,ymax,Frame,Label\n1,2,30,40,a.jpg,"car; red"\n')
    assert records(tmp_path)["a.jpg"].boxes[0].label == "car; red"


@pytest.mark.parametrize(
    ("text", "named"), [("xmin,ymin,xmax,ymax,Label\n1,2,3,4,car\n", "frame"), ("a|b|c\n1|2|3\n", "layout")]
)
def test_why_a_table_is_not_read_is_said_of_its_folder(tmp_path, text, named):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    assert named in caught.value.hint


def test_the_frames_of_a_split_are_in_its_own_folder(tmp_path, image_file):
    for split in ("train", "test"):
        image_file(tmp_path / split / "0.jpg")
        (tmp_path / f"labels_{split}.csv").write_text("0.jpg,1,30,2,40,1\n")
    for split in ("train", "test"):
        (record,) = load_dataset(tmp_path, split=split).records
        assert record.source.path.parent.name == split


def test_a_frame_that_could_be_either_of_two_is_refused(tmp_path, image_file):
    for folder in ("depth", "frames"):
        image_file(tmp_path / folder / "0.jpg")
    (tmp_path / "labels_train.csv").write_text("0.jpg,1,30,2,40,1\n")
    with pytest.raises(DataError, match=r"depth/0\.jpg or frames/0\.jpg"):
        load_dataset(tmp_path)


def test_a_table_may_end_in_tsv(tmp_path, image_file):
    image_file(tmp_path / "1.jpg")
    (tmp_path / "labels.tsv").write_text("frame\txmin\txmax\tymin\tymax\tclass_id\n" + "1.jpg\t1\t20\t2\t22\tcar\n")
    assert [len(record.boxes) for record in records(tmp_path).values()] == [1]
