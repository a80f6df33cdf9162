"""One interval for both uncertainties, other seeds and other test images, and the verdict that it allows.

Seeds and images are crossed, as readers and cases in radiology. With paired differences D_s of S seeds on I images:

    c    mean covariance of the bootstrap differences of two seeds, on the same draws of images
    se^2 = s_D^2 / S + max(c, 0)
    nu   = se^4 / [(s_D^2 / S)^2 / (S - 1) + max(c, 0)^2 / (I - 1)]
    mean(D) +- t_nu * se

Several candidates share their baseline. Then s_D^2 is pooled over all losses, with seeds as blocks, and Dunnett's
critical value takes the place of t.

Reference:
    Obuchowski and Rockette, Communications in Statistics 24, 1995; Hillis, Statistics in Medicine 26, 2007;
    Dunnett, JASA 50, 1955; Schuirmann, Journal of Pharmacokinetics 15, 1987 (equivalence).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.special import chdtri, ndtr, stdtrit

from smoothiou.study.stats import BETTER, NO_SPREAD, UNDECIDED, WORSE, paired_difference

EQUIVALENT, BETTER_WITHIN, WORSE_WITHIN, UNKNOWN = "equivalent", "better within", "worse within", "unknown"
"""Conclusions besides `BETTER` and `WORSE`: within the margin, and not known well enough."""
VERDICTS = {BETTER: BETTER, BETTER_WITHIN: BETTER, WORSE: WORSE, WORSE_WITHIN: WORSE}
"""Conclusion -> verdict; that of all others is `UNDECIDED`."""

MARGIN = {"AP": 0.01, "IoU": 0.005}
"""Differences that do not matter, unless plan.json names others: of AP, AR and shares, and of mean IoU."""

LEAST_SEEDS, LEAST_IMAGES, MOST_SEEDS = 3, 10, 1000
FEW_SEEDS = f"fewer than {LEAST_SEEDS} seeds"
FEW_IMAGES = f"fewer than {LEAST_IMAGES} images"

LOOKS, LOOK_ALPHA = (3, 5, 8, 12), 0.0154
"""Numbers of seeds at which a study may be looked at, and the level of each look: together 5 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """What the uncertainty of a mean difference is made of.

    Args:
        seeds: pairs of runs, S, 2 or more.
        variance: of the difference over seeds, s_D^2.
        covariance: c, from the test images; 0 where it is not known.
        images: size of the test set, I.
        losses: 2, or how many losses the variance is pooled over.
    """

    seeds: int
    variance: float
    covariance: float
    images: int
    losses: int = 2
    degrees_of_variance: float = 0.0

    @property
    def from_seeds(self) -> float:
        """Return the part of the squared error that more seeds make smaller."""
        return self.variance / self.seeds

    @property
    def from_images(self) -> float:
        """Return the part that only more test images make smaller."""
        return max(self.covariance, 0.0)

    @property
    def error(self) -> float:
        """Return the standard error of the mean difference."""
        return math.sqrt(self.from_seeds + self.from_images)

    @property
    def degrees(self) -> float:
        """Return Hillis' degrees of freedom."""
        total, of_variance = self.from_seeds + self.from_images, max(self.degrees_of_variance, 1.0)
        if total == 0:
            return of_variance
        seeds, images = self.from_seeds / total, self.from_images / total  # shares: their squares do not underflow
        return 1 / (seeds**2 / of_variance + images**2 / max(self.images - 1, 1))

    def half_width(self, confidence: float) -> float:
        """Return half the width of the interval, simultaneous over all candidates."""
        return critical_value(confidence, self.degrees, self.losses - 1) * self.error

    def with_seeds(self, seeds: int) -> Uncertainty:
        """Return the uncertainty that would be left with another number of seeds and the same spread."""
        degrees = self.degrees_of_variance * (seeds - 1) / (self.seeds - 1)
        return replace(self, seeds=seeds, degrees_of_variance=degrees)


@cache
def critical_value(confidence: float, degrees: float, candidates: int = 1) -> float:
    """Return the two-sided critical value: Student's for one candidate, Dunnett's for several.

    Args:
        confidence: above 0 and below 1.
        degrees: degrees of freedom, above 0.
        candidates: losses compared with one baseline, as often run as it (correlation 1/2).
    """
    if candidates == 1:
        return float(stdtrit(degrees, 0.5 + confidence / 2))
    from scipy.optimize import brentq  # slow to import, and needed for several candidates only

    nodes, weights = np.polynomial.hermite_e.hermegauss(40)  # the baseline's error
    tails, tail_weights = np.polynomial.legendre.leggauss(40)  # quantiles of the estimated spread
    spread = np.sqrt(chdtri(degrees, (tails + 1) / 2) / degrees)[:, None]

    def miss(q: float) -> float:
        reach = math.sqrt(2) * q * spread
        inside = (ndtr(nodes + reach) - ndtr(nodes - reach)) ** candidates
        return float((tail_weights / 2) @ inside @ weights) / math.sqrt(2 * math.pi) - confidence

    high = float(stdtrit(degrees, 1 - (1 - confidence) / (2 * candidates)))  # Bonferroni's, never smaller
    return float(brentq(miss, 0, 1.01 * high, xtol=1e-9))  # pyright: ignore[reportArgumentType]


def pooled_variance(values: Mapping[str, Mapping[int, float]]) -> tuple[float, int] | None:
    """Return the variance of a difference of two losses, pooled over all, with its degrees of freedom.

    Twice the residual variance of loss + seed, by least squares, so cells may be missing.

    Args:
        values: loss -> seed -> value.

    Returns:
        None where no degree of freedom is left.
    """
    cells = [(loss, seed, value) for loss, of in values.items() for seed, value in of.items() if math.isfinite(value)]
    losses, seeds = sorted({cell[0] for cell in cells}), sorted({cell[1] for cell in cells})
    design = np.zeros((len(cells), len(losses) + len(seeds)))
    for row, (loss, seed, _) in enumerate(cells):
        design[row, losses.index(loss)] = design[row, len(losses) + seeds.index(seed)] = 1
    y = np.array([cell[2] for cell in cells])
    if not len(cells):
        return None
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    degrees = len(cells) - int(rank)
    return (2 * float(((y - design @ solution) ** 2).sum()) / degrees, degrees) if degrees > 0 else None


def judged_difference(
    baseline: Sequence[float],
    candidate: Sequence[float],
    *,
    margin: float,
    covariance: float | None = None,
    images: int | None = None,
    pooled: tuple[float, int] | None = None,
    losses: int = 2,
    confidence: float = 0.95,
    alpha: float | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """Return the difference of two losses with its interval over seeds and images, and what follows from it.

    Args:
        baseline: one finite value per seed.
        candidate: one per seed, in the same order.
        margin: a difference that does not matter, above 0, in the metric's unit.
        covariance: c, from `smoothiou.metrics.covariance_of_draws`; None where the metric has no values by image.
        images: size of the test set; None where it is not known.
        pooled: from `pooled_variance`, where there are several candidates.
        losses: how many losses there are, baseline included.
        confidence: of the interval.
        alpha: level of the verdict, where it is not 1 - confidence (planned looks).
        reason: why no verdict is possible, whatever the numbers say.

    Returns:
        What `paired_difference` gives, and in it, anew:
        low, high     the interval over seeds and images; None with fewer than two pairs
        verdict       better, worse or not distinguishable; never better or worse below 3 seeds or 10 images
        and besides:
        seeds_only    {"low", "high"}: Student's interval over seeds alone
        error, degrees, covariance, images
        from_seeds, from_images   shares of the squared error, together 1; None without an interval
        method        "t" or "Dunnett", and ", seeds only" where nothing is known by image
        margin        as given
        conclusion    better, worse, equivalent, better within, worse within, unknown
        seeds_needed  seeds in all with which this mean and spread would lead to a conclusion; None where it is known
                      or no number of seeds would do
        images_needed about how many test images would do, where no number of seeds would; else None
    """
    row = paired_difference(baseline, candidate, confidence=confidence)
    row.update(
        seeds_only={"low": row["low"], "high": row["high"]}, error=None, degrees=None, covariance=covariance,
        images=images, from_seeds=None, from_images=None, method="", margin=margin, conclusion=UNKNOWN,
        seeds_needed=None, images_needed=None, confidence=confidence,
    )  # fmt: skip
    few_images = FEW_IMAGES if images is not None and images < LEAST_IMAGES else ""
    if row["n"] < 2:
        return {**row, "reason": reason or "; ".join(filter(None, (row["reason"], few_images)))}
    variance, degrees = pooled if pooled and losses > 2 else (row["sd"] ** 2, row["n"] - 1)
    uncertainty = Uncertainty(
        seeds=row["n"], variance=variance, degrees_of_variance=degrees, covariance=covariance or 0.0,
        images=images or 2, losses=losses if pooled else 2,
    )  # fmt: skip
    mean, half, level = row["mean"], uncertainty.half_width(confidence), alpha or 1 - confidence
    total = uncertainty.from_seeds + uncertainty.from_images
    few_seeds = FEW_SEEDS if row["reason"] != NO_SPREAD and row["n"] < LEAST_SEEDS else ""
    row.update(
        low=mean - half,
        high=mean + half,
        error=uncertainty.error,
        degrees=uncertainty.degrees,
        from_seeds=uncertainty.from_seeds / total if total else None,
        from_images=uncertainty.from_images / total if total else None,
        method=("Dunnett" if uncertainty.losses > 2 else "t") + ("" if covariance is not None else ", seeds only"),
        verdict=UNDECIDED,
        reason=reason or few_images or few_seeds or row["reason"],
    )
    if row["reason"] == FEW_SEEDS:
        row["seeds_needed"] = max(LEAST_SEEDS, _needed(mean, uncertainty, margin, level)[0] or 0)
    if row["reason"]:
        return row
    row["conclusion"] = conclude(mean, uncertainty, margin=margin, alpha=level)
    if row["conclusion"] == UNKNOWN:
        row["seeds_needed"], row["images_needed"] = _needed(mean, uncertainty, margin, level)
    return {**row, "verdict": VERDICTS.get(row["conclusion"], UNDECIDED)}


def conclude(mean: float, uncertainty: Uncertainty, *, margin: float, alpha: float = 0.05) -> str:
    """Return what a mean difference and its uncertainty say.

    Better or worse: the interval of confidence 1 - alpha leaves out 0. Equivalent: that of 1 - 2 alpha lies within the
    margin (two one-sided tests).
    """
    apart = abs(mean) > uncertainty.half_width(1 - alpha)
    within = abs(mean) + uncertainty.half_width(1 - 2 * alpha) <= margin
    if apart:
        return (BETTER_WITHIN if within else BETTER) if mean > 0 else (WORSE_WITHIN if within else WORSE)
    return EQUIVALENT if within else UNKNOWN


def _needed(mean: float, uncertainty: Uncertainty, margin: float, alpha: float) -> tuple[int | None, int | None]:
    """Return seeds or images that would lead to a conclusion, if mean and spread stayed as they are."""
    low, high = uncertainty.seeds, MOST_SEEDS
    if low >= high:
        return None, None
    if conclude(mean, uncertainty.with_seeds(high), margin=margin, alpha=alpha) == UNKNOWN:
        if uncertainty.from_images == 0:
            return None, None
        apart, inside = (
            critical_value(1 - level, max(uncertainty.images - 1, 1), uncertainty.losses - 1)
            for level in (alpha, 2 * alpha)
        )
        enough = max(abs(mean) / apart, (margin - abs(mean)) / inside)
        return None, math.ceil(uncertainty.images * uncertainty.from_images / enough**2) if enough > 0 else None
    while high - low > 1:
        middle = (low + high) // 2
        if conclude(mean, uncertainty.with_seeds(middle), margin=margin, alpha=alpha) == UNKNOWN:
            low = middle
        else:
            high = middle
    return high, None
