"""Lines of a list: names with blanks and endings, files, and pairs of files."""

from __future__ import annotations

import shutil

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.errors import DataError
from tests.data.doctor_sets import TRAINING
from tests.data.folders import ONE, records


def test_a_line_that_is_a_name_is_no_name_with_a_column(make_voc):
    root = make_voc({"train": {"cat 0": ONE, "cat 1": ONE, "cat -1": ONE}, "night_train": {"cat 1": ONE}})
    (root / "ImageSets" / "Main" / "val.txt").write_text("cat 0 1\n")
    assert sorted(records(root)) == ["cat -1", "cat 0", "cat 1"]
    assert list(records(root, "val")) == ["cat 0"]
    assert list(records(root, "night_train")) == ["cat 1"]


def test_a_list_of_one_class_is_still_none_of_images(make_voc):
    root = make_voc({"train": {"a": ONE, "b": ONE}})
    (root / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\nb -1\n")
    assert examine(root, training=TRAINING).survey.splits.keys() == {"train"}


@pytest.mark.parametrize(
    "line",
    ["cat 0.xml", "Annotations/cat 0.xml", "JPEGImages/cat 0.jpg", "./JPEGImages/cat 0.jpg Annotations/cat 0.xml"],
)
def test_a_line_may_be_a_file_or_a_pair_of_files(make_voc, line):
    root = make_voc({"train": {"cat 0": ONE}, "val": {"cat 1": ONE}})
    (root / "ImageSets" / "Main" / "train.txt").write_text(f"{line}\n")
    assert [len(record.boxes) for record in records(root).values()] == [1]


def test_a_name_with_an_ending_is_one_where_its_xml_has_it(make_voc):
    root = make_voc({"train": {"c.png": ONE}, "val": {"b": ONE}})
    assert list(records(root)) == ["c.png"]


def test_two_xml_files_that_differ_in_their_ending_alone_are_refused(make_voc):
    root = make_voc({"train": {"a": ONE}, "val": {"b": ONE}})
    shutil.copy(root / "Annotations" / "a.xml", root / "Annotations" / "a.XML")
    with pytest.raises(DataError, match=r"a\.XML and a\.xml"):
        load_dataset(root)
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(DataError, match=r"a\.XML and a\.xml"):
        load_dataset(root)
