"""What a study can detect, known answers and simulated ones."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from smoothiou.engine.config import RunConfig, read_recipe
from smoothiou.study import make_plan
from smoothiou.study.power import EARLIER, Spread, detectable, expected_spread, power_of, seeds_until
from tests.study.conftest import DATA

ROOT = Path(__file__).resolve().parents[2]
SPREAD = Spread(sd=0.01, covariance=0.0, images=100, pairs=5, source="a test")


def plan_with(seeds=(0, 1, 2), losses=("huber", "smooth-iou"), until=None, **settings):
    return make_plan(
        RunConfig().replace(settings), losses=list(losses), seeds=list(seeds), data=DATA, classes=[], command=[],
        until=until,
    )  # fmt: skip


def test_without_doubt_from_images_it_is_the_power_of_a_t_test():
    # Five pairs of standard deviation 1 point: a paired t test finds about 1.69 points with power .8.
    found = detectable(SPREAD, seeds=5, images=100)
    shift = found / 0.01 * math.sqrt(5)
    power = 1 - stats.nct.cdf(stats.t.ppf(0.975, 4), 4, shift)
    assert power == pytest.approx(0.8, abs=0.04)


def test_more_seeds_and_more_images_find_smaller_differences():
    noisy = Spread(sd=0.01, covariance=0.8e-4, images=80, pairs=5, source="a test")
    found = [[detectable(noisy, seeds=seeds, images=images) for seeds in (3, 5, 20)] for images in (80, 640)]
    assert np.all(np.diff(found, axis=0) < 0)
    assert np.all(np.diff(found, axis=1) < 0)
    assert detectable(noisy, seeds=5, images=80, losses=4) > 0
    assert detectable(noisy, seeds=2, images=80) is None


def test_seeds_until_it_is_known_and_where_only_images_help():
    seeds = seeds_until(SPREAD, 0.01, images=100)
    assert seeds == 9  # the first with t(.9875, S - 1) * 1 / sqrt(S) <= 1
    assert (
        stats.t.ppf(0.9875, seeds - 1) / math.sqrt(seeds) <= 1 < stats.t.ppf(0.9875, seeds - 2) / math.sqrt(seeds - 1)
    )
    noisy = Spread(sd=0.01, covariance=1e-4, images=100, pairs=5, source="a test")
    assert seeds_until(noisy, 0.01, images=100) is None
    assert seeds_until(noisy, 0.01, images=1000) is not None


def test_a_recipe_has_the_spread_of_earlier_studies_and_another_length_none():
    for recipe in EARLIER:
        settings = read_recipe(recipe)
        assert expected_spread(plan_with(**settings)) == EARLIER[recipe]
        assert expected_spread(plan_with(**{**settings, "train.steps": 7})) is None
    assert expected_spread(plan_with(**{**read_recipe("quick"), "data.images": 60})) is None
    assert expected_spread(plan_with()) is None


def test_the_sources_of_the_table_exist_and_the_documentation_has_its_numbers():
    table = (ROOT / "docs" / "statistics.md").read_text().split("What a study can detect")[1]
    for recipe, spread in EARLIER.items():
        assert all((ROOT / path).is_file() for path in re.findall(r"docs/[\w/.]+\.md", spread.source))
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{recipe}`")]
        assert f"| {spread.images} | {spread.pairs} | {100 * spread.sd:.2f} |" in row


def test_sentences_for_people():
    known = read_recipe("bccd")
    assert "one loss" in power_of(plan_with(losses=("huber",)), None, run_seconds=1)["sentence"].lower()
    few = power_of(plan_with(seeds=(0,), **known), None, run_seconds=1)
    assert (few["AP"], "3 seeds" in few["sentence"]) == (None, True)
    rule = {"half_width": 0.001, "most_seeds": 6}
    never = power_of(plan_with(until=rule, **known), None, run_seconds=60, jobs=2)
    assert "more than the 6" in never["sentence"]
    assert "6:00 min" in never["sentence"]  # 2 losses x 6 seeds, two at a time, a minute each
