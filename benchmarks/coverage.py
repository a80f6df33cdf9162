"""Do the intervals of a study hold what they promise? Simulated studies whose truth is known.

    python benchmarks/coverage.py [--studies 12000] [--json FILE]

A study is S seeds of each loss on 80 test images. A run's metric is its loss's mean + an effect of the seed, shared by
all losses + one of the run (`sd`) + the mean over images of an effect of loss and image, the same for all seeds (it
makes `c`, the covariance that seeds cannot average out) + one of run and image. In AP points. The intervals are
`smoothiou.study.intervals`, given what a bootstrap with infinitely many draws would give. Some minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from smoothiou.study.intervals import Uncertainty, critical_value
from smoothiou.study.until import CONFIDENCE, FIRST_SEEDS

IMAGES = 80
WITHIN = 0.3
"""Share of a run's own variance that comes from its own images, and so differs from seed to seed."""


def differences(draw: np.random.Generator, studies: int, seeds: int, *, losses: int, sd: float, c: float) -> Any:
    """Return effects by image of each loss and seed, (studies, losses, seeds, images), without any true difference.

    Args:
        draw: random numbers.
        studies, seeds, losses: sizes.
        sd: of a run around its loss's mean, apart from what its seed shares.
        c: variance of a difference of two losses that all seeds share.
    """
    shared = draw.normal(0, math.sqrt(c / 2 * IMAGES), (studies, losses, 1, IMAGES))
    own = draw.normal(0, sd * math.sqrt(WITHIN * IMAGES), (studies, losses, seeds, IMAGES))
    run = draw.normal(0, sd * math.sqrt(1 - WITHIN), (studies, losses, seeds, 1))
    return shared + own + run


def covariance(gains: np.ndarray) -> np.ndarray:
    """Return c of differences by image, (..., seeds, images): the limit of the bootstrap's covariance."""
    seeds, images = gains.shape[-2:]
    gains = gains - gains.mean(-1, keepdims=True)
    each = (gains**2).sum((-1, -2))
    return ((gains.sum(-2) ** 2).sum(-1) - each) / (images - 1) / images / (seeds * (seeds - 1))


def quantiles(confidence: float, degrees: np.ndarray, candidates: int) -> np.ndarray:
    """Return critical values; Dunnett's interpolated, as a simulation needs very many."""
    if candidates == 1:
        return stdtrit(degrees, 0.5 + confidence / 2)
    grid = np.geomspace(1, 1e5, 200)
    values = [critical_value(confidence, float(x), candidates) for x in grid]
    return np.interp(np.log(degrees), np.log(grid), values)


def half_widths(
    variance: np.ndarray, degrees: float, c: np.ndarray, *, seeds: int, losses: int, confidence: float
) -> np.ndarray:
    """Return `Uncertainty.half_width` for many studies at once."""
    error2 = variance / seeds + np.maximum(c, 0)
    nu = error2**2 / ((variance / seeds) ** 2 / degrees + np.maximum(c, 0) ** 2 / (IMAGES - 1))
    one = Uncertainty(
        seeds=seeds, variance=float(variance.flat[0]), covariance=float(c.flat[0]), images=IMAGES, losses=losses,
        degrees_of_variance=degrees,
    )  # fmt: skip
    found = quantiles(confidence, nu, losses - 1) * np.sqrt(error2)
    assert math.isclose(one.half_width(confidence), found.flat[0], rel_tol=2e-3), "not the formula of the library"
    return found


def cover(draw: np.random.Generator, studies: int, *, seeds: int, sd: float, c: float) -> dict[str, Any]:
    """Return the coverage of both intervals with two losses."""
    runs = differences(draw, studies, seeds, losses=2, sd=sd, c=c)
    gains = runs[:, 1] - runs[:, 0]
    means = gains.mean(-1)
    mean, variance = means.mean(-1), means.var(-1, ddof=1)
    both = half_widths(variance, seeds - 1, covariance(gains), seeds=seeds, losses=2, confidence=0.95)
    alone = critical_value(0.95, seeds - 1) * np.sqrt(variance / seeds)
    return {
        "sd": sd, "c": c, "seeds": seeds, "seeds only": float((abs(mean) <= alone).mean()),
        "coverage": float((abs(mean) <= both).mean()), "half width": float(np.median(both)),
    }  # fmt: skip


def until(draw: np.random.Generator, studies: int, *, sd: float, c: float, target: float, most: int) -> dict[str, Any]:
    """Return the coverage of the interval at which a growing study stops, and how many seeds that took."""
    runs = differences(draw, studies, most, losses=2, sd=sd, c=c)
    gains = runs[:, 1] - runs[:, 0]
    stopped, covered, limited = (np.zeros(studies, dtype=bool) for _ in range(3))
    seeds_used = np.full(studies, most)
    for seeds in range(FIRST_SEEDS, most + 1):
        part = gains[:, :seeds]
        means = part.mean(-1)
        mean, shared = means.mean(-1), covariance(part)
        half = half_widths(means.var(-1, ddof=1), seeds - 1, shared, seeds=seeds, losses=2, confidence=CONFIDENCE)
        known = half <= target
        images = ~known & (2 * np.sqrt(np.maximum(shared, 0)) > target)
        now = ~stopped & (known | images | (seeds == most))
        covered[now], seeds_used[now], limited[now] = (abs(mean) <= half)[now], seeds, images[now]
        stopped |= now
    return {
        "sd": sd, "c": c, "target": target, "coverage": float(covered.mean()), "seeds": float(seeds_used.mean()),
        "stopped by images": float(limited.mean()),
    }  # fmt: skip


def family(draw: np.random.Generator, studies: int, *, seeds: int, candidates: int, sd: float, c: float) -> Any:
    """Return how often at least one of several candidates, all as good as the baseline, is called better or worse."""
    runs = differences(draw, studies, seeds, losses=candidates + 1, sd=sd, c=c)
    table = runs.mean(-1)
    residual = table - table.mean(1, keepdims=True) - table.mean(2, keepdims=True) + table.mean((1, 2), keepdims=True)
    degrees = candidates * (seeds - 1)
    pooled = np.repeat(2 * (residual**2).sum((1, 2))[:, None] / degrees, candidates, axis=1)
    gains = runs[:, 1:] - runs[:, :1]
    c_found = np.stack([covariance(gains[:, k]) for k in range(candidates)], axis=1)
    own = gains.mean(-1).var(-1, ddof=1)
    mean = gains.mean((-1, -2))
    options = {"seeds": seeds, "confidence": 0.95}
    together = half_widths(pooled, degrees, c_found, losses=candidates + 1, **options)
    each = half_widths(own, seeds - 1, c_found, losses=2, **options)
    return {
        "candidates": candidates, "seeds": seeds, "c": c, "Dunnett": float((abs(mean) > together).any(1).mean()),
        "each by its own t": float((abs(mean) > each).any(1).mean()),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "--|" * len(heads)]
    for row in rows:
        cells = [f"{value:.3f}" if isinstance(value, float) and name not in ("sd", "c", "target") else f"{value:g}"
                 for name, value in row.items()]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate and print three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=12000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    draw, studies = np.random.default_rng(0), options.studies
    found = {
        "One interval for seeds and images": [
            cover(draw, studies, seeds=seeds, sd=sd, c=c) for c in (0.05, 0.8) for sd in (0.5, 1.0, 1.5)
            for seeds in (2, 3, 5, 10)
        ],
        "Seeds added until the difference is known": [
            until(draw, studies // 2, sd=sd, c=c, target=target, most=30)
            for sd, c, target in (
                (0.5, 0.05, 1.0), (0.75, 0.05, 1.0), (1.0, 0.05, 1.5), (1.5, 0.05, 1.5), (0.5, 0.2, 1.5),
                (0.5, 0.8, 1.0),
            )
        ],
        "Several candidates, none of them different": [
            family(draw, studies // 2, seeds=seeds, candidates=9, sd=1.0, c=c) for c in (0.05, 0.8) for seeds in (3, 5)
        ],
    }  # fmt: skip
    for title, rows in found.items():
        print(f"\n{title}\n\n{table(rows)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"studies": studies, **found}, indent=1))


if __name__ == "__main__":
    main()
