"""Data sets: every format becomes the same records, with its faults counted and named.

    dataset = load_dataset("data/bccd", split="train")
    dataset.classes, len(dataset.records), dataset.faults, dataset.notes

One format, one file: `voc.py`, `coco.py`, `pets.py`, `udacity.py`, and `shapes.py`, which draws its own. `merge.py`
reads several as one. Only `dataset.py` needs torch.
"""

from __future__ import annotations

from smoothiou.data.records import Box, Dataset, Fault, ImageFile, Record
from smoothiou.data.registry import choose_splits, detect_format, list_splits, load_dataset

__all__ = [
    "load_dataset",
    "detect_format",
    "list_splits",
    "choose_splits",
    "Dataset",
    "Record",
    "Box",
    "Fault",
    "ImageFile",
]
