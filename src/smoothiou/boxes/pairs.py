"""A predicted box beside its target, seen along each axis: what every loss of overlap is computed from.

Such losses are written by hand twice, as a value and as its slopes, because autograd through a hundred tiny
operations costs three times what the arithmetic does. A loss says how it changes with areas and lengths
(`Slopes`); how those change with corners or deltas stands here, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from smoothiou.boxes.deltas import CODE_WEIGHTS, SIZE_CLAMP, Weights
from smoothiou.boxes.formats import in_float

SMALLEST_SPAN = 1e-30
"""Two boxes that span less than this along an axis are compared along the other axis alone; their gradient,
about 1 / span, could be no number."""

PIECE = 8192
"""Boxes that are computed at a time on a CPU."""


class Slopes(NamedTuple):
    """How a loss (K,) grows with what `Pairs` holds; None where it does not."""

    area: Tensor | None = None
    """(K,) with the area of the predicted box."""
    intersection: Tensor | None = None
    """(K,) with the area of the intersection."""
    hull_area: Tensor | None = None
    """(K,) with the area of the smallest box around both."""
    shift: Tensor | None = None
    """(2, K) with the shift of the centre along x and y."""
    side: Tensor | None = None
    """(2, K) with the sides of the predicted box."""
    hull: Tensor | None = None
    """(2, K) with the sides of the smallest box around both."""

    def scaled(self, factor: Tensor) -> Slopes:
        """Return the slopes times a factor (K,)."""
        return Slopes(*(None if slope is None else slope * factor for slope in self))


class Pairs(NamedTuple):
    """K predicted boxes and their targets, along x and y.

    Lengths of an axis are shares of the *hull*, the interval that holds both boxes, which therefore is 1. So
    no product overflows or vanishes. IoU and GIoU do not notice, since they do not change when an axis is
    scaled; a loss that mixes the axes multiplies by `even()` first.
    """

    lengths: Tensor
    """(4, 2, K): sides of the prediction, of the target, of the intersection, and of the hull (all 1)."""
    outward: Tensor
    """(2, 2, K): how far the predicted low and high edges lie outside the target's, in the boxes' own unit."""
    span: Tensor
    """(2, K): length of the hull, in the boxes' own unit."""
    alive: Tensor
    """(4, 2, K): 1 where a length is above 0 and so changes with the boxes, else 0."""
    aspect: Tensor | None
    """(2, K): length of the boxes' own unit along each axis, where x and y have different ones."""

    def edges(self) -> tuple[Tensor, Tensor]:
        """Return how far the predicted low edges and high edges lie outside the target's, (2, K) each."""
        low, high = (self.outward / self.span).clamp(-1, 1).unbind(0)  # as in shift()
        return low, high

    def shift(self) -> Tensor:
        """Return the centre of the prediction minus the centre of the target, (2, K)."""
        low, high = self.outward.unbind(0)
        # An inverted box is not inside of the hull, and may be any number of hulls away: it counts as one, and
        # keeps its pull.
        return ((high - low) / (self.span + self.span)).clamp(-1, 1)

    def even(self) -> Tensor:
        """Return factors (2, K), the larger one 1, that bring lengths along x and along y to one unit."""
        span = self.span if self.aspect is None else self.span * self.aspect
        return span / span.amax(0)

    def areas(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the areas (K,) of prediction, intersection and union, as shares of the hull's (Eq. 4, 5)."""
        x, y = self.lengths.unbind(1)
        area, target_area, intersection, _ = (x * y).unbind(0)
        # A union below eps means a flat box across a thin one, whose IoU is below eps too.
        union = (area + target_area - intersection).clamp(min=torch.finfo(area.dtype).eps)
        return area, intersection, union

    def iou(self) -> tuple[Tensor, Slopes]:
        """Return IoU (K,), in [0, 1], and its slopes (Eq. 4).

        No clamp is needed for IoU <= 1: neither area is below the intersection, so their rounded sum is not
        below twice the intersection, which is a number without rounding.
        """
        _, intersection, union = self.areas()
        iou = intersection / union
        per_area = iou / union  # union = area + target - intersection
        return iou, Slopes(area=per_area.neg(), intersection=union.reciprocal() + per_area)

    def pull_back(self, slopes: Slopes) -> Tensor:
        """Return how the loss grows when an edge moves outward: (2, 2, K), low and high edges, x and y."""
        across = self.lengths.flip(1) * self.alive  # an area grows along one axis by the length along the other
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
        pull = torch.zeros_like(self.span) if every is None else every + every
        if near is not None:
            pull = pull + near
        if far is not None:
            pull, near = pull + far, far.neg() if near is None else near - far
        pull = pull.expand_as(self.outward) if near is None else pull - near * self.outward.sign()
        if slopes.shift is not None:
            pull = pull + torch.stack((slopes.shift.neg(), slopes.shift))
        return pull / (self.span + self.span)


def _plus(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


Measure = Callable[[Pairs], tuple[Tensor, Slopes]]
"""A loss of overlap: pairs -> its values (K,) and its slopes."""


def on_boxes(measure: Measure, pred: Tensor, target: Tensor, *, gradient_dtype: torch.dtype | None = None) -> Tensor:
    """Return a loss of overlap (K,) of boxes (K, 4) xyxy.

    An inverted box (x2 < x1) has no width. Targets that ask for a gradient get one, which is right where the
    loss is symmetric. `gradient_dtype` is the type that gradients end in, where the boxes were cast before.
    """
    loss = _OfBoxes(measure, _steepest(gradient_dtype or pred.dtype))
    return _function().apply(*_in_one_type(pred, target), None, loss)


def on_deltas(
    measure: Measure,
    pred: Tensor,
    target: Tensor,
    *,
    weights: Weights = CODE_WEIGHTS,
    anchors: Tensor | None = None,
    gradient_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return a loss of overlap (K,) of the boxes that deltas (K, 4) stand for, relative to the same anchors.

    A box relative to its anchor is the box in pixels, shifted and scaled along each axis. Only differences of
    centres enter, so far-off pairs stay exact, and numbers stay near 1.

    Args:
        measure: the loss.
        pred: (K, 4) deltas.
        target: (K, 4) deltas.
        weights: factors that the deltas were multiplied by.
        anchors: (K, 4) boxes in pixels, whose aspect ratio counts for losses that mix the axes. None: square.
        gradient_dtype: the type that gradients end in, where the deltas were cast before.
    """
    loss = _OfDeltas(measure, _steepest(gradient_dtype or pred.dtype), weights)
    pred, target = _in_one_type(pred, target)
    return _function().apply(pred, target, _aspect(anchors, pred.dtype), loss)


class _ByHand(torch.autograd.Function):
    """A loss whose gradient comes from its slopes. It can be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor, aspect: Tensor | None, loss: _OfBoxes | _OfDeltas) -> Tensor:
        value, gradient = _in_pieces(loss, pred, target, aspect)
        ctx.loss = loss
        ctx.save_for_backward(pred, target, aspect, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, aspect, gradient = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(1)
        if torch.is_grad_enabled():  # create_graph=True: this time as a function of the boxes
            gradient = ctx.loss(pred, target, aspect)[1]
        to_target = None
        if ctx.needs_input_grad[1]:  # only losses that treat both alike let a target in that learns
            to_target = ctx.loss(target, pred, aspect)[1] * grad
        return gradient * grad, to_target, None, None


class _ByHandUnderTransforms(torch.autograd.Function):
    """The same for `torch.func` (grad, vmap, jacrev), whose rules cost time that a training step need not spend."""

    generate_vmap_rule = True

    @staticmethod
    def forward(pred: Tensor, target: Tensor, aspect: Tensor | None, loss: _OfBoxes | _OfDeltas) -> Tensor:
        return loss(pred, target, aspect)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.loss = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, aspect = ctx.saved_tensors
        grad = grad_outputs[0].unsqueeze(1)
        to_target = ctx.loss(target, pred, aspect)[1] * grad if ctx.needs_input_grad[1] else None
        return ctx.loss(pred, target, aspect)[1] * grad, to_target, None, None


def _function() -> type[torch.autograd.Function]:
    transformed = not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
    return _ByHandUnderTransforms if transformed else _ByHand


def _in_pieces(
    loss: _OfBoxes | _OfDeltas, pred: Tensor, target: Tensor, aspect: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return values and gradients; on a CPU in pieces, so that what lies between stays in its cache."""
    if torch.compiler.is_compiling() or pred.device.type != "cpu" or pred.shape[0] <= PIECE:
        return loss(pred, target, aspect)
    preds, targets = pred.split(PIECE), target.split(PIECE)
    aspects = [None] * len(preds) if aspect is None else aspect.split(PIECE, dim=1)
    values, gradients = zip(*map(loss, preds, targets, aspects), strict=True)
    return torch.cat(values), torch.cat(gradients)


@dataclass(frozen=True, slots=True)
class _OfBoxes:
    measure: Measure
    steepest: float | None

    def __call__(self, pred: Tensor, target: Tensor, aspect: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return values (K,) and their gradients (K, 4) with the predicted corners."""
        # Edges as distances outward, (2, 2, K): minus the low edge, then the high one. And an eighth of them,
        # which rounds nothing, so that differences of the largest numbers are numbers.
        edges = (torch.stack((pred.t(), target.t())) * 0.125).view(2, 2, 2, -1)
        edges[:, 0].neg_()
        edges, target_edges = edges.unbind(0)
        pairs = _pairs(edges, target_edges, aspect)
        value, slopes = self.measure(pairs)
        gradient = pairs.pull_back(slopes) * 0.125
        gradient[0].neg_()
        return value, _no_steeper(gradient.view(4, -1).t(), self.steepest)


@dataclass(frozen=True, slots=True)
class _OfDeltas:
    measure: Measure
    steepest: float | None
    weights: Weights

    def __call__(self, pred: Tensor, target: Tensor, aspect: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return values (K,) and their gradients (K, 4) with the predicted deltas."""
        weight_x, weight_y, weight_w, weight_h = self.weights
        # In a quarter of the anchor's sides, from the centre of the target, for the same reason as above.
        quarter = 0.25 / weight_x, 0.25 / weight_y
        per_weight = 1 / weight_w, 1 / weight_h
        centre, log_side = pred.t().split(2)
        target_centre, target_log_side = target.t().split(2)
        centre = _scaled(centre, *quarter) - _scaled(target_centre, *quarter)
        log_side = _scaled(log_side, *per_weight)
        half = torch.exp(log_side.clamp(max=SIZE_CLAMP)) * 0.125
        target_half = torch.exp(_scaled(target_log_side, *per_weight).clamp(max=SIZE_CLAMP)) * 0.125
        edges, target_edges = torch.stack((half - centre, half + centre)), torch.stack((target_half, target_half))
        pairs = _pairs(edges, target_edges, aspect)
        value, slopes = self.measure(pairs)
        low, high = pairs.pull_back(slopes).unbind(0)
        to_log_side = (low + high) * half * (log_side < SIZE_CLAMP)
        gradient = torch.cat((_scaled(high - low, *quarter), _scaled(to_log_side, *per_weight))).t()
        return value, _no_steeper(gradient, self.steepest)


def _in_one_type(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    pred, target = in_float(pred), in_float(target)
    dtype = torch.promote_types(pred.dtype, target.dtype)
    return pred.to(dtype), target.to(dtype)


def _steepest(dtype: torch.dtype) -> float | None:
    """Return the largest slope whose sums over a box half precision still holds; None for wider types."""
    return torch.finfo(dtype).max / 4 if dtype in (torch.float16, torch.bfloat16) else None


def _no_steeper(gradient: Tensor, steepest: float | None) -> Tensor:
    # Slopes only: what a loss scale makes of them must stay free to overflow, by which the scale is found.
    return gradient if steepest is None else gradient.clamp(-steepest, steepest)


def _pairs(edges: Tensor, target_edges: Tensor, aspect: Tensor | None) -> Pairs:
    """Return the pairs of boxes whose edges (2, 2, K) lie this far outward, low and high, x and y."""
    inner, outer = torch.minimum(edges, target_edges), torch.maximum(edges, target_edges)
    low, high = torch.stack((edges, target_edges, inner, outer)).unbind(1)
    lengths = (low + high).clamp(min=0)
    hull = lengths[3]
    span = hull.clamp(min=SMALLEST_SPAN)
    # Along an axis on which neither box has any length all shares become 1, and only the other axis counts.
    shares = (lengths + (span - hull)) / span
    return Pairs(shares, edges - target_edges, span, lengths.sign(), aspect)


def _aspect(anchors: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if anchors is None:
        return None
    low, high = anchors.detach().to(dtype).t().split(2)
    sides = (high - low).clamp(min=SMALLEST_SPAN)
    # An anchor without height (or width) is taken as one of a millionth of its width.
    return (sides / sides.amax(0)).clamp(min=1e-6)


def _scaled(lengths: Tensor, factor_x: float, factor_y: float) -> Tensor:
    if factor_x == factor_y:
        return lengths * factor_x
    x, y = lengths.unbind(0)
    return torch.stack((x * factor_x, y * factor_y))
