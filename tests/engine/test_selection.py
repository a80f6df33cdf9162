"""`eval --nms`: candidates of a run, kept, and selected in other ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smoothiou.detectors import build_detector, detect
from smoothiou.engine.selection import _read, _write, check_selections
from smoothiou.errors import ConfigError
from smoothiou.metrics.selection import select


def test_hard_selection_of_the_candidates_gives_the_detectors_detections():
    torch.manual_seed(0)
    model = build_detector("nano", num_classes=3, min_size=64, max_size=96, score_threshold=0.2).eval()
    images = [torch.rand(3, 80, 100), torch.rand(3, 64, 64)]
    for found in detect(model, images, candidates=True):
        arrays = [found[f"candidate_{key}"].numpy() for key in ("boxes", "scores", "labels")]
        boxes, scores, labels = select(*arrays, by="hard", iou=0.5, score=0.2, limit=100)
        assert len(boxes) == len(found["boxes"]) > 0
        assert boxes == pytest.approx(found["boxes"].numpy(), abs=1e-3)
        assert scores == pytest.approx(found["scores"].numpy())
        assert labels.tolist() == found["labels"].tolist()


def test_candidates_are_kept_for_the_same_weights_and_data_alone(tmp_path):
    path = tmp_path / "candidates.npz"
    candidates = [
        (np.ones((2, 4), dtype=np.float32), np.array([0.5, 0.25], dtype=np.float32), np.array([1, 2])),
        (np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)),
    ]
    _write(path, "weights data .01", candidates)
    kept = _read(path, "weights data .01")
    assert kept is not None
    for mine, theirs in zip(kept, candidates, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert _read(path, "other weights data .01") is None
    path.write_bytes(path.read_bytes()[:40])
    assert _read(path, "weights data .01") is None
    assert _read(tmp_path / "nothing", "") is None


def test_an_unknown_selection_is_named():
    with pytest.raises(ConfigError, match="softt"):
        check_selections(["softt"])
