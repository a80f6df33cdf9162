"""The mean over data sets: known answers, and an interval that holds what it promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from smoothiou.errors import ConfigError
from smoothiou.study.across import mean_over_sets


def difference(values) -> dict[str, float]:
    """Return a set's difference as `judged_difference` does where test images add nothing."""
    values = np.asarray(values)
    return {
        "mean": float(values.mean()),
        "error": float(values.std(ddof=1) / len(values) ** 0.5),
        "degrees": len(values) - 1,
    }


def test_one_set_has_the_interval_of_student():
    values = [0.4, 1.1, -0.2, 0.9]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    result = mean_over_sets([difference(values)])
    assert (result["low"], result["high"]) == pytest.approx((low, high))


def test_two_sets_have_the_interval_of_welch():
    """Half the sum of two means: Welch's interval of their difference, with one sign turned, halved."""
    a, b = [0.4, 1.1, -0.2, 0.9], [2.0, 5.0, 3.0]
    welch = stats.ttest_ind(a, [-value for value in b], equal_var=False).confidence_interval(0.95)
    result = mean_over_sets([difference(a), difference(b)])
    assert (result["low"], result["high"]) == pytest.approx((welch.low / 2, welch.high / 2))


def test_a_set_of_many_photos_weighs_as_much_as_one_of_few():
    assert mean_over_sets([difference([1, 1.1, 0.9]), difference([3, 9, 6])])["mean"] == pytest.approx(3.5)


def test_95_of_100_intervals_hold_the_truth():
    draw = np.random.default_rng(0)
    spreads = np.array([0.5, 1.0, 1.0, 4.0])
    inside = 0
    for _ in range(1000):
        sets = [difference(draw.normal(0.7, spread, 5)) for spread in spreads]
        result = mean_over_sets(sets)
        inside += result["low"] <= 0.7 <= result["high"]
    assert 930 <= inside <= 980


def test_no_spread_at_all_is_no_division_by_zero():
    assert mean_over_sets([difference([1.0, 1.0]), difference([3.0, 3.0])])["low"] == 2


@pytest.mark.parametrize("sets", [[], [{"mean": 1.0, "error": None, "degrees": None}]])
def test_a_set_of_one_seed_has_no_error(sets):
    with pytest.raises(ConfigError, match="seeds"):
        mean_over_sets(sets)
