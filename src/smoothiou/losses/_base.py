"""What the losses share: the check of their inputs, float32, and a sum over codes that cannot overflow.

A loss is any callable loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,). It does not reduce: the
detector divides the sum by the number of positives or of sampled boxes, as it always did.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from smoothiou.errors import ConfigError

BoxLoss = Callable[..., Tensor]

# Four codes of this size still have a finite sum in float32.
LARGEST_CODE_LOSS = 1e37


def float_pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions and targets in one dtype of at least float32.

    Raises:
        ConfigError: the shapes are not (K, 4) and (K, 4).
    """
    if pred.ndim != 2 or pred.shape[-1] != 4 or pred.shape != target.shape:
        raise ConfigError(
            "A box loss expected predictions and targets of one shape (K, 4), "
            f"got {tuple(pred.shape)} and {tuple(target.shape)}.",
            hint="Pass only the positive boxes, row k of the predictions with row k of the targets.",
        )
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    return pred.to(dtype), target.to(dtype)


def sum_over_codes(per_code: Tensor, pred: Tensor) -> Tensor:
    """Return the sum (K,) of a loss (K, 4) over the four codes: finite if `pred` is, NaN if it is not.

    A code stops at 1e37, without gradient: no gradient step means anything there, but an infinite one ends a
    training. A prediction that is itself infinite is a fault of the model, so it must stay visible.
    """
    return (per_code.clamp(max=LARGEST_CODE_LOSS) + 0 * pred.detach()).sum(-1)


def require_positive(name: str, value: float) -> float:
    """Return a setting that must be a number above 0.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a number above 0, got {value!r}.")
    return float(value)
