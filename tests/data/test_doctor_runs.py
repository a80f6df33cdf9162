"""How the doctor runs: which checks, what it decodes, and what its report holds."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from PIL import Image

from smoothiou.data.doctor import quick_look
from smoothiou.errors import ConfigError
from tests.data.doctor_faults import empty, no_annotation, point, rare, same_bytes, tiny
from tests.data.doctor_sets import TRAINING, annotate, first, ids, look, voc


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


def test_pillow_does_not_warn_past_the_doctor(tmp_path, monkeypatch):
    """An image above Pillow's soft limit, and within ours, is no reason for a line of Python on stderr."""
    root = voc(tmp_path / "voc")
    with Image.open(root / "JPEGImages" / "001.jpg") as image:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", image.width * image.height - 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        look(root)
    assert not told
