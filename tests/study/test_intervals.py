"""Intervals over seeds and images: printed tables, known answers, and what no number of seeds can do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import dunnett, multivariate_t, t

from smoothiou.study.intervals import (
    MOST_SEEDS,
    Uncertainty,
    conclude,
    critical_value,
    judged_difference,
    pooled_variance,
)
from smoothiou.study.stats import paired_difference

BASE = [0.40, 0.42, 0.41, 0.43, 0.40]


def judged(gains: list[float], *, margin: float = 0.01, **options) -> dict:
    base = (BASE * len(gains))[: len(gains)]
    return judged_difference(base, [b + g for b, g in zip(base, gains, strict=True)], margin=margin, **options)


class TestCriticalValue:
    @pytest.mark.parametrize(("degrees", "printed"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)])
    def test_of_one_candidate_is_students(self, degrees: int, printed: float):
        assert critical_value(0.95, degrees) == pytest.approx(printed, abs=6e-4)

    # Dunnett (1964), table II: two-sided, 95 %.
    @pytest.mark.parametrize(
        ("candidates", "degrees", "printed"),
        [(2, 10, 2.57), (3, 10, 2.76), (9, 10, 3.24), (2, 60, 2.27), (5, 20, 2.73), (9, 20, 2.95), (2, 5, 3.03)],
    )
    def test_of_several_is_dunnetts(self, candidates: int, degrees: int, printed: float):
        assert critical_value(0.95, degrees, candidates) == pytest.approx(printed, abs=0.011)

    @pytest.mark.parametrize(("candidates", "degrees"), [(2, 3.5), (4, 12), (9, 1e6)])
    def test_agrees_with_scipys_multivariate_t(self, candidates: int, degrees: float):
        q = np.full(candidates, critical_value(0.95, degrees, candidates))
        shape = (np.ones((candidates, candidates)) + np.eye(candidates)) / 2
        inside = multivariate_t.cdf(q, shape=shape, df=degrees, lower_limit=-q, random_state=0)
        assert inside == pytest.approx(0.95, abs=3e-4)


class TestJudgedDifference:
    def test_the_formula_by_hand(self):
        row = judged([0.01, 0.02, 0.03], covariance=4e-4, images=80)
        # s^2 / S = 1e-4 / 3; se^2 = 4.333e-4; nu = se^4 / ((1e-4 / 3)^2 / 2 + (4e-4)^2 / 79).
        nu = (1e-4 / 3 + 4e-4) ** 2 / ((1e-4 / 3) ** 2 / 2 + (4e-4) ** 2 / 79)
        half = t.ppf(0.975, nu) * math.sqrt(1e-4 / 3 + 4e-4)
        assert (row["low"], row["high"]) == pytest.approx((0.02 - half, 0.02 + half))
        assert row["degrees"] == pytest.approx(nu)
        assert (row["from_seeds"], row["from_images"]) == pytest.approx((1 / 13, 12 / 13))
        assert row["method"] == "t"

    def test_without_values_by_image_it_is_students_and_says_so(self):
        row, alone = judged([0.01, 0.02, 0.03]), paired_difference([0, 0, 0], [0.01, 0.02, 0.03])
        assert (row["low"], row["high"]) == pytest.approx((alone["low"], alone["high"]))
        assert (row["seeds_only"]["low"], row["method"]) == (pytest.approx(alone["low"]), "t, seeds only")

    def test_a_negative_covariance_counts_as_none(self):
        with_, without = judged([0.01, 0.02, 0.03], covariance=-1.0, images=80), judged([0.01, 0.02, 0.03])
        assert (with_["low"], with_["high"]) == pytest.approx((without["low"], without["high"]))

    @pytest.mark.parametrize(
        ("gains", "conclusion", "verdict"),
        [
            ([0.030, 0.031, 0.032], "better", "better"),
            ([-0.030, -0.031, -0.032], "worse", "worse"),
            ([0.0031, 0.0030, 0.0032], "better within", "better"),
            ([-0.0031, -0.0030, -0.0032], "worse within", "worse"),
            ([0.001, -0.001, 0.0005], "equivalent", "not distinguishable"),
            ([0.03, -0.03, 0.01], "unknown", "not distinguishable"),
        ],
    )
    def test_every_conclusion(self, gains: list[float], conclusion: str, verdict: str):
        row = judged(gains, covariance=1e-8, images=80)
        assert (row["conclusion"], row["verdict"], row["reason"]) == (conclusion, verdict, "")

    def test_below_three_seeds_nothing_is_concluded(self):
        two = judged([0.0300, 0.0301], covariance=1e-8, images=80)
        assert two["low"] > 0
        assert (two["conclusion"], two["verdict"], two["seeds_needed"]) == ("unknown", "not distinguishable", 3)
        assert "3 seeds" in two["reason"]
        one = judged([0.03])
        assert (one["low"], one["high"], one["conclusion"]) == (None, None, "unknown")
        assert judged([])["mean"] is None

    @pytest.mark.parametrize("images", [1, 2, 9])
    def test_a_handful_of_test_images_decides_nothing(self, images: int):
        row = judged([0.030, 0.031, 0.032], covariance=0.0, images=images)
        assert (row["conclusion"], row["verdict"]) == ("unknown", "not distinguishable")
        assert "images" in row["reason"]
        assert all(math.isfinite(row[key]) for key in ("low", "high", "degrees"))

    def test_identical_runs_are_equivalent_and_equal_gains_are_no_proof(self):
        same, gain = judged([0.0] * 3, covariance=0.0, images=80), judged([0.5] * 3, covariance=0.0, images=80)
        assert (same["conclusion"], same["low"], same["high"]) == ("equivalent", 0.0, 0.0)
        assert gain["conclusion"] == "unknown"
        assert "no spread" in gain["reason"]

    def test_a_reason_from_outside_withholds_every_verdict(self):
        row = judged([0.030, 0.031, 0.032], covariance=1e-8, images=80, reason="huber has learnt next to nothing")
        assert (row["conclusion"], row["verdict"]) == ("unknown", "not distinguishable")
        assert row["low"] > 0

    def test_a_look_among_several_asks_for_more(self):
        gains = [0.030, 0.050, 0.045]
        assert judged(gains)["verdict"] == "better"
        look = judged(gains, alpha=0.0154)
        assert (look["verdict"], look["low"] > 0) == ("not distinguishable", True)

    def test_seeds_alone_are_of_the_same_confidence(self):
        wide, narrow = (judged([0.01, 0.03, 0.05], confidence=level)["seeds_only"] for level in (0.95, 0.8))
        assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]

    def test_more_seeds_than_the_search_goes_are_never_advised(self):
        gains = [0.01, -0.01] * (MOST_SEEDS // 2)
        row = judged(gains, covariance=1e-3, images=1)
        assert (row["seeds_needed"], row["images_needed"]) == (None, None)

    @given(st.lists(st.floats(-0.2, 0.2), min_size=0, max_size=5), st.floats(-1e-3, 1e-3), st.integers(1, 500))
    def test_nothing_is_ever_nan(self, gains: list[float], covariance: float, images: int):
        row = judged(gains, covariance=covariance, images=images)
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert all(map(math.isfinite, numbers))
        assert row["conclusion"] in {"better", "worse", "equivalent", "better within", "worse within", "unknown"}


def test_the_interval_holds_its_promise():
    # 1,500 studies of 4 seeds on 60 images without any difference; benchmarks/coverage.py has more of them.
    draw, inside = np.random.default_rng(0), 0
    for shared, own, run in zip(draw.normal(0, 5, (1500, 1, 60)), draw.normal(0, 5, (1500, 4, 60)),
                                draw.normal(0, 0.8, (1500, 4, 1)), strict=True):  # fmt: skip
        gains = shared + own + run
        matrix = np.cov(gains) / 60
        c = (matrix.sum() - np.trace(matrix)) / 12
        row = judged_difference([0.0] * 4, gains.mean(1).tolist(), margin=1.0, covariance=c, images=60)
        inside += row["low"] <= 0 <= row["high"]
    assert inside / 1500 == pytest.approx(0.945, abs=0.018)


class TestWhatIsNeeded:
    def test_that_many_seeds_lead_to_a_conclusion_and_one_less_does_not(self):
        row = judged([0.03, -0.03, 0.01, 0.02], covariance=1e-6, images=80)
        uncertainty = Uncertainty(seeds=4, variance=row["sd"] ** 2, covariance=1e-6, images=80, degrees_of_variance=3)
        seeds = row["seeds_needed"]
        assert seeds > 4
        assert conclude(row["mean"], uncertainty.with_seeds(seeds), margin=0.01) != "unknown"
        assert conclude(row["mean"], uncertainty.with_seeds(seeds - 1), margin=0.01) == "unknown"
        assert row["images_needed"] is None

    def test_where_images_limit_no_number_of_seeds_is_named(self):
        row = judged([0.010, 0.011, 0.012], covariance=4e-4, images=80)
        assert (row["conclusion"], row["seeds_needed"]) == ("unknown", None)
        assert row["images_needed"] > 80
        # With as many images c falls to c * 80 / images, and seeds would then do.
        fewer = judged([0.010, 0.011, 0.012], covariance=4e-4 * 80 / (1.05 * row["images_needed"]), images=1000)
        assert fewer["seeds_needed"] or fewer["conclusion"] != "unknown"


class TestPooled:
    def test_of_two_losses_it_is_the_variance_of_their_difference(self):
        values = {"a": dict(enumerate([1.0, 2.0, 4.0])), "b": dict(enumerate([2.0, 2.0, 7.0]))}
        variance, degrees = pooled_variance(values) or (0, 0)
        assert (variance, degrees) == (pytest.approx(np.var([1, 0, 3], ddof=1)), 2)

    def test_of_a_full_table_it_is_the_residual_of_two_way_analysis_of_variance(self):
        table = np.random.default_rng(0).normal(size=(4, 5))
        residual = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
        values = {str(loss): dict(enumerate(row)) for loss, row in enumerate(table)}
        assert pooled_variance(values) == (pytest.approx(2 * (residual**2).sum() / 12), 12)

    def test_missing_cells_and_undefined_values_cost_degrees_of_freedom(self):
        values = {"a": {0: 1.0, 1: 2.0, 2: 3.5}, "b": {0: 1.5, 1: 2.0, 2: math.nan}, "c": {0: 1.0, 1: 3.0}}
        assert (pooled_variance(values) or (0, 0))[1] == 7 - 3 - 3 + 1
        assert pooled_variance({"a": {0: 1.0}, "b": {}}) is None
        assert pooled_variance({}) is None

    def test_with_blocks_that_do_not_differ_it_is_near_scipys_dunnett(self):
        rng = np.random.default_rng(4)
        base, *others = rng.normal(size=(4, 12))
        theirs = dunnett(*others, control=base, rng=rng).confidence_interval(0.95)
        values = {name: dict(enumerate(row)) for name, row in zip("abcd", (base, *others), strict=True)}
        row = judged_difference(base.tolist(), others[0].tolist(), margin=1.0, pooled=pooled_variance(values), losses=4)
        assert row["method"] == "Dunnett, seeds only"
        assert row["high"] - row["low"] == pytest.approx(theirs.high[0] - theirs.low[0], rel=0.15)
