"""Randomness as a pure function of (seed, step), so that losses are paired and a resumed run is the same run.

Initial weights come from the seed; the order of the data, flips and augmentation from (seed, epoch, image); everything
random inside a step, such as the sampling of anchors, from (seed, step, rank). Nothing depends on what was drawn
before, so two losses meet the same draws at the same step however their proposals have diverged, and a run that
continues at step 400 needs no saved generator state.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

# Streams of one seed must not overlap: each use has its own number.
_WEIGHTS, _ORDER, _FLIP, _STEP, _VALIDATION, _AUGMENT = range(6)


def seed_weights(seed: int) -> None:
    """Set every generator before the model is built."""
    _seed_all(_WEIGHTS, seed)


def seed_step(seed: int, step: int, *, rank: int = 0) -> None:
    """Set every generator for what is random inside one step of one process.

    The detectors draw from torch's only; a user's loss may draw from the others.
    """
    _seed_all(_STEP, seed, step, rank)


def seed_validation(seed: int, batch: int, *, rank: int = 0) -> None:
    """Set every generator for what is random in the losses of a validation batch, the same at each evaluation.

    The next training step sets them anew, so that a run with and without validation draws the same numbers.
    """
    _seed_all(_VALIDATION, seed, batch, rank)


def _seed_all(*numbers: int) -> None:
    mixed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.manual_seed(mixed)


@dataclass(frozen=True, slots=True)
class Draw:
    """One training example: which image, whether it is flipped, and the seed of its augmentation."""

    index: int
    flip: bool
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """The batches of a run: an endless walk over seeded permutations, cut into steps.

    A batch may reach over the end of an epoch, so every batch is full.

    Args:
        images: size of the training split.
        batch_size: images per step in all processes together.
        seed: of the run.
        flip: probability of a horizontal flip.
        start, steps: first step, and the step before which the batches end.
        rank, world_size: each process takes every `world_size`-th example of a batch.
    """

    images: int
    batch_size: int
    seed: int
    flip: float
    start: int
    steps: int
    rank: int = 0
    world_size: int = 1

    def draw(self, position: int) -> Draw:
        """Return the example at a position of the endless walk."""
        epoch, offset = divmod(position, self.images)
        index = int(_permutation(self.seed, epoch, self.images)[offset])
        flip = np.random.default_rng((_FLIP, self.seed, epoch, index)).random() < self.flip
        seed = np.random.SeedSequence((_AUGMENT, self.seed, epoch, index)).generate_state(1, np.uint64)[0]
        return Draw(index, bool(flip), int(seed))

    def batch(self, step: int) -> list[Draw]:
        """Return this process's shard of the batch of a step (steps count from 0)."""
        first = step * self.batch_size
        return [self.draw(position) for position in range(first + self.rank, first + self.batch_size, self.world_size)]

    def __iter__(self) -> Iterator[list[Draw]]:
        """Give the batches of all steps that are left."""
        return (self.batch(step) for step in range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps - self.start


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng((_ORDER, seed, epoch)).permutation(size)
