"""One difference over several data sets: their mean with equal weights, for studies planned together. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from smoothiou.errors import ConfigError
from smoothiou.study.intervals import critical_value


def mean_over_sets(differences: Sequence[Mapping[str, Any]], *, confidence: float = 0.95) -> dict[str, float]:
    """Return the mean of the differences of several sets with its interval.

        d = sum d_k / K,   se^2 = sum se_k^2 / K^2,   nu = (sum se_k^2)^2 / sum (se_k^4 / nu_k)

    The sets are fixed: the interval is about other seeds and other test images of these sets, not about other sets.

    Args:
        differences: one of each set, from `judged_difference`: "mean", "error" and "degrees" are used.
        confidence: of the interval, above 0 and below 1.

    Returns:
        mean, error, degrees, low, high.

    Raises:
        ConfigError: no set, or one whose difference has no error (fewer than two seeds).

    Reference:
        Satterthwaite, Biometrics Bulletin 2, 1946 (degrees of freedom of a sum of variances).
    """
    if not differences or any(each.get("error") is None for each in differences):
        raise ConfigError("expected differences of two seeds or more on one set or more.", hint="Add seeds.")
    variances = [each["error"] ** 2 for each in differences]
    mean, error = fmean(each["mean"] for each in differences), math.sqrt(sum(variances)) / len(differences)
    parts = sum(v**2 / each["degrees"] for v, each in zip(variances, differences, strict=True))
    degrees = sum(variances) ** 2 / parts if parts else min(each["degrees"] for each in differences)
    half = critical_value(confidence, degrees) * error
    return {"mean": mean, "error": error, "degrees": degrees, "low": mean - half, "high": mean + half}
