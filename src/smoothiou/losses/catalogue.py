"""What every box loss is, in words: the table of `smoothiou losses`, and facts that tests hold. No torch."""

from __future__ import annotations

from dataclasses import dataclass


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
    vanishes_when_disjoint: bool
    """Whether a box that does not touch its target gets no gradient."""
    reference: str
    """Where it was published."""

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
            vanishes_when_disjoint=False,
            reference="P. J. Huber, Robust Estimation of a Location Parameter, 1964",
        ),
        LossCard(
            name="smooth-l1",
            summary="torchvision's default: Huber divided by its threshold, so its far slope is 1.",
            formula="huber(delta = beta) / beta; beta = 1/9",
            range="[0, inf)",
            vanishes_when_disjoint=False,
            reference="R. Girshick, Fast R-CNN, ICCV 2015, https://arxiv.org/abs/1504.08083",
        ),
        LossCard(
            name="l1",
            summary="Absolute differences: the same pull at every distance.",
            formula="sum of |z|",
            range="[0, inf)",
            vanishes_when_disjoint=False,
            reference="the default of Detectron2 and MMDetection",
        ),
        LossCard(
            name="l2",
            summary="Squared differences: one far-off box can outweigh a whole batch.",
            formula="sum of z^2 / 2",
            range="[0, inf)",
            vanishes_when_disjoint=False,
            reference="TensorFlow Object Detection API, WeightedL2LocalizationLoss",
        ),
        LossCard(
            name="iou",
            summary="The overlap itself; no gradient once the boxes have lost touch.",
            formula="1 - IoU",
            range="[0, 1]",
            vanishes_when_disjoint=True,
            reference="J. Yu et al., UnitBox, 2016, https://arxiv.org/abs/1608.01471 (there as -ln IoU)",
        ),
        LossCard(
            name="smooth-iou",
            summary="The paper's loss: Huber while boxes are far off, 1 - IoU as they get better (Eq. 7).",
            formula="lambda (1 - IoU) + (1 - lambda) huber; lambda = mean IoU of the mini-batch",
            range="[0, inf)",
            vanishes_when_disjoint=False,
            reference="M. Arif et al., Directly Optimizing IoU for Bounding Box Localization, Eq. 7",
        ),
    )
}
