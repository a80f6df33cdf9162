"""SIoU, with the sign of its distance cost right."""

from __future__ import annotations

import torch
from torch import Tensor

from smoothiou.boxes import Pairs, Slopes
from smoothiou.losses._base import FRAMES, PairLoss, of_boxes, require_one_of
from smoothiou.losses.catalogue import CATALOGUE

# Lengths, as a share of what both boxes span, below which slopes stop growing.
SMALLEST_LENGTH = 1e-6


def siou(pairs: Pairs) -> tuple[Tensor, Slopes]:
    """Return the loss and its slopes; lengths are shares of the hull's sides, which are 1."""
    iou, slopes = pairs.iou()
    angle, angle_slope = _angle_cost(pairs)
    # Distance: 1 - exp(-gamma rho) along x and y, rho = shift^2, gamma = 2 - angle.
    gamma = 2 - angle
    rho = pairs.shift * pairs.shift
    apart = torch.exp(-gamma * rho)
    distance = (1 - apart).sum(0)
    shift = 2 * gamma * apart * pairs.shift - (apart * rho).sum(0) * angle_slope
    hull = -2 * gamma * apart * rho
    # Shape: (1 - exp(-omega))^4 of both sides, omega = |side - target| / the larger of them.
    excess = pairs.side - pairs.target_side
    larger = torch.maximum(pairs.side, pairs.target_side).clamp(min=SMALLEST_LENGTH)
    alike = torch.exp(-excess.abs() / larger)
    shape = ((1 - alike) ** 4).sum(0)
    side = 4 * (1 - alike) ** 3 * alike * excess.sign() * pairs.target_side / (larger * larger)
    slopes = slopes.scaled(-1)._replace(shift=0.5 * shift, hull=0.5 * hull, side=0.5 * side)
    return 1 - iou + 0.5 * (distance + shape), slopes


def _angle_cost(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return sin(2 angle) of the line between the centres, 0 along an axis, and its slope with the shift.

    The paper's 1 - 2 sin^2(arcsin(x) - pi / 4) is the same number.
    """
    even = pairs.even
    across = pairs.shift * even
    length = torch.sqrt((across * across).sum(0)).clamp(min=SMALLEST_LENGTH)
    x, y = (across.abs() / length).unbind(0)
    steepness = 2 * (y * y - x * x) / length
    slope = torch.stack((y * steepness, -x * steepness)) * across.sign() * even
    return 2 * x * y, slope


def siou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return the SIoU loss of boxes (K, 4) xyxy; see `SIoU`."""
    return of_boxes(siou, boxes1, boxes2, reduction, symmetric=True)


class SIoU(PairLoss):
    """Weigh the distance of the centres by the angle under which they see each other.

        L = 1 - IoU + (distance + shape) / 2
        distance = sum over x, y of 1 - exp(-gamma (shift / C)^2),    gamma = 2 - sin(2 angle)
        shape = sum over w, h of (1 - exp(-|side - target| / larger))^4

    C is the side of the smallest box around both, the angle that of the line between the centres. The paper
    means to pull to the nearer axis first; by its formula the cost is smallest at 45 degrees, so that along the
    smaller shift the pull may point away from the target. The distance cost grows with the distance. In
    MMDetection 3.3 it falls by default (the exponent's sign is turned), so the loss there goes to 0 as boxes
    move apart.

    Args:
        frame: as in `DIoU`.

    Reference:
        Z. Gevorgyan: SIoU Loss, https://arxiv.org/abs/2205.12740.
    """

    card = CATALOGUE["siou"]

    def __init__(self, frame: str = "pixels") -> None:
        super().__init__()
        self.frame = require_one_of("frame", frame, FRAMES)

    def measure(self, pairs: Pairs) -> tuple[Tensor, Slopes]:
        """Return the loss (K,) of pairs, and its slopes."""
        return siou(pairs)

    def extra_repr(self) -> str:
        """Return the options, for `print`."""
        return f"frame={self.frame!r}"
