"""Paired differences over seeds: mean, spread, Student's interval, sign flips. Test images: `study.intervals`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from smoothiou.errors import SmoothIoUError

EXACT_PAIRS = 20
"""Largest number of pairs for which all sign flips are tried (a million)."""

BETTER, WORSE, UNDECIDED = "better", "worse", "not distinguishable"

ONE_SEED = "one seed: no interval over seeds"
NO_SPREAD = "all seeds differ by the same amount: no spread to judge by"
ROUNDING = 1e-12
"""Differences that lie closer together than this, of numbers up to 1, are the same."""


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def sd(values: Sequence[float]) -> float | None:
    """Return the standard deviation of the sample (n - 1), or None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired_difference(
    baseline_values: Sequence[float], candidate_values: Sequence[float], *, confidence: float = 0.95
) -> dict[str, Any]:
    """Return what the candidate gains over the baseline, pair by pair, and whether it is more than noise.

    The interval is Student's: mean +- t(confidence, n - 1) * sd / sqrt(n). It supposes differences that are
    roughly normal; `p_sign_flip` supposes only that they would be symmetric about 0 without an effect. With n
    pairs the latter cannot fall below 2 / 2**n, so 5 pairs never reach .05: read it as a check, not as a
    second chance.

    Args:
        baseline_values: one finite value per seed.
        candidate_values: one per seed, in the same order.
        confidence: of the interval, above 0 and below 1.

    Returns:
        mean, sd: of the differences candidate - baseline (None without a pair, or with one).
        low, high: the interval; None with fewer than two pairs. Of no width where all differences are equal.
        n, wins, losses, ties: pairs, and in how many the candidate was above, below or equal.
        p_sign_flip: exact two-sided p-value over all 2**n sign flips; None for no pair or more than 20.
        verdict: "better" or "worse" where the interval excludes 0 and has a width, else "not distinguishable".
        reason: why nothing could be decided, beyond the interval: one pair, or all differences equal and not 0
            (coarse numbers of few seeds do that, and then the interval promises too much). Else "".
        confidence: as given.

    Raises:
        SmoothIoUError: the values do not pair up, are not finite, or the confidence is out of range.
    """
    baseline, candidate = np.asarray(baseline_values, float), np.asarray(candidate_values, float)
    if baseline.shape != candidate.shape or baseline.ndim != 1:
        raise SmoothIoUError(f"pairs: expected as many values on both sides, got {len(baseline)} and {len(candidate)}.")
    if not (np.isfinite(baseline).all() and np.isfinite(candidate).all()):
        raise SmoothIoUError("pairs: expected finite values; leave pairs with an undefined value out.")
    if not 0 < confidence < 1:
        raise SmoothIoUError(f"confidence: expected more than 0 and less than 1, got {confidence!r}.")
    differences = candidate - baseline
    n, center, spread = len(differences), mean(differences.tolist()), sd(differences.tolist())
    low = high = None
    verdict, reason = UNDECIDED, ONE_SEED if n == 1 else ""
    if center is not None and spread is not None:
        half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * spread / math.sqrt(n)
        low, high = center - half, center + half
        slack = ROUNDING * max(1.0, np.abs(baseline).max(), np.abs(candidate).max())
        if np.ptp(differences) > slack:
            verdict = BETTER if low > 0 else WORSE if high < 0 else UNDECIDED
        elif differences.any():
            reason = NO_SPREAD
    return {
        "mean": center,
        "sd": spread,
        "low": low,
        "high": high,
        "n": n,
        "wins": int((differences > 0).sum()),
        "losses": int((differences < 0).sum()),
        "ties": int((differences == 0).sum()),
        "p_sign_flip": sign_flip_p(differences.tolist()),
        "verdict": verdict,
        "reason": reason,
        "confidence": confidence,
    }


def undecided(entry: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return a difference with its verdict taken back, and why."""
    return {**entry, "verdict": UNDECIDED, "conclusion": "unknown", "reason": reason}


def verdict_in_words(entry: Mapping[str, Any]) -> str:
    """Return the verdict of a difference; where nothing was decided, with the reason if there is one."""
    reason = entry.get("reason", "") if entry["verdict"] == UNDECIDED else ""
    return f"{entry['verdict']} ({reason})" if reason else entry["verdict"]


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return the share of all 2**n sign flips whose mean is at least as far from 0: exact, two-sided.

    Args:
        differences: up to 20 paired differences; None is returned for none or more.
    """
    n = len(differences)
    if not 1 <= n <= EXACT_PAIRS:
        return None
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(math.fsum(differences))
    # A flip that gives the same sum in another order of addition must count as equal.
    slack = 1e-12 * math.fsum(abs(difference) for difference in differences)
    return float(np.mean(np.abs(sums) >= observed - slack))
