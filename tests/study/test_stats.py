"""Paired differences whose intervals and verdicts can be followed by hand."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.errors import SmoothIoUError
from smoothiou.study.stats import mean, paired_difference, sd, sign_flip_p

values = st.floats(-1, 1, allow_nan=False)


class TestPairedDifference:
    def test_three_seeds_by_hand(self):
        # Differences 1, 2, 3: mean 2, sd 1, half width 4.303 / sqrt(3) = 2.484.
        row = paired_difference([10, 20, 30], [11, 22, 33])
        assert (row["mean"], row["sd"], row["n"]) == (2.0, 1.0, 3)
        assert (row["low"], row["high"]) == (pytest.approx(-0.484, abs=1e-3), pytest.approx(4.484, abs=1e-3))
        assert row["verdict"] == "not distinguishable"
        assert (row["wins"], row["losses"], row["ties"]) == (3, 0, 0)
        assert row["p_sign_flip"] == 0.25  # the smallest that three pairs can give

    def test_better_and_worse_are_where_the_interval_excludes_zero(self):
        up = paired_difference([0.50, 0.52, 0.48, 0.51], [0.53, 0.55, 0.52, 0.54])
        assert (up["verdict"], up["low"] > 0) == ("better", True)
        down = paired_difference([0.53, 0.55, 0.52, 0.54], [0.50, 0.52, 0.48, 0.51])
        assert (down["verdict"], down["high"] < 0) == ("worse", True)

    def test_pairing_sees_what_two_means_would_not(self):
        # The seeds differ by far more than the losses, but every seed gains .01 or so.
        row = paired_difference([0.30, 0.40, 0.50, 0.60], [0.31, 0.411, 0.511, 0.61])
        assert row["verdict"] == "better"

    def test_one_seed_proves_nothing(self):
        row = paired_difference([0.4], [0.9])
        assert (row["mean"], row["sd"], row["low"], row["high"]) == (0.5, None, None, None)
        assert (row["verdict"], row["p_sign_flip"], row["wins"]) == ("not distinguishable", 1.0, 1)

    def test_no_seed_at_all(self):
        row = paired_difference([], [])
        assert [row[key] for key in ("mean", "sd", "low", "high", "p_sign_flip")] == [None] * 5
        assert (row["n"], row["verdict"]) == (0, "not distinguishable")

    def test_equal_values_are_ties_and_no_verdict(self):
        row = paired_difference([0.4, 0.5], [0.4, 0.5])
        assert (row["low"], row["high"], row["ties"], row["p_sign_flip"]) == (0.0, 0.0, 2, 1.0)
        assert row["verdict"] == "not distinguishable"

    def test_the_same_gain_every_time_has_an_interval_of_no_width_and_decides_nothing(self):
        # Both seeds gain .5: a spread of 0 is what coarse numbers give, not certainty.
        row = paired_difference([1.0, 2.0], [1.5, 2.5])
        assert (row["low"], row["high"], row["verdict"]) == (0.5, 0.5, "not distinguishable")
        assert row["reason"] == "all seeds differ by the same amount: no spread to judge by"

    def test_differences_that_only_rounding_tells_apart_are_the_same(self):
        # .52 - .48 and .44 - .40 are both .04, but not to the last bit; the interval still leaves out 0.
        row = paired_difference([0.48, 0.40, 0.30], [0.52, 0.44, 0.34])
        assert row["low"] > 0
        assert (row["verdict"], row["reason"][:9]) == ("not distinguishable", "all seeds")

    def test_two_seeds_that_differ_at_all_may_still_decide(self):
        # Differences .0400 and .0401: half width 12.706 * .00005 = .0006, far from 0.
        row = paired_difference([0.48, 0.40], [0.52, 0.4401])
        assert (row["verdict"], row["reason"]) == ("better", "")

    def test_each_missing_verdict_has_its_reason(self):
        # One seed has no interval; equal values need no excuse: they are the same.
        assert paired_difference([0.4], [0.9])["reason"] == "one seed: no interval over seeds"
        assert paired_difference([0.4, 0.5], [0.4, 0.5])["reason"] == ""
        assert paired_difference([], [])["reason"] == ""

    def test_more_confidence_gives_a_wider_interval(self):
        narrow = paired_difference([1, 2, 3], [2, 2, 5], confidence=0.5)
        wide = paired_difference([1, 2, 3], [2, 2, 5], confidence=0.99)
        assert wide["low"] < narrow["low"] < narrow["mean"] < narrow["high"] < wide["high"]

    @given(pairs=st.lists(st.tuples(values, values), min_size=2, max_size=8))
    def test_swapping_the_sides_turns_everything_round(self, pairs: list[tuple[float, float]]):
        a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        there, back = paired_difference(a, b), paired_difference(b, a)
        assert there["mean"] == -back["mean"]
        assert (there["low"], there["high"]) == (-back["high"], -back["low"])
        assert (there["wins"], there["losses"]) == (back["losses"], back["wins"])
        assert {there["verdict"], back["verdict"]} in ({"better", "worse"}, {"not distinguishable"})

    @pytest.mark.parametrize(
        ("a", "b", "options", "words"),
        [
            ([1.0], [1.0, 2.0], {}, "1 and 2"),
            ([math.nan], [1.0], {}, "finite values"),
            ([1.0], [1.0], {"confidence": 95}, "confidence: .*95"),
        ],
    )
    def test_refuses_what_is_no_pair(self, a, b, options, words: str):
        with pytest.raises(SmoothIoUError, match=words):
            paired_difference(a, b, **options)

    def test_the_interval_holds_its_promise(self):
        # 95 % of such intervals contain the true difference (0); 2000 draws of 4 pairs give 95 +- 1.
        import numpy as np

        noise = np.random.default_rng(0).normal(size=(2000, 4))
        rows = [paired_difference([0] * 4, draw.tolist()) for draw in noise]
        assert sum(row["low"] <= 0 <= row["high"] for row in rows) / 2000 == pytest.approx(0.95, abs=0.012)


class TestSignFlip:
    @given(st.lists(values, min_size=1, max_size=7))
    def test_equals_trying_every_flip(self, differences: list[float]):
        observed = abs(math.fsum(differences))
        size = math.fsum(map(abs, differences))
        flips = [
            abs(math.fsum(sign * d for sign, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(differences))
        ]
        wanted = sum(flip >= observed - 1e-12 * size for flip in flips) / len(flips)
        assert sign_flip_p(differences) == pytest.approx(wanted)

    def test_is_not_given_beyond_twenty_pairs(self):
        assert sign_flip_p([0.1] * 20) == 2 / 2**20
        assert sign_flip_p([0.1] * 21) is None
        assert sign_flip_p([]) is None


def test_mean_and_sd_of_too_little_are_none():
    assert (mean([]), sd([]), sd([1.0])) == (None, None, None)
    assert (mean([1, 2, 3]), sd([1, 2, 3])) == (2.0, 1.0)
