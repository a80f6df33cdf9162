"""Results and truths of strangers: every odd value is named by its place, in one short sentence."""

from __future__ import annotations

import json
import os

import pytest

from smoothiou.errors import DataError
from smoothiou.metrics import evaluate_detections

TRUTH = {
    "images": [{"id": 1}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "a"}],
}
RESULT = '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, %s], "score": %s}]'


@pytest.mark.parametrize("value", ["1e999", "-Infinity", "NaN", "true", '"1"', "null", "[]", "{}", "1" + "0" * 400])
@pytest.mark.parametrize("field", ["bbox", "score"])
def test_what_is_no_finite_number_is_named(tmp_path, field, value):
    text = RESULT % ((value, "1") if field == "bbox" else ("4", value))
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=rf"r.json\[0\]: {field}: .*finite") as caught:
        evaluate_detections(TRUTH, tmp_path / "r.json")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe[", b"[" * 100_000, b"9" * 5000, b'{"a":' * 100_000, b"7", b'"x"', b"[7]", b"[[]]", b"[null]"],
)
def test_what_is_no_list_of_results_is_named(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(DataError, match=r"r.json"):
        evaluate_detections(TRUTH, tmp_path / "r.json")
    with pytest.raises(DataError, match=r"r.json"):
        evaluate_detections(tmp_path / "r.json", [])


def test_utf_16_and_a_byte_order_mark_are_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "t.json").write_bytes(json.dumps(TRUTH).encode(encoding))
        assert evaluate_detections(tmp_path / "t.json", [])["AP"] == 0


def test_a_pipe_never_hangs(tmp_path):
    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(DataError, match="a pipe"):
        evaluate_detections(TRUTH, tmp_path / "r.json")
