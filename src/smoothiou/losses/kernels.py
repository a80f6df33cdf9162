"""The paper's loss for one box per thread of a GPU. Imports Triton: only `mixture.py` asks for it.

Two launches forward, since every loss needs lambda and lambda needs every IoU, and one backward. Lambda is summed in
parts, always the same ones, so the result is the same each time; and it never leaves the device.
"""

# Triton compiles these functions; their arguments are tensors and constants of its own.
# ruff: noqa: ANN001, ANN201, SIM108

from __future__ import annotations

import triton
import triton.language as tl

from smoothiou.boxes.kernels import between, load_rows, overlap, smaller, store_rows

MOST_PARTS = 1024
"""Programs of the first launch, each of which leaves one sum."""

KIND: tl.constexpr = tl.constexpr("overlap")
LARGEST_CODE_LOSS: tl.constexpr = tl.constexpr(1e37)


@triton.jit
def huber_of(p, t, delta):
    """Return Huber of one code, and its slope."""
    z = p - t
    bent = between(z, -delta, delta)
    loss = bent * (z - 0.5 * bent)
    return smaller(loss, LARGEST_CODE_LOSS) + 0 * p, tl.where(loss <= LARGEST_CODE_LOSS, bent, 0.0)


@triton.jit
def both(pred, target, iou, huber, parts, count, weight_x, weight_y, weight_w, weight_h, delta,
         DELTAS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Write IoU (K,) and Huber (K,) of rows (K, 4), and each program's sum of IoU."""
    parts_in_all = tl.num_programs(0)
    collected = tl.zeros((BLOCK,), tl.float32)
    for start in range(tl.program_id(0) * BLOCK, count, parts_in_all * BLOCK):
        at = start + tl.arange(0, BLOCK)
        mask = at < count
        p, t = load_rows(pred, at, mask, BLOCK), load_rows(target, at, mask, BLOCK)
        found, _ = overlap(p, t, 1.0, 1.0, (weight_x, weight_y, weight_w, weight_h), KIND, DELTAS)
        a, _ = huber_of(p[0], t[0], delta)
        b, _ = huber_of(p[1], t[1], delta)
        c, _ = huber_of(p[2], t[2], delta)
        d, _ = huber_of(p[3], t[3], delta)
        tl.store(iou + at, found, mask=mask)
        tl.store(huber + at, a + b + c + d, mask=mask)
        collected += tl.where(mask, found, 0.0)
    tl.store(parts + tl.program_id(0), tl.sum(collected))


@triton.jit
def mixed(iou, huber, parts, lam, value, count, part_count, iou_weight,
          LAMBDA: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Write the losses (K,). Lambda is the mean of the parts, or given: one number, or one for each box."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    if LAMBDA == "mean":
        part = tl.arange(0, WIDTH)
        total = tl.sum(tl.load(parts + part, mask=part < part_count, other=0.0))
        weight = tl.div_rn(total, count * 1.0)  # not count.to(): Triton makes a constant of a count of 1
        if tl.program_id(0) == 0:
            tl.store(lam, weight)
    elif LAMBDA == "one":
        weight = tl.load(lam)
    else:
        weight = tl.load(lam + at, mask=mask, other=0.0)
    own = tl.load(iou + at, mask=mask, other=0.0)
    distance = tl.load(huber + at, mask=mask, other=0.0)
    tl.store(value + at, weight * (iou_weight * (1 - own)) + (1 - weight) * distance, mask=mask)


@triton.jit
def mixed_backward(pred, target, lam, grad, gradient, count, grad_stride, steepest,
                   weight_x, weight_y, weight_w, weight_h, delta, iou_weight,
                   LAMBDA: tl.constexpr, DELTAS: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Write the gradient (K, 4) with the predictions, lambda being a constant; all else is computed again."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    p, t = load_rows(pred, at, mask, BLOCK), load_rows(target, at, mask, BLOCK)
    _, slopes = overlap(p, t, 1.0, 1.0, (weight_x, weight_y, weight_w, weight_h), KIND, DELTAS)
    if LAMBDA != "each":
        weight = tl.load(lam)
    else:
        weight = tl.load(lam + at, mask=mask, other=0.0)
    outer = tl.load(grad + at * grad_stride, mask=mask, other=0.0)
    of_iou, of_huber = -(weight * iou_weight), 1 - weight
    _, a = huber_of(p[0], t[0], delta)
    _, b = huber_of(p[1], t[1], delta)
    _, c = huber_of(p[2], t[2], delta)
    _, d = huber_of(p[3], t[3], delta)
    first, second, third, fourth = slopes
    store_rows(
        gradient,
        at,
        mask,
        (between(first, -steepest, steepest) * of_iou + a * of_huber) * outer,
        (between(second, -steepest, steepest) * of_iou + b * of_huber) * outer,
        (between(third, -steepest, steepest) * of_iou + c * of_huber) * outer,
        (between(fourth, -steepest, steepest) * of_iou + d * of_huber) * outer,
        BLOCK,
    )
