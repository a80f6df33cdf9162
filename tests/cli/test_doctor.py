"""`smoothiou doctor` as users run it, and the line it says before a training."""

from __future__ import annotations

import csv
import json

import pytest

from tests.data import doctor_faults as faults
from tests.data.doctor_sets import add, annotate, boxes_of, voc

from .conftest import TINY

SOUND = ("--model.min_size", "80", "--model.max_size", "100", "--train.batch_size", "16")


@pytest.fixture
def root(tmp_path):
    return voc(tmp_path / "voc")


def test_sound_data_ends_with_code_0_and_faulty_data_with_3(smoothiou, root):
    good = smoothiou("doctor", root, *SOUND, "--strict")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "voc (voc): 9 images (train 6, val 3), 18 boxes, 2 classes" in good.stdout
    assert "Nothing found: 37 checks, 9 images decoded." in good.stdout
    assert good.stderr == ""
    faults.inverted(root)
    bad = smoothiou("doctor", root, *SOUND)
    assert bad.returncode == 3
    assert "error   inverted-box x 1" in bad.stdout
    assert "- Annotations/002.xml: object 1: has its corners in the wrong order (x 59 to 30, y 9 to 50)" in bad.stdout
    assert "Fix: Exchange the corners." in bad.stdout
    assert "1 error, 0 warnings" in bad.stderr
    assert "--fix OUT" in bad.stderr


def test_strict_fails_on_warnings_and_only_and_skip_choose(smoothiou, root):
    faults.point(root)
    words = ("doctor", root, *SOUND)
    assert smoothiou(*words).returncode == 0
    strict = smoothiou(*words, "--strict")
    assert strict.returncode == 3
    assert "0 errors, 2 warnings" in strict.stderr  # a click is tiny, too
    assert smoothiou(*words, "--strict", "--skip", "point-box,tiny-box").returncode == 0
    assert smoothiou(*words, "--strict", "--only", "no-area,same-photo").returncode == 0
    only = smoothiou(*words, "--strict", "--only", "point-box")
    assert only.returncode == 3
    assert "1 warning: 1 check (36 not run), no image decoded" in only.stdout


def test_a_program_gets_one_object_whether_or_not_something_was_found(smoothiou, root):
    good = json.loads(smoothiou("doctor", root, *SOUND, "--json").stdout)
    assert (good["errors"], good["warnings"], good["findings"]) == (0, 0, [])
    assert good["path"] == str(root)
    faults.same_bytes(root)
    result = smoothiou("doctor", root, *SOUND, "--json")
    assert result.returncode == 3
    bad = json.loads(result.stdout)
    assert bad["error"]["exit_code"] == 3
    assert [finding["id"] for finding in bad["findings"]] == ["same-photo"]
    assert bad["findings"][0]["examples"][0]["message"] == 'is 002 of the split "train"'


def test_a_repaired_copy_passes(smoothiou, root, tmp_path):
    annotate(root, "003", [("cat", (60, 10, 30, 50)), *boxes_of(3)])
    faults.same_bytes(root)
    result = smoothiou("doctor", root, *SOUND, "--fix", "copy")
    assert result.returncode == 0, result.stderr
    assert "repaired copy: copy (2 changes in fixes.csv; 0 errors, 0 warnings)" in result.stdout
    with (tmp_path / "copy" / "fixes.csv").open(newline="") as file:
        assert {row["check"] for row in csv.DictReader(file)} == {"inverted-box", "same-photo"}
    assert smoothiou("doctor", "copy", *SOUND, "--strict").returncode == 0
    again = smoothiou("doctor", root, *SOUND, "--fix", "copy")
    assert again.returncode == 2
    assert "copy: it exists and is not an empty folder" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 3, "nowhere: no such folder"),
        ([], 2, "DATA is missing"),
        (["voc", "--only", "dupes"], 2, "no check is called 'dupes'"),
        (["voc", "--fix", "copy", "--fast"], 2, "--fix needs all checks"),
        (["voc", "--fix", "voc/fixed"], 2, "it lies in voc, which is not written to"),
        (["voc", "--labels", "breed"], 2, "one kind of labels"),
        (["voc", "--format", "cocoo"], 2, 'Did you mean "coco"'),
        (["voc", "--format", "coco"], 3, "no COCO file found"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(smoothiou, root, words, code, said):
    result = smoothiou("doctor", *words)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_page_has_pictures_of_the_worst_places_and_loads_nothing(smoothiou, root, tmp_path):
    annotate(root, "002", [("cat &lt;b&gt;", (60, 10, 110, 50)), *boxes_of(2)])
    result = smoothiou("doctor", root, *SOUND, "--html", "doctor.html")
    assert "page: doctor.html" in result.stdout
    page = (tmp_path / "doctor.html").read_text()
    assert "default-src 'none'" in page
    assert page.count("data:image/jpeg;base64,") >= 1
    assert "cat &lt;b&gt;" in page
    assert "<b>cat" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_torch_is_not_needed(smoothiou, root, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('the doctor wants torch')\n")
    result = smoothiou("doctor", root, *SOUND, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["train", pytest.param("compare", marks=pytest.mark.slow)])
def test_before_training_one_line_says_what_is_wrong(smoothiou, root, command):
    faults.same_bytes(root)
    words = [command, root, *TINY] if command == "train" else [command, root, *TINY, "--dry-run"]
    result = smoothiou(*words)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("doctor: ")]
    assert line.startswith("doctor: 1 error, ")
    assert "same-photo" in line
    assert line.endswith(f"see smoothiou doctor {root}")
    if command == "compare":
        assert "doctor:" not in smoothiou(*words, "--quiet").stderr


def test_copies_are_left_out_of_the_copy_where_that_is_asked_for(smoothiou, root, tmp_path):
    pixels = (root / "JPEGImages" / "001.jpg").read_bytes()
    (root / "JPEGImages" / "003.jpg").write_bytes(pixels)
    annotate(root, "003", boxes_of(3)[:1])
    kept = smoothiou("doctor", root, *SOUND, "--fix", "kept", "--strict", "--json")
    assert kept.returncode == 3, "a copy is a warning"
    result = smoothiou("doctor", root, *SOUND, "--fix", "copy", "--drop-copies", "--strict", "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)["fixed"]
    assert (facts["changes"], facts["errors"], facts["warnings"]) == (1, 0, 0)
    names = sorted(path.name for path in (tmp_path / "copy" / "images" / "train").iterdir())
    assert "001.jpg" in names
    assert "003.jpg" not in names
    assert smoothiou("doctor", root, "--drop-copies").returncode == 2


def test_a_copy_with_what_cannot_be_repaired_fails(smoothiou, root):
    for path in (root / "JPEGImages").glob("00[6-8].jpg"):  # all of val
        path.write_text("no image")
    result = smoothiou("doctor", root, *SOUND, "--fix", "copy", "--json")
    assert (result.returncode == 0) == (json.loads(result.stdout)["fixed"]["errors"] == 0)


def test_one_of_each_is_one(smoothiou, tmp_path):
    add(tmp_path / "one", "000", [("cat", (17, 17, 48, 48))])
    lines = smoothiou("doctor", "one", "--only", "no-area").stdout
    assert "1 image (" in lines
    assert "1 box, 1 class" in lines
