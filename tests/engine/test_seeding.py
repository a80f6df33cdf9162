"""Pairing and resume rest on draws that depend on nothing but seed, epoch and step."""

from __future__ import annotations

from dataclasses import astuple

import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.engine.seeding import Batches, seed_step, seed_weights


def batches(**changes) -> Batches:
    return Batches(**{"images": 10, "batch_size": 4, "seed": 0, "flip": 0.5, "start": 0, "steps": 12, **changes})


def test_every_epoch_shows_every_image_once_though_batches_cross_its_end():
    walk = [draw.index for batch in batches(images=10, batch_size=4, steps=10) for draw in batch]
    assert len(walk) == 40
    for epoch in range(4):
        assert sorted(walk[10 * epoch : 10 * epoch + 10]) == list(range(10))


def test_a_run_that_continues_meets_the_batches_that_the_whole_run_would_have_met():
    whole, rest = list(batches()), list(batches(start=7))
    assert whole[7:] == rest
    assert len(batches(start=7)) == 5


def test_seeds_differ_in_order_and_in_flips():
    first, second = list(batches(seed=0)), list(batches(seed=1))
    assert first != second
    assert {draw.flip for batch in first for draw in batch} == {True, False}


@given(world_size=st.sampled_from([1, 2, 4]), step=st.integers(0, 50), seed=st.integers(0, 2**32 - 1))
def test_processes_share_one_batch_without_gap_or_double(world_size, step, seed):
    one = batches(seed=seed, steps=60).batch(step)
    shards = [batches(seed=seed, steps=60, rank=r, world_size=world_size).batch(step) for r in range(world_size)]
    assert sorted((draw for shard in shards for draw in shard), key=astuple) == sorted(one, key=astuple)
    assert {len(shard) for shard in shards} == {4 // world_size}


def test_what_is_random_inside_a_step_does_not_depend_on_what_was_drawn_before():
    seed_step(3, 5)
    first = torch.rand(4)
    torch.rand(1000)
    seed_step(3, 5)
    assert torch.equal(first, torch.rand(4))
    seed_step(3, 6)
    assert not torch.equal(first, torch.rand(4))
    seed_step(3, 5, rank=1)
    assert not torch.equal(first, torch.rand(4))


def test_a_seed_gives_the_same_weights_and_another_seed_others():
    def weights(seed):
        seed_weights(seed)
        return torch.nn.Linear(3, 3).weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
