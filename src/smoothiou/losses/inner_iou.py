"""Inner-IoU: the overlap of both boxes made smaller, or larger, about their centres."""

from __future__ import annotations

from torch import Tensor

from smoothiou.boxes import Box, iou_of
from smoothiou.boxes.overlap import SMALLEST_SIDE
from smoothiou.losses.base import LossInfo, reduce, require_positive
from smoothiou.losses.modifier import ModifiedIoU


def inner(box: Box, ratio: float) -> Box:
    """The box with its sides times `ratio` about its centre (Eq. 1 to 4)."""
    width, height = (ratio * side.clamp(min=SMALLEST_SIDE / ratio) for side in (box.width, box.height))
    x1, y1 = box.x - 0.5 * width, box.y - 0.5 * height
    return Box(x1, y1, x1 + width, y1 + height)


def inner_iou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", *, of: str = "iou", ratio: float = 0.7
) -> Tensor:
    """`InnerIoU` of boxes (K, 4) xyxy.

    Args:
        boxes1: predicted boxes (K, 4) xyxy, in pixels or any one unit, floating point.
        boxes2: their targets (K, 4), row by row.
        reduction: `none`, `mean` or `sum`; the mean of no boxes is 0.
        of: the loss X: iou, giou, diou, ciou, siou or efficient-iou.
        ratio: of the scaled sides to the sides, above 0.

    Returns:
        (K,) for `none`, else a scalar; with the defaults the loss of a box lies in [0, 1].

    Raises:
        ConfigError: a shape, a type or an option is wrong.

    Reference:
        H. Zhang et al., Inner-IoU, 2023, https://arxiv.org/abs/2311.02877.
    """
    return reduce(InnerIoU(of=of, ratio=ratio).on_boxes(boxes1, boxes2), reduction)


class InnerIoU(ModifiedIoU):
    """Take IoU of both boxes scaled about their centres, in any loss of overlap.

        L = L_X + IoU - IoU of the scaled boxes,    X: iou, giou, diou, ciou, siou or efficient-iou

    Smaller boxes (ratio below 1) lose touch sooner, and near the target the same shift costs more: faster on good
    boxes. Larger ones (above 1) still meet where the boxes have parted: for poor boxes. The authors take .7 to .8 on
    PASCAL VOC, 1.15 to 1.25 on small objects.

    Args:
        of: the loss X.
        ratio: of the scaled sides to the sides, above 0.

    Reference:
        H. Zhang et al.: Inner-IoU, https://arxiv.org/abs/2311.02877.
    """

    info = LossInfo(
        name="inner-iou",
        summary="Overlap of both boxes scaled about their centres, in any loss of overlap.",
        formula="X + IoU - IoU of both boxes with sides times ratio; X = 1 - IoU, ratio = .7",
        range="[0, 1]",
        space="boxes",
        vanishes_when_disjoint=True,
        weight=10.0,
        weight_source="as iou; none is published for two-stage detectors",
        reference="H. Zhang et al., Inner-IoU, 2023, https://arxiv.org/abs/2311.02877",
    )

    def __init__(self, of: str = "iou", ratio: float = 0.7) -> None:
        super().__init__(of)
        self.ratio = require_positive("ratio", ratio)

    def overlap(self, pred: Box, target: Box) -> Tensor:
        """IoU (K,) of the scaled boxes."""
        return iou_of(inner(pred, self.ratio), inner(target, self.ratio))

    def extra_repr(self) -> str:
        """Options, for `print`."""
        return f"of={self.of!r}, ratio={self.ratio:g}"
