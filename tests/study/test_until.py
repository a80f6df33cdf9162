"""When a study that adds seeds may stop."""

from __future__ import annotations

import math

import pytest

from smoothiou.errors import ConfigError, DataError
from smoothiou.study.intervals import critical_value, judged_difference
from smoothiou.study.until import CONFIDENCE, look, next_seeds, read_rule


def row(spread: float, *, seeds: int, covariance: float = 1e-8, candidate: str = "iou") -> dict:
    gains = [spread * (-1) ** seed for seed in range(seeds)]
    judged = judged_difference([0.0] * seeds, gains, margin=0.01, covariance=covariance, images=80)
    return {"candidate": candidate, "metric": "AP", **judged}


def decide(*rows: dict, seeds: int, half_width: float = 0.01, most_seeds: int = 20):
    return look(rows, half_width=half_width, seeds=seeds, most_seeds=most_seeds)


def test_a_study_begins_with_five_seeds_however_narrow_its_interval():
    assert decide(row(0.0001, seeds=4), seeds=4)[:2] == (True, "start")
    assert decide(row(0.0001, seeds=5), seeds=5)[:2] == (False, "known")


def test_it_stops_at_the_wider_interval_and_not_at_the_95_percent_one():
    found = row(0.01, seeds=6)
    narrow, wide = (critical_value(level, found["degrees"]) * found["error"] for level in (0.95, CONFIDENCE))
    assert decide(found, seeds=6, half_width=wide * 1.001)[:2] == (False, "known")
    assert decide(found, seeds=6, half_width=(narrow + wide) / 2)[:2] == (True, "wide")


def test_every_candidate_has_to_be_known():
    known, unknown = row(0.0001, seeds=6), row(0.05, seeds=6, candidate="giou")
    assert decide(known, unknown, seeds=6)[:2] == (True, "wide")


def test_it_stops_where_only_images_could_help():
    found = row(0.001, seeds=6, covariance=0.006**2)
    decision = decide(found, seeds=6, half_width=0.01)
    assert decision[:2] == (False, "images")
    assert "images" in decision.sentence


def test_a_candidate_limited_by_images_does_not_keep_another_waiting_or_stop_it():
    limited = row(0.001, seeds=6, covariance=0.02**2)
    assert decide(limited, row(0.0001, seeds=6, candidate="giou"), seeds=6)[:2] == (False, "images")
    assert decide(limited, row(0.05, seeds=6, candidate="giou"), seeds=6)[:2] == (True, "wide")


def test_it_stops_at_the_most_seeds_also_where_they_are_few_or_all_failed():
    assert decide(row(0.05, seeds=20), seeds=20)[:2] == (False, "most seeds")
    assert decide(row(0.05, seeds=3), seeds=3, most_seeds=3)[:2] == (False, "most seeds")
    assert decide(row(0.05, seeds=0), seeds=20)[:2] == (False, "most seeds")
    assert decide(row(0.05, seeds=0), seeds=6)[:2] == (True, "wide")


@pytest.mark.parametrize("half_width", [0, -1.0, math.nan])
def test_a_half_width_of_nothing_is_refused(half_width: float):
    with pytest.raises(ConfigError, match="--until"):
        decide(row(0.05, seeds=5), seeds=5, half_width=half_width)


def test_next_seeds_are_the_smallest_free_ones():
    assert next_seeds([0, 1, 2]) == [3]
    assert next_seeds([0, 2, 7], number=3) == [1, 3, 4]
    assert next_seeds([], number=2) == [0, 1]


@pytest.mark.parametrize("rule", [1, {}, {"half_width": "1", "most_seeds": 20}, {"half_width": 0.01}])
def test_a_plan_with_a_broken_rule_is_refused(rule):
    with pytest.raises(DataError, match="until"):
        read_rule({"until": rule})
    assert read_rule({}) is None
