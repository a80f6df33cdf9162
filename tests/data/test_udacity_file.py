"""Udacity's label files: two layouts, a header that is wrong and one that is missing, and rows that are cut off."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from smoothiou.data.formats.udacity_table import is_label_file, read_labels
from smoothiou.errors import DataError

CROWDAI = """xmin,ymin,xmax,ymax,Frame,Label,Preview URL
785,533,905,644,1479498371963069978.jpg,Car,http://somewhere/1
89,551,291,680,1479498371963069978.jpg,Truck,
268,546,383,650,1479498372942264998.jpg,Pedestrian,
"""
AUTTI = """1478019952686311006.jpg 950 574 1004 620 0 "car"
1478019952686311006.jpg 1748 482 1818 744 1 "pedestrian"
1478019968680240537.jpg 888 498 910 532 0 "trafficLight" "Red"
"""
IDS = """frame,xmin,xmax,ymin,ymax,class_id
road150.png,67,325,26,280,2
road150.png,37,176,25,190,3
"""


@pytest.fixture
def write(tmp_path):
    def write_file(content: str, name: str = "labels.csv") -> Path:
        path = tmp_path / name
        path.write_text(content)
        return path

    return write_file


def corners(path: Path) -> dict:
    return {frame: [(box.label, box.xyxy) for box in boxes] for frame, boxes in read_labels(path).boxes.items()}


def test_commas_and_a_header(write):
    assert corners(write(CROWDAI)) == {
        "1479498371963069978.jpg": [("car", (785, 533, 905, 644)), ("truck", (89, 551, 291, 680))],
        "1479498372942264998.jpg": [("pedestrian", (268, 546, 383, 650))],
    }
    labels = read_labels(write(CROWDAI, "again.csv"))
    assert (labels.layout, labels.notes) == ("crowdai", ())
    assert labels.boxes["1479498372942264998.jpg"][0].where == "again.csv, line 4"


def test_without_a_header_the_first_row_is_a_box(write):
    found = corners(write(AUTTI))
    assert list(found) == ["1478019952686311006.jpg", "1478019968680240537.jpg"]
    assert found["1478019952686311006.jpg"][0] == ("car", (950, 574, 1004, 620))
    assert found["1478019968680240537.jpg"] == [("trafficLight", (888, 498, 910, 532))]
    assert read_labels(write(AUTTI, "again.csv")).layout == "autti"


@pytest.mark.parametrize("delimiter", ["\t", ";", ","])
def test_autti_with_another_delimiter_has_the_same_boxes(write, delimiter):
    found = corners(write(AUTTI.replace(" ", delimiter)))
    assert found == corners(write(AUTTI, "spaces.csv"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a.jpg,10,12,50,52,0,3\n", "first row"),
        ("a.jpg,10,12,50,52,0,\n", "line 1"),
        ("a.jpg,10,12,50,52,7,car\n", "first row"),
        ("a.jpg\t10\t50\t12\t52\t2\nb.jpg\t10\t12\t50\t52\t0\tcar\n", "line 2"),
        ("frame,xmin,xmax,ymin,ymax,class_id\na.jpg,10,12,50,52,0,car\n", "line 2"),
        ("frame;xmin;ymin;xmax;ymax;label\na.jpg;10;12;50;52;1;car\n", "line 2"),
        ("frame xmin ymin xmax ymax label\na.jpg 10 12 50 52 0 car\n", "line 2"),
        ("10,12,50,52,a.jpg,0,car\n", "line 1"),
    ],
)
def test_a_flag_before_the_label_never_becomes_the_class(write, content, line):
    with pytest.raises(DataError, match=line):
        read_labels(write(content))


@pytest.mark.parametrize("header", ["", "\n\n"])
def test_a_crowdai_file_whose_header_is_gone_keeps_its_first_row(write, header):
    path = write(header + CROWDAI.partition("\n")[2])
    assert corners(path) == corners(write(CROWDAI, "whole.csv"))


def test_the_published_header_is_wrong_and_the_numbers_are_believed(write):
    path = write(CROWDAI.replace("xmin,ymin,xmax,ymax", "xmin,xmax,ymin,ymax"))
    assert corners(path) == corners(write(CROWDAI, "right.csv"))
    assert read_labels(path).notes == (
        "labels.csv: the numbers stand in the order xmin,ymin,xmax,ymax, not in the header's xmin,xmax,ymin,ymax, by "
        "which 1 of 3 boxes would be impossible",
    )


def test_a_right_header_over_numbers_by_axis_is_believed(write):
    path = write("Frame,xmin,xmax,ymin,ymax,Label\na.jpg,10,30,20,25,car\n")
    assert corners(path) == {"a.jpg": [("car", (10, 20, 30, 25))]}
    # The same numbers under the usual header: the right edge would lie left of the left one.
    path = write("xmin,ymin,xmax,ymax,Frame,Label\n40,60,20,25,a.jpg,car\n", "b.csv")
    assert corners(path) == {"a.jpg": [("car", (40, 20, 60, 25))]}


def test_one_swapped_row_does_not_turn_the_others_over(write):
    path = write(CROWDAI + "905,533,785,644,1479498372942264998.jpg,Car,\n")
    assert corners(path)["1479498372942264998.jpg"][-1] == ("car", (905, 533, 785, 644))
    assert corners(path)["1479498371963069978.jpg"][0] == ("car", (785, 533, 905, 644))


def test_class_ids_are_names_where_nothing_tells_better_ones(write):
    labels = read_labels(write(IDS))
    assert labels.layout == "ids"
    assert [(box.label, box.xyxy) for box in labels.boxes["road150.png"]] == [
        ("2", (67, 26, 325, 280)),
        ("3", (37, 25, 176, 190)),
    ]


def test_gzip_is_told_by_content_and_a_cut_file_is_named(tmp_path):
    packed = gzip.compress(AUTTI.encode())
    for name in ("labels.csv.gz", "labels.csv"):
        (tmp_path / name).write_bytes(packed)
        assert len(read_labels(tmp_path / name).boxes) == 2
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(DataError, match=r"cut\.csv\.gz"):
        read_labels(tmp_path / "cut.csv.gz")
    with pytest.raises(DataError, match=r"gone\.csv"):
        read_labels(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2,3", "line 5: expected"),
        ("1,2,3,4,a.jpg,", "line 5: expected"),
        ("1,2,x,4,a.jpg,car", "line 5.*four numbers"),
        ('1,2,3,4,a.jpg,"car', "line 5"),
    ],
)
def test_a_row_that_cannot_be_read_names_its_line(write, row, message):
    with pytest.raises(DataError, match=message):
        read_labels(write(CROWDAI + row + "\n" + "1,2,3,4,b.jpg,car\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("name,score\na,1\n", "first row"),
        ("xmin,ymin,xmax,Frame,Label\n1,2,3,a.jpg,car\n", "lacks ymax"),
        ("xmin,ymin,xmax,ymax,Frame\n1,2,3,4,a.jpg\n", "lacks label"),
        ("a.jpg 1 2 3 4 car\n", "first row"),
    ],
)
def test_other_files_are_refused_with_what_was_expected(write, content, message):
    path = write(content)
    assert not is_label_file(path)
    with pytest.raises(DataError, match=message + ".*crowdai"):
        read_labels(path)


def test_rows_that_stand_twice_are_told(write):
    labels = read_labels(write(AUTTI + AUTTI.splitlines()[0] + "\n"))
    assert len(labels.boxes["1478019952686311006.jpg"]) == 3
    assert labels.notes == ("labels.csv: 1 row stands in it twice, word for word, and each was kept",)


def test_a_changed_file_is_read_again(write):
    path = write(AUTTI)
    assert len(read_labels(path).boxes) == 2
    path.write_text(AUTTI.splitlines()[0])
    assert len(read_labels(path).boxes) == 1
