"""SIoU, with the sign of its distance cost right."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Pairs, Slopes, formula
from smoothiou.boxes.arrays import Array, at_least, exp, larger, root, rows, sign, stack, total
from smoothiou.losses._base import FramedLoss, of_boxes
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.losses.iou import one_minus_iou

# Lengths, as a share of what both boxes span, below which slopes stop growing.
SMALLEST_LENGTH = 1e-6


@formula()
def siou(pairs: Pairs) -> tuple[Array, Slopes]:
    """Return the loss and its slopes; lengths are shares of the hull's sides, which are 1."""
    iou_loss, slopes = one_minus_iou(pairs)
    centre = pairs.shift()
    angle, angle_slope = _angle_cost(centre, pairs.even())
    # Distance: 1 - exp(-gamma rho) along x and y, rho = shift^2, gamma = 2 - angle.
    gamma = 2 - angle
    rho = centre * centre
    cost = gamma * rho
    near = exp(-cost)
    pull = near * gamma * centre  # half of d distance / d shift, but for the angle
    shift = pull - total(near * rho) * angle_slope
    # Shape: (1 - exp(-omega))^4 of both sides, omega = |side - target| / the larger of them.
    side, target = rows(pairs.lengths[:2])
    excess = side - target
    longer = at_least(larger(side, target), SMALLEST_LENGTH)
    alike = exp(-abs(excess) / longer)
    unlike = 1 - alike
    cube = unlike * unlike * unlike
    per_side = cube * alike * sign(excess) * target / (longer * longer)  # a quarter of d shape / d side
    distance_and_shape = total(1 - near + cube * unlike)
    slopes = slopes._replace(shift=shift, hull=-(pull * centre), side=per_side + per_side)
    return iou_loss + distance_and_shape * 0.5, slopes


def _angle_cost(centre: Array, even: Array) -> tuple[Array, Array]:
    """Return sin(2 angle) of the line between the centres, 0 along an axis, and half its slope with the shift.

    The paper's 1 - 2 sin^2(arcsin(x) - pi / 4) is the same number.
    """
    across = centre * even
    length = at_least(root(total(across * across)), SMALLEST_LENGTH)
    x, y = rows(across / length)
    steepness = (y * y - x * x) / length
    slope = stack((abs(y) * sign(x), -abs(x) * sign(y))) * steepness * even
    product = abs(x * y)
    return product + product, slope


def siou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none") -> Tensor:
    """Return the SIoU loss of boxes (K, 4) xyxy; see `SIoU`."""
    return of_boxes(siou, boxes1, boxes2, reduction, symmetric=True)


class SIoU(FramedLoss):
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
    measure = staticmethod(siou)
