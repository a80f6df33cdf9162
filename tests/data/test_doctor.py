"""Each check of the doctor: silent on a sound data set, and right about the one fault that is put in."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from pathlib import Path

import pytest
from PIL import Image

from smoothiou.data.doctor import CHECKS, Report, examine, quick_look
from smoothiou.data.formats.base import Options
from smoothiou.errors import ConfigError
from tests.data.doctor_sets import TRAINING, add, annotate, boxes_of, coco, noise, voc


def look(root: Path, **options) -> Report:
    return examine(root, **{"training": TRAINING, **options})


def ids(report: Report) -> list[str]:
    return [finding.check.id for finding in report.findings]


def first(report: Report, check: str) -> tuple[int, str, str]:
    """Return count, place and message of a check's first example."""
    finding = report.finding(check)
    assert finding, f"{check} found nothing; found were {ids(report)}"
    return finding.count, finding.examples[0].where, finding.examples[0].message


def test_nothing_is_found_in_sound_data(tmp_path):
    for root in (voc(tmp_path / "voc"), coco(tmp_path / "coco")):
        report = look(root)
        assert [(f.check.id, f.examples[0]) for f in report.findings if f.check.id != "rare-class"] == []
        assert len(report.checked) == len(CHECKS)
        assert report.skipped == ()


def name_of(value) -> str | None:
    return getattr(value, "__name__", None)


# ---- faults of VOC folders: what is put in, and what is said of it


def broken_xml(root: Path) -> None:
    (root / "Annotations" / "001.xml").write_text("<annotation><object>")


def no_image_data(root: Path) -> None:
    (root / "JPEGImages" / "001.jpg").write_text("this is no image")


def very_long(root: Path) -> None:
    noise(root / "JPEGImages" / "001.jpg", seed=1, size=(1, 400))
    annotate(root, "001", [], size=(1, 400))


def cut_off(root: Path) -> None:
    path = root / "JPEGImages" / "002.jpg"
    path.write_bytes(path.read_bytes()[:-400])


def no_image(root: Path) -> None:
    (root / "JPEGImages" / "001.jpg").unlink()


def no_annotation(root: Path) -> None:
    (root / "Annotations" / "004.xml").unlink()


def empty_split(root: Path) -> None:
    (root / "ImageSets" / "Main" / "test.txt").write_text("")


def bare_split(root: Path) -> None:
    for name in ("020", "021"):
        noise(root / "JPEGImages" / f"{name}.jpg", seed=int(name))
    (root / "ImageSets" / "Main" / "more.txt").write_text("020\n021\n")


def other_size(root: Path) -> None:
    annotate(root, "002", boxes_of(2), size=(200, 160))


def flat(root: Path) -> None:
    annotate(root, "002", [("cat", (20, 30, 40, 29)), *boxes_of(2)])


def not_a_number(root: Path) -> None:
    annotate(root, "002", [("cat", ("nan", 30, 40, 50)), *boxes_of(2)])


def inverted(root: Path) -> None:
    annotate(root, "002", [("cat", (60, 10, 30, 50)), *boxes_of(2)])


def past_the_edge(root: Path) -> None:
    annotate(root, "002", [("cat", (60, 10, 103, 50)), ("dog", (300, 10, 340, 50)), *boxes_of(2)])


def just_past_the_edge(root: Path) -> None:
    annotate(root, "002", [("cat", (60, 10, 100.4, 50)), *boxes_of(2)])


def point(root: Path) -> None:
    annotate(root, "002", [("cat", (20, 30, 20, 30)), *boxes_of(2)])


def tiny(root: Path) -> None:
    annotate(root, "002", [("cat", (20, 30, 40, 32)), ("dog", (20, 50, 21, 52)), *boxes_of(2)])


def twice(root: Path) -> None:
    annotate(root, "002", [*boxes_of(2), boxes_of(2)[0]])


def thin(root: Path) -> None:
    annotate(root, "002", [("cat", (5, 30, 84, 34)), *boxes_of(2)])


def spelt(root: Path) -> None:
    annotate(root, "002", [("Cat", (40, 30, 71, 61)), *boxes_of(2)])


def only_in_val(root: Path) -> None:
    annotate(root, "007", [("hamster", (40, 30, 71, 61)), *boxes_of(7)])


def only_in_train(root: Path) -> None:
    for name in ("001", "002", "003", "004", "005"):
        annotate(root, name, [("hamster", (40, 30, 71, 61)), *boxes_of(int(name))])


def rare(root: Path) -> None:
    annotate(root, "002", [("hamster", (40, 30, 71, 61)), *boxes_of(2)])
    annotate(root, "007", [("hamster", (40, 30, 71, 61)), *boxes_of(7)])


def long_tailed(root: Path) -> None:
    for name in range(6):
        annotate(root, f"{name:03d}", [("cat", (1 + x, 1 + name, 32 + x, 32 + name)) for x in range(20)])
    annotate(root, "002", [("dog", (40, 30, 71, 61))])


def empty(root: Path) -> None:
    annotate(root, "003", [])


def same_bytes(root: Path) -> None:
    (root / "JPEGImages" / "007.jpg").write_bytes((root / "JPEGImages" / "002.jpg").read_bytes())


def in_both_lists(root: Path) -> None:
    with (root / "ImageSets" / "Main" / "val.txt").open("a") as file:
        file.write("002\n")


def same_bytes_in_one_split(root: Path) -> None:
    (root / "JPEGImages" / "003.jpg").write_bytes((root / "JPEGImages" / "002.jpg").read_bytes())


def saved_again(root: Path) -> None:
    with Image.open(root / "JPEGImages" / "002.jpg") as image:
        image.resize((200, 160)).save(root / "JPEGImages" / "007.jpg", quality=70)
    annotate(root, "007", boxes_of(7), size=(200, 160))


def turned(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(root / "JPEGImages" / "002.jpg", seed=2, exif=exif)


def png_called_jpg(root: Path) -> None:
    noise(root / "JPEGImages" / "002.jpg", seed=2, kind="PNG")


def with_alpha(root: Path) -> None:
    with Image.open(root / "JPEGImages" / "002.jpg") as image:
        image.convert("RGBA").save(root / "JPEGImages" / "002.png")
    (root / "JPEGImages" / "002.jpg").unlink()


def in_no_list(root: Path) -> None:
    noise(root / "JPEGImages" / "030.jpg", seed=30)


FAULTS = [
    (broken_xml, "unreadable-annotation", 1, "Annotations/001.xml", "line 1: not well-formed XML"),
    (no_image_data, "unreadable-image", 1, "train: 001", "not an image of a known type"),
    (cut_off, "unreadable-image", 1, "train: 002", "truncated"),
    (no_image, "missing-image", 1, "Annotations/001.xml", "the image 001 does not exist"),
    (no_annotation, "missing-annotation", 1, "004", 'is in the list "train", but has no annotation'),
    (empty_split, "empty-split", 1, "test", "has no images"),
    (very_long, "long-image", 1, "train: 001", "has 1 x 400 pixels"),
    (bare_split, "empty-split", 1, "more", "has 2 images, of which none has an annotation"),
    (other_size, "size-mismatch", 1, "Annotations/002.xml", "says 200 x 160 pixels, but the image file has 100 x 80"),
    (flat, "no-area", 1, "Annotations/002.xml: object 1", "has no area (x 19 to 40, y 29 to 29)"),
    (not_a_number, "no-area", 1, "Annotations/002.xml: object 1", "has no area (x nan to 40, y 29 to 50)"),
    (inverted, "inverted-box", 1, "Annotations/002.xml: object 1", "(x 59 to 30, y 9 to 50)"),
    (past_the_edge, "outside-image", 2, "Annotations/002.xml: object 2", "lies outside its image of 100 x 80"),
    (just_past_the_edge, "overhang", 1, "Annotations/002.xml: object 1", "leaves its image by 0.4 pixels"),
    (point, "point-box", 1, "Annotations/002.xml: object 1", "is 1 x 1 pixels (x 19 to 20, y 29 to 30)"),
    (tiny, "tiny-box", 2, "Annotations/002.xml: object 2", "is 2 x 3 pixels, 2 x 3 when trained"),
    (twice, "duplicate-box", 1, "Annotations/002.xml: object 3", "is the same as object 1 (cat)"),
    (thin, "extreme-ratio", 1, "Annotations/002.xml: object 1", "is 80 x 5 pixels"),
    (spelt, "class-spelling", 1, "cat", 'is spelt "cat" (9 boxes), "Cat" (1 box)'),
    (only_in_val, "unlearnt-class", 1, "hamster", 'has 1 box in "val", and none in "train"'),
    (only_in_train, "unmeasured-class", 1, "hamster", 'has 5 boxes in "train", and none in "val"'),
    (rare, "rare-class", 1, "hamster", 'has 1 box in "train"'),
    (long_tailed, "long-tail", 1, "train", "cat has 100 of 101 boxes (99 %), the rarest classes dog 1"),
    (empty, "no-boxes", 1, "train: 003", "has no box"),
    (same_bytes, "same-photo", 1, "val: 007", 'is 002 of the split "train"'),
    (in_both_lists, "same-photo", 1, "val: 002", 'is 002 of the split "train"'),
    (same_bytes_in_one_split, "duplicate-image", 1, "train: 003", 'has the same bytes as 002 of the split "train"'),
    (saved_again, "look-alike", 1, "val: 007", 'looks like 002 of the split "train"'),
    (turned, "exif-rotation", 1, "train: 002", "has the EXIF orientation 6"),
    (png_called_jpg, "wrong-ending", 1, "002.jpg", "holds PNG data"),
    (with_alpha, "not-rgb", 1, "002.png", "is with alpha (PNG)"),
    (in_no_list, "unlisted-image", 1, "030.jpg", "is in no split"),
]


@pytest.mark.parametrize(
    ("fault", "check", "count", "where", "message"), FAULTS, ids=lambda v: getattr(v, "__name__", None)
)
def test_a_fault_is_found_with_count_and_place(tmp_path, fault, check, count, where, message):
    root = voc(tmp_path / "voc")
    assert not look(root).finding(check)
    fault(root)
    found = first(look(root), check)
    assert found[:2] == (count, where)
    assert message in found[2]


# ---- faults of COCO files


def coco_faults() -> list:
    def image_twice(content: dict) -> None:
        content["images"].append({**content["images"][0], "file_name": "001.jpg"})

    def annotation_twice(content: dict) -> None:
        content["annotations"][3]["id"] = content["annotations"][0]["id"]

    def listed_twice(content: dict) -> None:
        content["images"].append({**content["images"][1], "id": 99})
        content["annotations"][2]["image_id"] = 99

    def unknown_class(content: dict) -> None:
        content["annotations"][2]["category_id"] = 77

    def unknown_image(content: dict) -> None:
        content["annotations"][2]["image_id"] = 77

    def no_box(content: dict) -> None:
        content["annotations"][2]["bbox"] = [1, 2, "three", 4]

    def no_object(content: dict) -> None:
        content["annotations"].append("box")

    def super_category(content: dict) -> None:
        content["categories"].append({"id": 90, "name": "animal"})

    def climbs(content: dict) -> None:
        content["images"][1]["file_name"] = "../../../etc/passwd"

    file = "instances_train.json"
    return [
        (image_twice, "duplicate-id", f"{file}: images[6]", "000.jpg"),
        (annotation_twice, "duplicate-id", f"{file}: annotations[3]", "the id 1 is taken by an earlier"),
        (listed_twice, "duplicate-name", f"{file}: images[6]", "001.jpg is listed under the id 6, too"),
        (unknown_class, "unknown-label", f"{file}: annotations[2]", "no category has the id 77"),
        (unknown_image, "unknown-image", f"{file}: annotations[2]", "no image has the id 77"),
        (no_box, "unreadable-annotation", f"{file}: annotations[2]", '"bbox" must be [x, y, width, height]'),
        (no_object, "unreadable-annotation", f"{file}: annotations[12]", "expected an object"),
        (super_category, "unused-class", "animal", "has no box in any split"),
        (climbs, "unreadable-image", "train: ../../../etc/passwd", "must be a relative path"),
    ]


@pytest.mark.parametrize(
    ("fault", "check", "where", "message"), coco_faults(), ids=lambda v: getattr(v, "__name__", None)
)
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


# ---- faults of other formats


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


# ---- training


def test_few_boxes_in_a_batch_make_lambda_jump(tmp_path):
    root = voc(tmp_path / "voc")
    assert not look(root).finding("few-boxes")
    small = dataclasses.replace(TRAINING, batch_size=2)
    found = first(look(root, training=small), "few-boxes")
    assert found == (1, "train", "2.00 boxes per image make 4.0 in a batch of 2 images")


def test_boxes_that_no_anchor_covers_are_counted(tmp_path):
    root = voc(tmp_path / "voc")
    for number in range(9):
        annotate(root, f"{number:03d}", [("cat", (1, 1, 98, 6)), ("dog", (17, 17, 48, 48))])
    count, _, message = first(look(root), "anchor-coverage")
    assert count == 9
    assert message.startswith("its best anchor has an IoU of 0.")
    assert look(root).as_json()["training"]["anchor_coverage"]["0.5"] == 0.5


def test_the_constant_of_nwd_is_the_mean_size_when_trained(tmp_path):
    root = voc(tmp_path / "voc")  # 80 x 100 pixels, boxes of 32 x 32
    half = dataclasses.replace(TRAINING, min_size=40, max_size=50)
    assert look(root, training=half).as_json()["training"]["nwd_constant"] == pytest.approx(16)
    for number in range(9):
        annotate(root, f"{number:03d}", [("cat", (1, 1, 21, 6)), ("dog", (17, 17, 48, 48))])
    # 21 x 6 has the size 11.2, so the mean is 21.6, and half of it at half the resolution.
    size = (math.sqrt(21 * 6) + 32) / 2
    assert look(root, training=half).as_json()["training"]["nwd_constant"] == pytest.approx(size / 2)


def test_tiny_is_a_matter_of_the_resolution(tmp_path):
    root = voc(tmp_path / "voc")
    annotate(root, "002", [("cat", (20, 30, 25, 35)), *boxes_of(2)])
    assert not look(root).finding("tiny-box")
    half = dataclasses.replace(TRAINING, min_size=40, max_size=50)
    assert first(look(root, training=half), "tiny-box")[2] == "is 6 x 6 pixels, 3 x 3 when trained"


# ---- how it runs


def test_checks_can_be_chosen_and_left_out(tmp_path):
    root = voc(tmp_path / "voc")
    point(root)
    assert ids(look(root, only=["point-box", "same-photo"])) == ["point-box"]
    assert "point-box" not in ids(look(root, skip=["point-box"]))
    with pytest.raises(ConfigError, match="--only.*point-box"):
        look(root, only=["point-bxo"])
    with pytest.raises(ConfigError, match="no check"):
        look(root, only=["point-box"], skip=["point-box"])


def test_every_image_is_decoded_once_and_none_in_the_fast_form(tmp_path, monkeypatch):
    root = voc(tmp_path / "voc", counts=(("train", 6), ("val", 3), ("trainval", 0)))
    names = "".join(f"{number:03d}\n" for number in range(9))
    (root / "ImageSets" / "Main" / "trainval.txt").write_text(names)
    point(root)
    loads: list[str] = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", _counting(loads))
    told = []
    look(root, pictures=True, progress=lambda done, total: told.append((done, total)))
    assert sorted(loads) == [f"{number:03d}.jpg" for number in range(9)]
    assert told == [(number, 9) for number in range(1, 10)]
    loads.clear()
    fast = look(root, decode=False)
    assert loads == []
    assert fast.skipped == ("look-alike",)
    assert first(fast, "point-box")[0] == 1


def _counting(loads: list[str]):
    from PIL import ImageFile

    plain = ImageFile.ImageFile.load

    def load(image):
        if image.tile:  # once decoded, there is nothing left to load
            loads.append(Path(image.filename).name)
        return plain(image)

    return load


def test_a_report_is_json_with_stable_keys(tmp_path):
    root = voc(tmp_path / "voc")
    tiny(root)
    shown = json.loads(json.dumps(look(root).as_json()))
    assert shown["schema_version"] == 1
    assert shown["splits"] == {"train": {"images": 6, "boxes": 14}, "val": {"images": 3, "boxes": 6}}
    finding = next(f for f in shown["findings"] if f["id"] == "tiny-box")
    assert set(finding) == {"id", "severity", "count", "means", "fix", "mends", "examples"}
    assert finding["examples"][0] == {
        "where": "Annotations/002.xml: object 2", "message": "is 2 x 3 pixels, 2 x 3 when trained", "image": "002",
        "split": "train", "boxes": [[19.0, 49.0, 21.0, 52.0]],
    }  # fmt: skip


def test_at_most_three_examples_are_told_and_all_are_counted(tmp_path):
    root = voc(tmp_path / "voc")
    annotate(root, "002", [("cat", (n, 30, n, 30)) for n in range(2, 12)])
    finding = next(f for f in look(root).as_json()["findings"] if f["id"] == "point-box")
    assert (finding["count"], len(finding["examples"])) == (10, 3)


def test_the_quick_form_says_the_same_of_what_needs_no_file(tmp_path):
    from smoothiou.engine.config import DataConfig
    from smoothiou.engine.open_data import open_splits

    root = voc(tmp_path / "voc")
    for fault in (tiny, same_bytes, empty, no_annotation, rare):
        fault(root)
    annotate(root, "005", [("cat", (60, 10, 103, 50)), ("cat", (60, 12, 100.4, 50)), ("dog", (3, 40, 3, 41))])
    splits = open_splits(DataConfig(path=str(root)))
    quick = quick_look({"train": splits.train, "test": splits.test}, training=TRAINING)
    whole = {finding.check.id: finding.count for finding in look(root).findings}
    found = {finding.check.id: finding.count for finding in quick.findings}
    assert {"tiny-box", "same-photo", "no-boxes", "missing-annotation", "outside-image", "overhang"} <= found.keys()
    assert found == {check: count for check, count in whole.items() if check in found}
    assert (quick.errors, quick.survey.decoded) == (3, {})


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


def test_pillow_does_not_warn_past_the_doctor(tmp_path, monkeypatch):
    """An image above Pillow's soft limit, and within ours, is no reason for a line of Python on stderr."""
    root = voc(tmp_path / "voc")
    with Image.open(root / "JPEGImages" / "001.jpg") as image:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", image.width * image.height - 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        look(root)
    assert not told
