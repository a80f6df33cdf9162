"""Other ways to select detections, on the stored candidates of a run: what a loss gains, and what selection does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.export import to_coco
from smoothiou.data.records import Dataset
from smoothiou.engine.devices import Placement
from smoothiou.engine.inference import coco_rows, run_detector
from smoothiou.engine.measure import Images
from smoothiou.engine.sections import EvalConfig
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.files import file_digest, write_bytes
from smoothiou.metrics import evaluate_in_full
from smoothiou.metrics.selection import SELECTIONS, select
from smoothiou.progress import track

FILE = "candidates.npz"
KEYS = ("boxes", "scores", "labels")

Candidates = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Boxes (N, 4), scores (N,) and labels (N,) of an image."""


def check_selections(names: Sequence[str]) -> None:
    """Refuse a way to select that is not known.

    Raises:
        ConfigError: one of the names.
    """
    for name in names:
        if name not in SELECTIONS:
            raise ConfigError(f"--nms: no selection is called {name!r}.", hint=did_you_mean(name, SELECTIONS))


def compare_selections(
    model: nn.Module,
    test: Dataset,
    checkpoint: Path,
    *,
    names: Sequence[str],
    settings: EvalConfig,
    placement: Placement,
    quiet: bool,
) -> dict[str, dict[str, float]]:
    """Return COCO's metrics of a run's candidates for each way to select them; "hard" comes first.

    The detector runs once: its candidates (boxes above the score threshold, before NMS) stay in the run's folder.

    Args:
        model: the detector.
        test: the split.
        checkpoint: the file that its weights are from.
        names: keys of `SELECTIONS`.
        settings: of the run, with the IoU of NMS.
        placement: device and precision.
        quiet: no progress.
    """
    path = checkpoint.parent / FILE
    identity = f"{file_digest(checkpoint)} {test.fingerprint} {settings.score_threshold}"
    candidates = _read(path, identity)
    if candidates is None:
        candidates = _detect(model, test, settings=settings, placement=placement, quiet=quiet)
        _write(path, identity, candidates)
    results = {}
    for name in dict.fromkeys(("hard", *names)):
        rows: list[dict[str, Any]] = []
        for number, arrays in enumerate(candidates, 1):
            kept = select(
                *arrays, by=name, iou=settings.nms, score=settings.score_threshold, limit=settings.max_detections
            )
            rows += coco_rows(*kept, image_id=number)
        results[name] = evaluate_in_full(to_coco(test), rows)[0]
    return results


def _detect(
    model: nn.Module, test: Dataset, *, settings: EvalConfig, placement: Placement, quiet: bool
) -> list[Candidates]:
    outputs = run_detector(
        model,
        Images(DetectionDataset(test, cache_mb=0)),
        batch_size=settings.batch_size,
        placement=placement,
        candidates=True,
    )
    outputs = track(outputs, total=len(test.records), label="candidates  image", quiet=quiet)
    return [output.candidates for output in outputs if output.candidates is not None]


def _write(path: Path, identity: str, candidates: Sequence[Candidates]) -> None:
    joined = map(np.concatenate, zip(*candidates, strict=True))
    columns: dict[str, Any] = dict(zip(KEYS, joined, strict=True))
    counts = np.array([len(scores) for _, scores, _ in candidates])
    content = io.BytesIO()
    np.savez_compressed(content, identity=np.array(identity), counts=counts, **columns)
    write_bytes(path, content.getvalue())


def _read(path: Path, identity: str) -> list[Candidates] | None:
    """Return the candidates of each image, or None where they are not stored, or are of other weights or data."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            if str(file["identity"]) != identity:
                return None
            ends = np.cumsum(file["counts"])[:-1]
            boxes, scores, labels = (np.split(file[key], ends) for key in KEYS)
            return list(zip(boxes, scores, labels, strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # cut off or damaged: it is made anew
        return None
