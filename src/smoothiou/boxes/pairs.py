"""A predicted box beside its target, seen along each axis: what every loss of overlap is computed from.

Such losses are written by hand twice, as a value and as its slopes, because autograd through a hundred tiny
operations costs three times what the arithmetic does. A loss says how it changes with areas and lengths
(`Slopes`); how those change with the edges of boxes stands here, once. `by_hand.py` makes a gradient of it.

All of it is computed in torch or in NumPy (`arrays.py`): the arrays of one pair are of one library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from smoothiou.boxes.arrays import (
    Array,
    at_least,
    between,
    larger,
    largest,
    reciprocal,
    rounding,
    rows,
    sign,
    smaller,
    stack,
    swapped,
)

SMALLEST_SPAN = 1e-30
"""Two boxes that span less than this along an axis are compared along the other axis alone; their gradient,
about 1 / span, could be no number."""


class Slopes(NamedTuple):
    """How a loss (K,) grows with what `Pairs` holds; None where it does not."""

    area: Array | None = None
    """(K,) with the area of the predicted box."""
    intersection: Array | None = None
    """(K,) with the area of the intersection."""
    hull_area: Array | None = None
    """(K,) with the area of the smallest box around both."""
    shift: Array | None = None
    """(2, K) with the shift of the centre along x and y."""
    side: Array | None = None
    """(2, K) with the sides of the predicted box."""
    hull: Array | None = None
    """(2, K) with the sides of the smallest box around both."""

    def opposite(self) -> Slopes:
        """Return the slopes of minus the loss."""
        return Slopes(*(None if slope is None else -slope for slope in self))

    def scaled(self, factor: Array) -> Slopes:
        """Return the slopes times a factor (K,)."""
        return Slopes(*(None if slope is None else slope * factor for slope in self))


Measure = Callable[["Pairs"], tuple[Array, Slopes]]
"""A loss of overlap: pairs -> its values (K,) and its slopes."""

AnyMeasure = TypeVar("AnyMeasure", bound=Callable[..., Any])


def formula(*, kernel: str | None = None) -> Callable[[AnyMeasure], AnyMeasure]:
    """Mark a measure that is made of the operations of `arrays.py` alone, so that NumPy may compute it too.

    Args:
        kernel: name of the GPU kernel that computes the same, one of `fused.KINDS`.
    """

    def mark(measure: AnyMeasure) -> AnyMeasure:
        marked: Any = measure
        marked.in_either_library = True
        marked.kernel = kernel
        return measure

    return mark


class Pairs(NamedTuple):
    """K predicted boxes and their targets, along x and y.

    Lengths of an axis are shares of the *hull*, the interval that holds both boxes, which therefore is 1. So
    no product overflows or vanishes. IoU and GIoU do not notice, since they do not change when an axis is
    scaled; a loss that mixes the axes multiplies by `even()` first.
    """

    lengths: Array
    """(4, 2, K): sides of the prediction, of the target, of the intersection, and of the hull (all 1)."""
    outward: Array
    """(2, 2, K): how far the predicted low and high edges lie outside the target's, in the boxes' own unit."""
    span: Array
    """(2, K): length of the hull, in the boxes' own unit."""
    alive: Array
    """(4, 2, K): 1 where a length is above 0 and so changes with the boxes, else 0."""
    aspect: Array | None
    """(2, K): length of the boxes' own unit along each axis, where x and y have different ones."""

    def edges(self) -> tuple[Array, Array]:
        """Return how far the predicted low edges and high edges lie outside the target's, (2, K) each."""
        low, high = rows(between(self.outward / self.span, -1, 1))  # as in shift()
        return low, high

    def shift(self) -> Array:
        """Return the centre of the prediction minus the centre of the target, (2, K)."""
        low, high = rows(self.outward)
        # An inverted box is not inside of the hull, and may be any number of hulls away: it counts as one, and
        # keeps its pull.
        return between((high - low) / (self.span + self.span), -1, 1)

    def even(self) -> Array:
        """Return factors (2, K), the larger one 1, that bring lengths along x and along y to one unit."""
        span = self.span if self.aspect is None else self.span * self.aspect
        return span / largest(span)

    def areas(self) -> tuple[Array, Array, Array]:
        """Return the areas (K,) of prediction, intersection and union, as shares of the hull's (Eq. 4, 5)."""
        x, y = rows(self.lengths, 1)
        area, target_area, intersection, _ = rows(x * y)
        # A union below eps means a flat box across a thin one, whose IoU is below eps too.
        union = at_least(area + target_area - intersection, rounding(area))
        return area, intersection, union

    @formula(kernel="overlap")
    def iou(self) -> tuple[Array, Slopes]:
        """Return IoU (K,), in [0, 1], and its slopes (Eq. 4).

        No clamp is needed for IoU <= 1: neither area is below the intersection, so their rounded sum is not
        below twice the intersection, which is a number without rounding.
        """
        _, intersection, union = self.areas()
        iou = intersection / union
        per_area = iou / union  # union = area + target - intersection
        return iou, Slopes(area=-per_area, intersection=reciprocal(union) + per_area)

    def pull_back(self, slopes: Slopes) -> Array:
        """Return how the loss grows when an edge moves outward: (2, 2, K), low and high edges, x and y."""
        across = swapped(self.lengths, 1) * self.alive  # an area grows along one axis by the length along the other
        every = near = far = None  # what each edge gets; the edge where the intersection ends; where the hull does
        if slopes.area is not None:
            every = slopes.area * across[0]
        if slopes.side is not None:
            every = _plus(every, slopes.side * self.alive[0])
        if slopes.intersection is not None:
            near = slopes.intersection * across[2]
        if slopes.hull_area is not None:
            far = slopes.hull_area * across[3]
        if slopes.hull is not None:
            far = _plus(far, slopes.hull * self.alive[3])
        # Where edges coincide each effect counts half, which leaves equal boxes exactly where they are. So all
        # is taken twice, and halved in the end.
        pull = self.span * 0 if every is None else every + every
        if near is not None:
            pull = pull + near
        if far is not None:
            pull, near = pull + far, -far if near is None else near - far
        pull = stack((pull, pull)) if near is None else pull - near * sign(self.outward)
        if slopes.shift is not None:
            pull = pull + stack((-slopes.shift, slopes.shift))
        return pull / (self.span + self.span)


def _plus(a: Array | None, b: Array) -> Array:
    return b if a is None else a + b


def pairs_of_edges(edges: Array, target_edges: Array, aspect: Array | None) -> Pairs:
    """Return the pairs of boxes whose edges (2, 2, K) lie this far outward: low and high, x and y."""
    inner, outer = smaller(edges, target_edges), larger(edges, target_edges)
    low, high = rows(stack((edges, target_edges, inner, outer)), 1)
    lengths = at_least(low + high, 0)
    hull = lengths[3]
    span = at_least(hull, SMALLEST_SPAN)
    # Along an axis on which neither box has any length all shares become 1, and only the other axis counts.
    shares = (lengths + (span - hull)) / span
    return Pairs(shares, edges - target_edges, span, sign(lengths), aspect)
