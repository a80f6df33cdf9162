"""Data sets: every format becomes the same records, with its faults counted and named.

    dataset = load_dataset("data/bccd", split="train")
    dataset.classes, len(dataset.records), dataset.faults, dataset.notes

One format, one file in `formats/` and one line in `registry.py`. `merge.py` reads several data sets as one, `doctor/`
examines one. Only `dataset.py` needs torch.
"""

from __future__ import annotations

from smoothiou.data.choose import choose_splits
from smoothiou.data.formats.own import photo_record
from smoothiou.data.records import Box, Dataset, Fault, ImageFile, Record
from smoothiou.data.registry import detect_format, list_splits, load_dataset

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
    "photo_record",
]
