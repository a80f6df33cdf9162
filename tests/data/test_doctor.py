"""Each check of the doctor: silent on a sound data set, and right about the one fault that is put in."""

from __future__ import annotations

import pytest

from smoothiou.data.doctor import CHECKS, examine
from smoothiou.data.formats.base import Options
from smoothiou.errors import ConfigError
from tests.data.doctor_faults import FAULTS, bare_split, coco_faults, name_of
from tests.data.doctor_sets import add, boxes_of, coco, first, ids, look, noise, voc


def test_nothing_is_found_in_sound_data(tmp_path):
    for root in (voc(tmp_path / "voc"), coco(tmp_path / "coco")):
        report = look(root)
        assert [(f.check.id, f.examples[0]) for f in report.findings if f.check.id != "rare-class"] == []
        assert len(report.checked) == len(CHECKS)
        assert report.skipped == ()


@pytest.mark.parametrize(("fault", "check", "count", "where", "message"), FAULTS, ids=name_of)
def test_a_fault_is_found_with_count_and_place(tmp_path, fault, check, count, where, message):
    root = voc(tmp_path / "voc")
    assert not look(root).finding(check)
    fault(root)
    found = first(look(root), check)
    assert found[:2] == (count, where)
    assert message in found[2]


@pytest.mark.parametrize(("fault", "check", "where", "message"), coco_faults(), ids=name_of)
def test_a_fault_of_a_coco_file_is_found_with_its_entry(tmp_path, fault, check, where, message):
    assert not look(coco(tmp_path / "sound")).finding(check)
    found = first(look(coco(tmp_path / "coco", fault)), check)
    assert found[:2] == (1, where)
    assert message in found[2]


def test_a_coco_file_that_is_no_json_does_not_hide_the_other(tmp_path):
    root = coco(tmp_path / "coco")
    (root / "annotations" / "instances_train.json").write_text('{"images": [')
    report = look(root)
    assert first(report, "unreadable-annotation")[1] == "instances_train.json"
    assert report.survey.splits["val"]
    assert "empty-split" in ids(report)


def test_a_test_split_that_is_published_without_annotations_is_noted_and_no_fault(tmp_path):
    root = voc(tmp_path / "voc")
    bare_split(root)
    (root / "ImageSets" / "Main" / "more.txt").rename(root / "ImageSets" / "Main" / "test.txt")
    report = look(root)
    assert not report.finding("empty-split")
    assert report.errors == 0
    assert [note for note in report.as_json()["notes"] if note.startswith('the split "test" has no annotation')]
    assert report.survey.splits["test"]


def test_columns_in_another_order_than_the_header_says(tmp_path):
    rows = [f"{x},{y},{x + 40},{y + 30},00{n}.jpg,Car," for n, (x, y) in enumerate([(50, 5), (40, 8), (45, 6)])]
    for number in range(3):
        noise(tmp_path / f"00{number}.jpg", seed=number)
    for header, expected in (("xmin,ymin,xmax,ymax", 0), ("xmin,xmax,ymin,ymax", 1)):
        (tmp_path / "labels.csv").write_text("\n".join([f"{header},Frame,Label,Preview URL", *rows]) + "\n")
        finding = look(tmp_path).finding("column-order")
        assert (finding.count if finding else 0) == expected
    assert finding
    assert finding.examples[0].where == "labels.csv"


def test_rows_of_frames_that_are_missing_are_judged_by_the_size_of_udacitys_frames(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "xmin,ymin,xmax,ymax,Frame,Label,Preview URL\n10,10,60,60,a.jpg,Car,\n1900,10,1924,60,b.jpg,Car,\n"
    )
    report = look(tmp_path)
    assert first(report, "missing-image")[0] == 2
    assert first(report, "outside-image") == (
        1, "labels.csv, line 3", "leaves its image by 4 pixels of 1920 x 1200 (x 1900 to 1924, y 10 to 60)",
    )  # fmt: skip


def test_several_folders_are_one_data_set_and_a_photo_in_two_of_them_is_found(tmp_path):
    one, other = voc(tmp_path / "one"), voc(tmp_path / "other")
    for number in range(9):
        noise(other / "JPEGImages" / f"{number:03d}.jpg", seed=100 + number)
    data = f"{one}+{other}"
    assert not look(data).finding("same-photo")
    (other / "JPEGImages" / "008.jpg").write_bytes((one / "JPEGImages" / "000.jpg").read_bytes())
    assert first(look(data), "same-photo") == (1, "val: other/008", 'is one/000 of the split "train"')


def test_every_check_has_an_id_of_its_own_and_full_sentences():
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.means.endswith(".")
        assert check.fix.endswith(".")
        assert check.severity in ("error", "warning")


def test_every_check_is_tested():
    told = {fault[1] for fault in FAULTS} | {fault[1] for fault in coco_faults()}
    elsewhere = {"column-order", "few-boxes", "anchor-coverage", "head-boxes"}
    assert told | elsewhere == {check.id for check in CHECKS}


def test_shapes_can_be_examined_and_have_no_error():
    report = examine("shapes", options=Options(images=12))
    assert report.errors == 0
    assert report.as_json()["splits"]["train"]["images"] == 12


def test_pets_are_heads(tmp_path):
    root = tmp_path / "pets"
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "trainval.txt").write_text("".join(f"Abyssinian_{n} 1 1 1\n" for n in range(6)))
    from tests.data.conftest import write_xml

    for number in range(6):
        noise(root / "images" / f"Abyssinian_{number}.jpg", seed=number)
        label = "cat" if number else "tiger"
        write_xml(root / "annotations" / "xmls" / f"Abyssinian_{number}.xml", [(label, (10, 10, 41, 41))])
    report = look(root)
    assert first(report, "head-boxes")[0] == 6
    assert first(report, "unknown-label") == (
        1, "annotations/xmls/Abyssinian_0.xml: object 1", 'expected "cat" or "dog", got \'tiger\'',
    )  # fmt: skip
    assert report.as_json()["classes"] == ["head"]
    assert look(root, options=Options(labels="breed")).as_json()["classes"] == ["Abyssinian"]
    with pytest.raises(ConfigError, match="labels"):
        look(root, options=Options(labels="bred"))
    add(voc(tmp_path / "voc"), "000", boxes_of(0))
    with pytest.raises(ConfigError, match="labels"):
        look(tmp_path / "voc", options=Options(labels="breed"))
