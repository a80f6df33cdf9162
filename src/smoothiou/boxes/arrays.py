"""The operations that formulas of boxes are made of, in torch and in NumPy.

A formula that uses only these and + - * / abs() computes with either library. NumPy is for a CPU: of the few hundred
boxes of a training step an operation of torch costs two to four times its arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any
"""A tensor, or a NumPy array."""


def at_least(x: Array, low: float) -> Array:
    """Return x, and `low` where x is less; NaN stays."""
    return x.clamp(min=low) if isinstance(x, Tensor) else np.maximum(x, low)


def at_most(x: Array, high: float) -> Array:
    """Return x, and `high` where x is more; NaN stays."""
    return x.clamp(max=high) if isinstance(x, Tensor) else np.minimum(x, high)


def between(x: Array, low: float, high: float) -> Array:
    """Return x, kept between two numbers; NaN stays."""
    return x.clamp(low, high) if isinstance(x, Tensor) else np.minimum(np.maximum(x, low), high)


def larger(a: Array, b: Array) -> Array:
    """Return the larger one of each two numbers, NaN where one is."""
    return torch.maximum(a, b) if isinstance(a, Tensor) else np.maximum(a, b)


def smaller(a: Array, b: Array) -> Array:
    """Return the smaller one of each two numbers, NaN where one is."""
    return torch.minimum(a, b) if isinstance(a, Tensor) else np.minimum(a, b)


def exp(x: Array) -> Array:
    """Return e^x."""
    return torch.exp(x) if isinstance(x, Tensor) else np.exp(x)


def log(x: Array) -> Array:
    """Return the natural logarithm."""
    return torch.log(x) if isinstance(x, Tensor) else np.log(x)


def root(x: Array) -> Array:
    """Return the square root."""
    return torch.sqrt(x) if isinstance(x, Tensor) else np.sqrt(x)


def angle(y: Array, x: Array) -> Array:
    """Return the angle of the point (x, y), in (-pi, pi]."""
    return torch.atan2(y, x) if isinstance(y, Tensor) else np.arctan2(y, x)


def sign(x: Array) -> Array:
    """Return 1, 0 or -1."""
    return torch.sign(x) if isinstance(x, Tensor) else np.sign(x)


def reciprocal(x: Array) -> Array:
    """Return 1 / x, in one operation."""
    return torch.reciprocal(x) if isinstance(x, Tensor) else np.reciprocal(x)


def where(condition: Array, a: Array, b: Array) -> Array:
    """Return a where the condition holds, else b."""
    return torch.where(condition, a, b) if isinstance(condition, Tensor) else np.where(condition, a, b)


def constant(x: Array) -> Array:
    """Return x without its history: a number to autograd."""
    return x.detach() if isinstance(x, Tensor) else x


def rows(x: Array, axis: int = 0) -> tuple[Array, ...]:
    """Return the slices of x along its first or second axis."""
    if isinstance(x, Tensor):
        return x.unbind(axis)
    return tuple(x) if axis == 0 else tuple(x[:, k] for k in range(x.shape[1]))


def swapped(x: Array, axis: int) -> Array:
    """Return x with x and y, which lie along this first or second axis, in each other's place."""
    if isinstance(x, Tensor):
        return x.flip(axis)
    return x[::-1] if axis == 0 else x[:, ::-1]


def stack(parts: Sequence[Array]) -> Array:
    """Return the parts, of one shape, along a new first axis."""
    if isinstance(parts[0], Tensor):
        return torch.stack(tuple(parts))
    whole = np.empty((len(parts), *parts[0].shape), parts[0].dtype)
    for k, part in enumerate(parts):
        whole[k] = part
    return whole


def total(x: Array) -> Array:
    """Return the sum of what is along x and what is along y, the first axis."""
    return x.sum(0) if isinstance(x, Tensor) else x[0] + x[1]


def largest(x: Array) -> Array:
    """Return the larger of what is along x and what is along y, the first axis."""
    return x.amax(0) if isinstance(x, Tensor) else np.maximum(x[0], x[1])


def rounding(x: Array) -> float:
    """Return the smallest number whose sum with 1 is not 1, for numbers of this precision."""
    return torch.finfo(x.dtype).eps if isinstance(x, Tensor) else float(np.finfo(x.dtype).eps)
