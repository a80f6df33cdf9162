"""What the checks judge: the survey, what decoding gave, how it is to be trained, and all boxes in one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from smoothiou.data.doctor.facts import Entry, Survey
from smoothiou.data.doctor.photos import Look
from smoothiou.data.records import Box
from smoothiou.data.splits import usual_name
from smoothiou.engine.config import RunConfig

SMALLEST = 0.01
"""Pixels. A side shorter than this is no side (as for readers)."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """All boxes of the images that have a known size, in one table.

    Args:
        xyxy: corners in pixels (N, 4).
        size: width and height of each box's image (N, 2).
        owner: for each box, (its entry, itself).
    """

    xyxy: np.ndarray
    size: np.ndarray
    owner: list[tuple[Entry, Box]]

    @property
    def sides(self) -> np.ndarray:
        """Width and height (N, 2)."""
        return self.xyxy[:, 2:] - self.xyxy[:, :2]

    @property
    def usable(self) -> np.ndarray:
        """Which boxes have finite corners and an area (N,)."""
        with np.errstate(all="ignore"):
            sides = self.sides
            return np.logical_and(np.isfinite(sides).all(axis=1), (sides >= SMALLEST).all(axis=1))


@dataclass(eq=False)
class Case:
    """One data set under examination.

    Args:
        survey: what was read.
        config: with which settings it would be trained.
        looks: what decoding gave, by path; empty where nothing was decoded.
    """

    survey: Survey
    config: RunConfig = field(default_factory=RunConfig)
    looks: Mapping[Path, Look] = field(default_factory=dict)

    @cached_property
    def boxes(self) -> Boxes:
        """Every box of every image, each image once."""
        owner = [(entry, box) for entry in self.entries if entry.size for box in entry.boxes]
        corners = np.array([box.xyxy for _, box in owner], dtype=np.float64).reshape(-1, 4)
        sizes = np.array([entry.size for entry, _ in owner], dtype=np.float64).reshape(-1, 2)
        return Boxes(corners, sizes, owner)

    @cached_property
    def entries(self) -> list[Entry]:
        """Every image once."""
        return list(self.survey.once())

    @cached_property
    def parts(self) -> dict[str, tuple[Entry, ...]]:
        """The splits that are meant to have no image in common."""
        return self.survey.parts()

    def learnt(self) -> str:
        """Return the name of the split that is learnt from, or "" if none is called so."""
        wanted = (self.config.data.train, "train", "trainval")
        return next((part for name in wanted for part in self.survey.splits if name and _is(part, name)), "")

    def counts(self, split: str) -> dict[str, int]:
        """Return the boxes per class of one split, without difficult ones and crowds."""
        found: dict[str, int] = {}
        for entry in self.survey.splits[split]:
            for box in entry.boxes:
                if not box.ignored:
                    found[box.label] = found.get(box.label, 0) + 1
        return found

    def scales(self, size: np.ndarray) -> np.ndarray:
        """Return by which factor the detector resizes images (N,) of given width and height (N, 2).

        min(min_size / short side, max_size / long side)
        """
        model = self.config.model
        return np.minimum(model.min_size / size.min(axis=1), model.max_size / size.max(axis=1))

    def files(self) -> Iterator[Entry]:
        """Give the images that have a file with a readable header, each file once."""
        seen = set()
        for entry in self.entries:
            if entry.photo and entry.path and not entry.photo.problem and entry.path not in seen:
                seen.add(entry.path)
                yield entry


def _is(part: str, name: str) -> bool:
    return part == name or usual_name(part) == name
