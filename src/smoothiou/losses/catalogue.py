"""What every box loss is, in words: the table of `smoothiou losses`, and facts that tests hold. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smoothiou.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class LossCard:
    """One loss of the table."""

    name: str
    """Its name on the command line and in recipes."""
    summary: str
    """What it gives that its neighbours do not, in one line."""
    formula: str
    """z is the difference of a predicted and a target code; sums run over the four codes of a box."""
    range: str
    """Smallest and largest value for one box, as an interval."""
    space: Literal["codes", "boxes", "both"]
    """What it compares: the codes of a box, the boxes that they stand for, or both."""
    vanishes_when_disjoint: bool
    """Whether the centre of a box gets no pull along the axes on which it is apart from its target."""
    reference: str
    """Where it was published."""
    frame: Literal["any", "pixels"] = "any"
    """"any": the same number relative to an anchor and in pixels; "pixels": it depends, and takes the anchors."""
    symmetric: bool = True
    """Whether prediction and target may change places."""
    weight: float = 1.0
    """Factor in a two-stage detector, where its sources have one."""
    weight_source: str = "the loss is taken as it is"
    """Who uses that factor."""
    also_called: str = ""
    """Names that it goes by elsewhere, and others that go by its name."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value as numbers (infinity where there is none)."""
        low, high = self.range.strip("[]()").split(",")
        return float(low), float(high)


CATALOGUE: dict[str, LossCard] = {
    card.name: card
    for card in (
        LossCard(
            name="huber",
            summary="The paper's baseline: quadratic near the target, linear far away (Eq. 2).",
            formula="sum of (z^2 / 2 if |z| < delta else delta |z| - delta^2 / 2); delta = 1",
            range="[0, inf)",
            space="codes",
            vanishes_when_disjoint=False,
            weight_source="the paper; TensorFlow Object Detection API",
            also_called="smooth L1, in texts that keep delta = 1",
            reference="P. J. Huber, Robust Estimation of a Location Parameter, 1964",
        ),
        LossCard(
            name="smooth-l1",
            summary="torchvision's default: Huber divided by its threshold, so its far slope is 1.",
            formula="huber(delta = beta) / beta; beta = 1/9",
            range="[0, inf)",
            space="codes",
            vanishes_when_disjoint=False,
            weight_source="torchvision",
            also_called="Huber, where the threshold is 1",
            reference="R. Girshick, Fast R-CNN, ICCV 2015, https://arxiv.org/abs/1504.08083",
        ),
        LossCard(
            name="l1",
            summary="Absolute differences: the same pull at every distance.",
            formula="sum of |z|",
            range="[0, inf)",
            space="codes",
            vanishes_when_disjoint=False,
            weight_source="Detectron2, MMDetection",
            reference="the default of Detectron2 and MMDetection",
        ),
        LossCard(
            name="l2",
            summary="Squared differences: one far-off box can outweigh a whole batch.",
            formula="sum of z^2 / 2",
            range="[0, inf)",
            space="codes",
            vanishes_when_disjoint=False,
            weight_source="TensorFlow Object Detection API",
            also_called="mean squared error, which lacks the factor 1/2",
            reference="TensorFlow Object Detection API, WeightedL2LocalizationLoss",
        ),
        LossCard(
            name="balanced-l1",
            summary="Smooth L1 with a stronger pull on nearly right codes, so far-off boxes do not drown them.",
            formula="sum of (alpha/b (b|z| + 1) ln(b|z| + 1) - alpha|z| if |z| < 1 else gamma|z| + gamma/b - alpha);"
            " b = e^(gamma/alpha) - 1, alpha = .5, gamma = 1.5",
            range="[0, inf)",
            space="codes",
            vanishes_when_disjoint=False,
            weight_source="Libra R-CNN",
            reference="J. Pang et al., Libra R-CNN, CVPR 2019, https://arxiv.org/abs/1904.02701",
        ),
        LossCard(
            name="iou",
            summary="The overlap itself; no gradient once the boxes have lost touch.",
            formula="1 - IoU",
            range="[0, 1]",
            space="boxes",
            vanishes_when_disjoint=True,
            weight=10.0,
            weight_source="the authors of GIoU; MMDetection",
            also_called="linear IoU loss; 'IoU loss' may also mean iou-log or iou-squared",
            reference="J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471 (there as -ln IoU)",
        ),
        LossCard(
            name="iou-log",
            summary="The logarithm of the overlap, which pulls hardest where it is smallest.",
            formula="-ln IoU, at most 13.8 (IoU 1e-6)",
            range="[0, 13.816]",
            space="boxes",
            vanishes_when_disjoint=True,
            weight=10.0,
            weight_source="MMDetection",
            also_called="IoULoss of MMDetection and KerasCV",
            reference="J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471",
        ),
        LossCard(
            name="iou-squared",
            summary="Squared overlap, which pulls good boxes twice as hard and poor ones hardly.",
            formula="1 - IoU^2",
            range="[0, 1]",
            space="boxes",
            vanishes_when_disjoint=True,
            weight=10.0,
            weight_source="as iou; none is published for two-stage detectors",
            also_called="IouLoss of PaddleDetection, IOUloss of YOLOX",
            reference="X. Long et al., PP-YOLO, 2020, https://arxiv.org/abs/2007.12099 (code of PaddleDetection)",
        ),
        LossCard(
            name="alpha-iou",
            summary="A power of the overlap, which spends the gradient on boxes that are nearly right.",
            formula="1 - IoU^alpha; alpha = 3",
            range="[0, 1]",
            space="boxes",
            vanishes_when_disjoint=True,
            weight=1.0,
            weight_source="its authors' Faster R-CNN, which users could not reproduce",
            reference="J. He et al., Alpha-IoU, NeurIPS 2021, https://arxiv.org/abs/2110.13675",
        ),
        LossCard(
            name="bounded-iou",
            summary="Smooth L1 of the IoU that each of x, y, w, h alone makes impossible.",
            formula="sum over x, y, w, h of smooth-l1(1 - best IoU with this one wrong); beta = .2",
            range="[0, 3.6]",
            space="boxes",
            vanishes_when_disjoint=True,
            symmetric=False,
            weight=10.0,
            weight_source="MMDetection",
            reference="L. Tychsen-Smith, L. Petersson, Fitness NMS and Bounded IoU, CVPR 2018,"
            " https://arxiv.org/abs/1711.00164",
        ),
        LossCard(
            name="giou",
            summary="Overlap minus the hole between the boxes, so that boxes apart feel a pull.",
            formula="1 - IoU + (hull - union) / hull",
            range="[0, 2]",
            space="boxes",
            vanishes_when_disjoint=False,
            weight=10.0,
            weight_source="its authors; MMDetection, Detectron2, PaddleDetection",
            also_called="generalized_box_iou_loss of torchvision",
            reference="H. Rezatofighi et al., Generalized IoU, CVPR 2019, https://arxiv.org/abs/1902.09630",
        ),
        LossCard(
            name="diou",
            summary="Overlap and the distance of the centres.",
            formula="1 - IoU + (distance of centres / diagonal of the hull)^2",
            range="[0, 2]",
            space="boxes",
            frame="pixels",
            vanishes_when_disjoint=False,
            weight=12.0,
            weight_source="its authors; PaddleDetection",
            also_called="distance_box_iou_loss of torchvision",
            reference="Z. Zheng et al., Distance-IoU Loss, AAAI 2020, https://arxiv.org/abs/1911.08287",
        ),
        LossCard(
            name="ciou",
            summary="Overlap, the distance of the centres, and the aspect ratio.",
            formula="diou + alpha v; v = 4/pi^2 (difference of atan(w/h))^2, alpha = v / (1 - IoU + v), a constant",
            range="[0, 3]",
            space="boxes",
            frame="pixels",
            vanishes_when_disjoint=False,
            weight=12.0,
            weight_source="its authors; MMDetection, PaddleDetection",
            also_called="complete_box_iou_loss of torchvision; two rules for alpha are in use",
            reference="Z. Zheng et al., Distance-IoU Loss, AAAI 2020, https://arxiv.org/abs/1911.08287",
        ),
        LossCard(
            name="efficient-iou",
            summary="Overlap, the distance of the centres, and the differences of width and height.",
            formula="diou + ((w - target w) / hull w)^2 + ((h - target h) / hull h)^2",
            range="[0, 4]",
            space="boxes",
            frame="pixels",
            vanishes_when_disjoint=False,
            weight=10.0,
            weight_source="as giou; none is published for two-stage detectors",
            also_called="EIoU, a name that extended-iou has too",
            reference="Y. Zhang et al., Focal and Efficient IOU Loss, 2021, https://arxiv.org/abs/2101.08158",
        ),
        LossCard(
            name="extended-iou",
            summary="An overlap that goes on below 0 for boxes apart, with a rounded tip.",
            formula="smooth-l1(1 - I / (area + target area - I)), I < 0 where boxes are apart; smooth_point = .1",
            range="[0, 1.95]",
            space="boxes",
            vanishes_when_disjoint=False,
            weight=10.0,
            weight_source="as iou; its authors' weight is not known to us",
            also_called="EIoU, a name that efficient-iou has too; EIoULoss of MMDetection, Smooth-EIoU",
            reference="H. Peng, S. Yu, A Systematic IoU-Related Method, TIP 2021, https://arxiv.org/abs/2112.01793",
        ),
        LossCard(
            name="siou",
            summary="Overlap, a distance that counts less at 45 degrees, and a shape cost.",
            formula="1 - IoU + (distance + shape) / 2; distance = sum of 1 - exp((sin(2 angle) - 2) (shift / hull)^2),"
            " shape = sum of (1 - exp(-|side - target| / larger))^4",
            range="[0, 2.025]",
            space="boxes",
            frame="pixels",
            vanishes_when_disjoint=False,
            weight=10.0,
            weight_source="as giou; none is published for two-stage detectors",
            also_called="SIoULoss of MMDetection, whose default turns the sign of the distance cost",
            reference="Z. Gevorgyan, SIoU Loss, 2022, https://arxiv.org/abs/2205.12740",
        ),
        LossCard(
            name="powerful-iou",
            summary="Overlap and the distances of the edges, in sides of the target and not of the hull.",
            formula="1 - IoU + 1 - exp(-P^2); P = mean of |edge - target edge| / target side",
            range="[0, 2]",
            space="boxes",
            vanishes_when_disjoint=False,
            symmetric=False,
            weight=10.0,
            weight_source="as giou; none is published for two-stage detectors",
            also_called="PIoU (version 1), a name that Pixels-IoU for rotated boxes has too",
            reference="C. Liu et al., Powerful-IoU, Neural Networks 170, 2024,"
            " https://doi.org/10.1016/j.neunet.2023.11.041",
        ),
        LossCard(
            name="l1-giou",
            summary="L1 of the codes and GIoU of the boxes with fixed weights, as in DETR.",
            formula="5 sum of |z| / code weight + 2 (1 - GIoU)",
            range="[0, inf)",
            space="both",
            vanishes_when_disjoint=False,
            weight_source="DETR, whose two weights are inside",
            also_called="the box loss of DETR, which measures L1 in sides of the image",
            reference="N. Carion et al., DETR, ECCV 2020, https://arxiv.org/abs/2005.12872",
        ),
        LossCard(
            name="mix",
            summary="Huber and 1 - IoU with a fixed lambda: the control for a lambda that moves.",
            formula="lam (1 - IoU) + (1 - lam) huber; lam = .5",
            range="[0, inf)",
            space="both",
            vanishes_when_disjoint=False,
            weight_source="the paper, which reports that a fixed lambda is worse",
            reference="M. Arif et al., Directly Optimizing IoU for Bounding Box Localization, section 3.1",
        ),
        LossCard(
            name="smooth-iou",
            summary="The paper's loss: Huber while boxes are far off, 1 - IoU as they get better (Eq. 7).",
            formula="lambda (1 - IoU) + (1 - lambda) huber; lambda = mean IoU of the mini-batch",
            range="[0, inf)",
            space="both",
            vanishes_when_disjoint=False,
            weight_source="the paper",
            also_called="not Smooth-EIoU (extended-iou), IoU-smooth-L1 (SCRDet) or the soft IoU of segmentation",
            reference="M. Arif et al., Directly Optimizing IoU for Bounding Box Localization, Eq. 7",
        ),
    )
}


def no_such_loss(name: str, *, option: str = "") -> ConfigError:
    """Return the error for a name that is not in the table, in the same words wherever it was given.

    Args:
        name: as given.
        option: of the command line, with which it was given; "" elsewhere.
    """
    return ConfigError(
        f"{f'{option}: no' if option else 'No'} loss is called {name!r}.",
        hint=f"{did_you_mean(name.lower(), CATALOGUE)} A loss of your own is named package.module:object.",
    )
