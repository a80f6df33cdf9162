"""The losses of overlap by the formulas of their papers.

They take corners in float64, on boxes with an area, away from kinks. Nothing here is shared with the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


class Pair:
    """Two boxes as a reader draws them: corners, sides, centres, what they share and what holds both."""

    def __init__(self, pred: Tensor, target: Tensor) -> None:
        self.x1, self.y1, self.x2, self.y2 = pred.unbind(1)
        self.u1, self.v1, self.u2, self.v2 = target.unbind(1)
        self.width, self.height = self.x2 - self.x1, self.y2 - self.y1
        self.target_width, self.target_height = self.u2 - self.u1, self.v2 - self.v1
        self.dx = (self.x1 + self.x2) / 2 - (self.u1 + self.u2) / 2
        self.dy = (self.y1 + self.y2) / 2 - (self.v1 + self.v2) / 2
        self.enclosing_width = torch.maximum(self.x2, self.u2) - torch.minimum(self.x1, self.u1)
        self.enclosing_height = torch.maximum(self.y2, self.v2) - torch.minimum(self.y1, self.v1)
        shared_width = (torch.minimum(self.x2, self.u2) - torch.maximum(self.x1, self.u1)).clamp(min=0)
        shared_height = (torch.minimum(self.y2, self.v2) - torch.maximum(self.y1, self.v1)).clamp(min=0)
        self.areas = self.width * self.height + self.target_width * self.target_height
        self.intersection = shared_width * shared_height
        self.union = self.areas - self.intersection
        self.iou = self.intersection / self.union
        # The squared distance of the centres, as a share of the squared diagonal of the enclosing box.
        self.distance = (self.dx**2 + self.dy**2) / (self.enclosing_width**2 + self.enclosing_height**2)


def giou(b: Pair) -> Tensor:
    enclosing = b.enclosing_width * b.enclosing_height
    return 1 - b.iou + (enclosing - b.union) / enclosing


def ciou(b: Pair, *, gated: bool = False) -> Tensor:
    aspects = torch.atan(b.target_width / b.target_height) - torch.atan(b.width / b.height)
    v = 4 / math.pi**2 * aspects**2
    alpha = (v / (1 - b.iou + v)).detach()
    if gated:
        alpha = torch.where(b.iou > 0.5, alpha, 0)
    return 1 - b.iou + b.distance + alpha * v


def efficient_iou(b: Pair) -> Tensor:
    of_width = ((b.width - b.target_width) / b.enclosing_width) ** 2
    return 1 - b.iou + b.distance + of_width + ((b.height - b.target_height) / b.enclosing_height) ** 2


def smooth(z: Tensor, beta: float) -> Tensor:
    return torch.where(z < beta, z**2 / (2 * beta), z - beta / 2)


def extended_iou(b: Pair, *, smooth_point: float = 0.1) -> Tensor:
    # Steps of the published code, in its names.
    ex1, ey1 = torch.minimum(b.x1, b.u1), torch.minimum(b.y1, b.v1)
    ix1, iy1 = torch.maximum(b.x1, b.u1), torch.maximum(b.y1, b.v1)
    ix2, iy2 = torch.minimum(b.x2, b.u2), torch.minimum(b.y2, b.v2)
    xmin, xmax = torch.minimum(ix1, ix2), torch.maximum(ix1, ix2)
    ymin, ymax = torch.minimum(iy1, iy2), torch.maximum(iy1, iy2)
    intersection = (
        (ix2 - ex1) * (iy2 - ey1)
        + (xmin - ex1) * (ymin - ey1)
        - (ix1 - ex1) * (ymax - ey1)
        - (xmax - ex1) * (iy1 - ey1)
    )
    return smooth(1 - intersection / (b.areas - intersection), smooth_point)


def siou(b: Pair) -> Tensor:
    length = torch.sqrt(b.dx**2 + b.dy**2)
    angle = torch.arcsin(b.dy.abs() / length)
    angle_cost = 1 - 2 * torch.sin(angle - math.pi / 4) ** 2
    gamma = 2 - angle_cost
    distance = (
        2 - torch.exp(-gamma * (b.dx / b.enclosing_width) ** 2) - torch.exp(-gamma * (b.dy / b.enclosing_height) ** 2)
    )
    of_width = (b.width - b.target_width).abs() / torch.maximum(b.width, b.target_width)
    of_height = (b.height - b.target_height).abs() / torch.maximum(b.height, b.target_height)
    shape = (1 - torch.exp(-of_width)) ** 4 + (1 - torch.exp(-of_height)) ** 4
    return 1 - b.iou + (distance + shape) / 2


def powerful_iou(b: Pair) -> Tensor:
    of_width = ((b.x1 - b.u1).abs() + (b.x2 - b.u2).abs()) / b.target_width
    of_height = ((b.y1 - b.v1).abs() + (b.y2 - b.v2).abs()) / b.target_height
    p = (of_width + of_height) / 4
    return 1 - b.iou + 1 - torch.exp(-(p**2))


def bounded_iou(b: Pair, *, beta: float = 0.2) -> Tensor:
    bounds = (
        ((b.target_width - 2 * b.dx.abs()) / (b.target_width + 2 * b.dx.abs())).clamp(min=0),
        ((b.target_height - 2 * b.dy.abs()) / (b.target_height + 2 * b.dy.abs())).clamp(min=0),
        torch.minimum(b.width / b.target_width, b.target_width / b.width),
        torch.minimum(b.height / b.target_height, b.target_height / b.height),
    )
    return sum((smooth(1 - bound, beta) for bound in bounds), torch.zeros_like(b.iou))


FORMULAS: dict[str, Callable[[Pair], Tensor]] = {
    "iou": lambda b: 1 - b.iou,
    "iou-log": lambda b: -torch.log(b.iou.clamp(min=1e-6)),
    "iou-squared": lambda b: 1 - b.iou**2,
    "alpha-iou": lambda b: 1 - b.iou**3,
    "bounded-iou": bounded_iou,
    "giou": giou,
    "diou": lambda b: 1 - b.iou + b.distance,
    "ciou": ciou,
    "efficient-iou": efficient_iou,
    "extended-iou": extended_iou,
    "siou": siou,
    "powerful-iou": powerful_iou,
}
