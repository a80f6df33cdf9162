"""When a run saves, and that what a save counts on is on the disk before it."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from smoothiou.engine.loop import EPOCH_SECONDS, is_save_due
from smoothiou.engine.metrics_csv import MetricsCsv
from smoothiou.engine.sections import TrainConfig
from smoothiou.engine.seeding import seed_step


@pytest.mark.parametrize(
    ("done", "age", "due"),
    [
        (1, 59.0, False),
        (1, 60.0, True),  # the timer
        (4, EPOCH_SECONDS, False),  # 8 images of 10
        (5, EPOCH_SECONDS, True),  # the end of the first epoch
        (5, EPOCH_SECONDS - 0.1, False),  # of a small data set
        (6, EPOCH_SECONDS, False),
        (10, EPOCH_SECONDS, True),
    ],
)
def test_saves_come_by_the_timer_and_at_the_end_of_an_epoch_of_some_length(done, age, due):
    assert is_save_due(TrainConfig(batch_size=2, save_seconds=60.0), done, 10, age=age) == due


def test_a_batch_that_reaches_over_the_end_of_an_epoch_ends_it():
    settings = TrainConfig(batch_size=4, save_seconds=60.0)
    assert [done for done in range(1, 11) if is_save_due(settings, done, 10, age=EPOCH_SECONDS)] == [3, 5, 8, 10]


def test_rows_are_on_the_disk_before_the_checkpoint_that_counts_on_them(tmp_path, monkeypatch):
    metrics, synced = MetricsCsv(tmp_path / "metrics.csv", resume_step=0), []
    metrics.write({"step": 1, "loss": 0.5})
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    metrics.sync()
    assert synced == [str(tmp_path / "metrics.csv")]


def test_every_generator_that_a_loss_may_draw_from_is_set_by_the_step():
    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_step(3, 7)
    first = draws()
    seed_step(3, 8)
    second = draws()
    seed_step(3, 7)
    assert draws() == first
    assert all(a != b for a, b in zip(first, second, strict=True))
