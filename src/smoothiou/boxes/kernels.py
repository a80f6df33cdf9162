"""The formulas of `pairs.py` once more, for one box per thread of a GPU. Imports Triton: only `fused.py` asks for it.

Numbers are those of the torch formulas, step by step, so that what these promise of equal, flat, tiny and huge boxes
holds here. Divisions round correctly, and multiplications are not fused with additions (`EXACT`): both would make
equal boxes unequal.
"""

# Triton compiles these functions; their arguments are tensors and constants of its own.
# ruff: noqa: ANN001, ANN201, RUF059

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

BLOCK = 512
"""Boxes of a program."""
EXACT: dict[str, Any] = {"enable_fp_fusion": False, "num_warps": 4}
"""Options of every launch."""

NAN: tl.constexpr = tl.constexpr(tl.PropagateNan.ALL)
SMALLEST_SPAN: tl.constexpr = tl.constexpr(1e-30)
EPS: tl.constexpr = tl.constexpr(2.0**-23)
SIZE_CLAMP: tl.constexpr = tl.constexpr(4.135166556742356)
SMALLEST_SQUARE: tl.constexpr = tl.constexpr(1e-12)


@triton.jit
def load_rows(rows, at, mask, BLOCK: tl.constexpr):
    """Return four columns of rows (K, 4), in float32."""
    found = tl.load(rows + at[:, None] * 4 + tl.arange(0, 4)[None, :], mask=mask[:, None], other=0.0)
    even, odd = tl.split(tl.reshape(found.to(tl.float32), (BLOCK, 2, 2)))
    a, c = tl.split(even)
    b, d = tl.split(odd)
    return a, b, c, d


@triton.jit
def store_rows(rows, at, mask, a, b, c, d, BLOCK: tl.constexpr):
    """Write four columns of rows (K, 4) in the type that these have."""
    found = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (BLOCK, 4))
    tl.store(rows + at[:, None] * 4 + tl.arange(0, 4)[None, :], found.to(rows.dtype.element_ty), mask=mask[:, None])


@triton.jit
def smaller(a, b):
    """Return the smaller one, or NaN."""
    return tl.minimum(a, b, propagate_nan=NAN)


@triton.jit
def larger(a, b):
    """Return the larger one, or NaN."""
    return tl.maximum(a, b, propagate_nan=NAN)


@triton.jit
def sign(x):
    """Return 1, 0 or -1."""
    return tl.where(x > 0, 1.0, 0.0) - tl.where(x < 0, 1.0, 0.0)


@triton.jit
def between(x, low, high):
    """Return x, kept between two numbers, or NaN."""
    return larger(smaller(x, high), low)


@triton.jit
def edges_of(p_low, p_high, t_low, t_high, weight, weight_size, DELTAS: tl.constexpr):
    """Return how far the four edges of an axis lie outward, and half of the predicted side, and if it may grow.

    Of boxes these are low and high corner of both; of deltas, shift and logarithm of the side of both.
    """
    if DELTAS:
        quarter = 0.25 / weight
        per_weight = 1 / weight_size
        centre = p_low * quarter - t_low * quarter
        log_side = p_high * per_weight
        half = tl.exp(smaller(log_side, SIZE_CLAMP)) * 0.125
        target_half = tl.exp(smaller(t_high * per_weight, SIZE_CLAMP)) * 0.125
        free = tl.where(log_side < SIZE_CLAMP, half, 0.0)
        return half - centre, half + centre, target_half, target_half, free
    else:
        return p_low * -0.125, p_high * 0.125, t_low * -0.125, t_high * 0.125, p_low * 0


@triton.jit
def axis_of(low, high, target_low, target_high):
    """Return side, target side, intersection and hull as shares of the span, the span, and which of them live."""
    side = larger(low + high, 0.0)
    target = larger(target_low + target_high, 0.0)
    inner = larger(smaller(low, target_low) + smaller(high, target_high), 0.0)
    hull = larger(larger(low, target_low) + larger(high, target_high), 0.0)
    span = larger(hull, SMALLEST_SPAN)
    pad = span - hull
    shares = (
        tl.div_rn(side + pad, span),
        tl.div_rn(target + pad, span),
        tl.div_rn(inner + pad, span),
        tl.div_rn(hull + pad, span),
    )
    return shares, span, (sign(side), sign(inner), sign(hull))


@triton.jit
def first_quadrant(y, x):
    """Return atan2(y, x) for x >= 0; 0 for y = 0."""
    up = tl.abs(y)
    least, most = smaller(up, x), larger(up, x)
    ratio = tl.div_rn(least, tl.where(most == 0, 1.0, most))
    # atan r = pi / 4 + atan((r - 1) / (r + 1)) brings the ratio below tan(pi / 8) (the single precision atan of Cephes)
    far = ratio > 0.4142135623730950
    r = tl.where(far, tl.div_rn(ratio - 1, ratio + 1), ratio)
    z = r * r
    angle = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1
    angle = angle * z * r + r + tl.where(far, 0.7853981633974483, 0.0)
    return tl.where(up > x, 1.5707963267948966 - angle, angle) * sign(y)


@triton.jit
def measured(x, y, span_x, span_y, shift_x, shift_y, aspect_x, aspect_y, KIND: tl.constexpr):
    """Return a loss and its slopes with area, intersection, hull's area, and along x and y with shift, side, hull."""
    side_x, target_x, inner_x, hull_x = x
    side_y, target_y, inner_y, hull_y = y
    area = side_x * side_y
    intersection = inner_x * inner_y
    union = larger(area + target_x * target_y - intersection, EPS)
    iou = tl.div_rn(intersection, union)
    per_area = tl.div_rn(iou, union)
    per_intersection = -(tl.div_rn(1.0, union) + per_area)
    zero = iou * 0
    value, hull_area = 1 - iou, zero
    of_shift_x, of_shift_y, of_side_x, of_side_y, of_hull_x, of_hull_y = zero, zero, zero, zero, zero, zero
    if KIND == "overlap":
        value, per_area, per_intersection = iou, -per_area, -per_intersection
    elif KIND == "giou":
        value = value + (1 - union)
        per_area = per_area - 1
        per_intersection = per_intersection + 1
        hull_area = union
    elif KIND != "iou":
        even_x, even_y = span_x * aspect_x, span_y * aspect_y
        longest = larger(even_x, even_y)
        even_x, even_y = tl.div_rn(even_x, longest), tl.div_rn(even_y, longest)
        square_x, square_y = even_x * even_x, even_y * even_y
        diagonal = square_x + square_y
        share_x, share_y = tl.div_rn(square_x, diagonal), tl.div_rn(square_y, diagonal)
        pull_x, pull_y = shift_x * share_x, shift_y * share_y
        distance = shift_x * pull_x + shift_y * pull_y
        of_shift_x, of_shift_y = pull_x + pull_x, pull_y + pull_y
        of_hull_x, of_hull_y = -(distance + distance) * share_x, -(distance + distance) * share_y
        if KIND == "ciou" or KIND == "ciou-tcyb":
            width, height = side_x * even_x, side_y * even_y
            target_width, target_height = target_x * even_x, target_y * even_y
            cross = target_width * height - width * target_height
            turn = first_quadrant(cross, target_height * height + target_width * width) * 0.6366197723675814
            v = turn * turn
            weight = tl.div_rn(v, larger(value + v, EPS))
            if KIND == "ciou-tcyb":
                weight = tl.where(value < 0.5, weight, zero)
            square = larger(width * width + height * height, SMALLEST_SQUARE)
            steepness = tl.div_rn(weight * turn * 1.2732395447351628, square)
            of_side_x, of_side_y = -height * steepness * even_x, width * steepness * even_y
            value = value + distance + weight * v
        elif KIND == "efficient-iou":
            excess_x, excess_y = side_x - target_x, side_y - target_y
            squares_x, squares_y = excess_x * excess_x, excess_y * excess_y
            of_side_x, of_side_y = excess_x + excess_x, excess_y + excess_y
            of_hull_x, of_hull_y = of_hull_x - (squares_x + squares_x), of_hull_y - (squares_y + squares_y)
            value = value + distance + (squares_x + squares_y)
        else:
            value = value + distance
    slopes = (per_area, per_intersection, hull_area)
    return value, slopes, (of_shift_x, of_side_x, of_hull_x), (of_shift_y, of_side_y, of_hull_y)


@triton.jit
def pulled(slopes, own, across, alive, span, out_low, out_high):
    """Return how the loss grows when the low and when the high edge of an axis moves outward."""
    per_area, per_intersection, per_hull_area = slopes
    of_shift, of_side, of_hull = own
    side, _, inner, hull = across
    every = per_area * (side * alive[0]) + of_side * alive[0]
    near = per_intersection * (inner * alive[1])
    far = per_hull_area * (hull * alive[2]) + of_hull * alive[2]
    pull = every + every + near + far
    twice = span + span
    low = tl.div_rn(pull - (near - far) * sign(out_low) - of_shift, twice)
    high = tl.div_rn(pull - (near - far) * sign(out_high) + of_shift, twice)
    return low, high


@triton.jit
def overlap(p, t, aspect_x, aspect_y, weights, KIND: tl.constexpr, DELTAS: tl.constexpr):
    """Return a loss of overlap of rows p beside rows t, and how it grows with the four numbers of p."""
    weight_x, weight_y, weight_w, weight_h = weights
    low_x, high_x, t_low_x, t_high_x, free_x = edges_of(p[0], p[2], t[0], t[2], weight_x, weight_w, DELTAS)
    low_y, high_y, t_low_y, t_high_y, free_y = edges_of(p[1], p[3], t[1], t[3], weight_y, weight_h, DELTAS)
    x, span_x, alive_x = axis_of(low_x, high_x, t_low_x, t_high_x)
    y, span_y, alive_y = axis_of(low_y, high_y, t_low_y, t_high_y)
    out_low_x, out_high_x = low_x - t_low_x, high_x - t_high_x
    out_low_y, out_high_y = low_y - t_low_y, high_y - t_high_y
    shift_x = between(tl.div_rn(out_high_x - out_low_x, span_x + span_x), -1.0, 1.0)
    shift_y = between(tl.div_rn(out_high_y - out_low_y, span_y + span_y), -1.0, 1.0)
    value, slopes, own_x, own_y = measured(x, y, span_x, span_y, shift_x, shift_y, aspect_x, aspect_y, KIND)
    down_x, up_x = pulled(slopes, own_x, y, alive_x, span_x, out_low_x, out_high_x)
    down_y, up_y = pulled(slopes, own_y, x, alive_y, span_y, out_low_y, out_high_y)
    if DELTAS:
        gradient = (
            (up_x - down_x) * (0.25 / weight_x),
            (up_y - down_y) * (0.25 / weight_y),
            (down_x + up_x) * free_x * (1 / weight_w),
            (down_y + up_y) * free_y * (1 / weight_h),
        )
    else:
        gradient = (down_x * -0.125, down_y * -0.125, up_x * 0.125, up_y * 0.125)
    return value, gradient


@triton.jit
def aspect_of(anchors, at, mask, BLOCK: tl.constexpr):
    """Return the sides of anchors, the longer one 1."""
    x1, y1, x2, y2 = load_rows(anchors, at, mask, BLOCK)
    width, height = larger(x2 - x1, SMALLEST_SPAN), larger(y2 - y1, SMALLEST_SPAN)
    longest = larger(width, height)
    return larger(tl.div_rn(width, longest), 1e-6), larger(tl.div_rn(height, longest), 1e-6)


@triton.jit
def forward(
    pred,
    target,
    anchors,
    value,
    count,
    weight_x,
    weight_y,
    weight_w,
    weight_h,
    KIND: tl.constexpr,
    DELTAS: tl.constexpr,
    ANCHORED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the losses (K,) of rows (K, 4)."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    p, t = load_rows(pred, at, mask, BLOCK), load_rows(target, at, mask, BLOCK)
    if ANCHORED:
        aspect_x, aspect_y = aspect_of(anchors, at, mask, BLOCK)
    else:
        aspect_x, aspect_y = 1.0, 1.0
    found, _ = overlap(p, t, aspect_x, aspect_y, (weight_x, weight_y, weight_w, weight_h), KIND, DELTAS)
    tl.store(value + at, found, mask=mask)


@triton.jit
def backward(
    pred,
    target,
    anchors,
    grad,
    gradient,
    count,
    grad_stride,
    steepest,
    weight_x,
    weight_y,
    weight_w,
    weight_h,
    KIND: tl.constexpr,
    DELTAS: tl.constexpr,
    ANCHORED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient (K, 4) with the predictions; the slopes are computed again, which is cheaper than memory."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    p, t = load_rows(pred, at, mask, BLOCK), load_rows(target, at, mask, BLOCK)
    if ANCHORED:
        aspect_x, aspect_y = aspect_of(anchors, at, mask, BLOCK)
    else:
        aspect_x, aspect_y = 1.0, 1.0
    _, slopes = overlap(p, t, aspect_x, aspect_y, (weight_x, weight_y, weight_w, weight_h), KIND, DELTAS)
    outer = tl.load(grad + at * grad_stride, mask=mask, other=0.0)
    a, b, c, d = slopes
    store_rows(
        gradient,
        at,
        mask,
        between(a, -steepest, steepest) * outer,
        between(b, -steepest, steepest) * outer,
        between(c, -steepest, steepest) * outer,
        between(d, -steepest, steepest) * outer,
        BLOCK,
    )
