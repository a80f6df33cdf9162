"""What the last training step tells about boxes, of one process and of all."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smoothiou.detectors.box_loss import box_losses


def box_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return what the last training forward tells about boxes: 0-dim tensors, computed now, without a device sync.

    Keys: "rpn_mean_iou", "rpn_positives", "roi_mean_iou", "roi_positives" and, for losses that have one, "rpn_lambda",
    "roi_lambda". Mean IoU is of the positives' predicted with their target boxes, NaN where there was none. Stages
    without `set_box_loss`, or not trained yet, have no keys.

    Args:
        model: a detector after `set_box_loss` and a forward pass in training mode.
    """
    losses = box_losses(model).items()
    return {f"{stage}_{key}": value for stage, loss in losses for key, value in loss.statistics().items()}


def reduce_statistics(statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `box_statistics` over the boxes of all processes, each of which must call this.

    Args:
        statistics: of this process.
    """
    stages = [key.removesuffix("_positives") for key in statistics if key.endswith("_positives")]
    if not stages:
        return dict(statistics)
    rows = []
    for stage in stages:
        count, iou = (statistics[f"{stage}_{key}"].float() for key in ("positives", "mean_iou"))
        lam = statistics.get(f"{stage}_lambda", torch.zeros_like(count)).float()
        rows.append(torch.stack((count, torch.where(count > 0, iou * count, 0.0), lam * count, lam)))
    sums = torch.stack(rows)
    dist.all_reduce(sums)
    result = {}
    for stage, (count, iou, weighted, lam) in zip(stages, (row.unbind(0) for row in sums), strict=True):
        result |= {f"{stage}_mean_iou": iou / count, f"{stage}_positives": count}  # NaN without positives
        if f"{stage}_lambda" in statistics:
            # Without positives lambda is what the rule gives, the same in all processes.
            result[f"{stage}_lambda"] = torch.where(count > 0, weighted / count, lam / dist.get_world_size())
    return result
