"""A small one of each of torchvision's detectors, and a batch that all of them can train on."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD, SSDHead

from smoothiou.detectors import TorchvisionGIoU, torchvision_l1, torchvision_smooth_l1


class Pyramid(nn.Module):
    """Images to two maps of strides 8 and 16."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.finer = nn.Sequential(nn.Conv2d(3, 32, 3, stride=8, padding=1), nn.ReLU())
        self.coarser = nn.Sequential(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        finer = self.finer(images)
        return OrderedDict([("0", finer), ("1", self.coarser(finer))])


def anchors(*sizes: tuple[int, ...], ratios: tuple[float, ...] = (0.5, 1.0, 2.0)) -> AnchorGenerator:
    return AnchorGenerator(sizes, (ratios,) * len(sizes))


def two_stage(kind: type[FasterRCNN]) -> FasterRCNN:
    rpn = anchors((16,), (32,))
    model = kind(Pyramid(), num_classes=4, min_size=64, max_size=96, rpn_anchor_generator=rpn)
    for name in ("mask", "keypoint"):  # their default heads have hundreds of channels
        if getattr(model.roi_heads, f"{name}_head", None) is not None:
            setattr(model.roi_heads, f"{name}_head", nn.Conv2d(32, 8, 3, padding=1))
            predictor = getattr(model.roi_heads, f"{name}_predictor")
            setattr(model.roi_heads, f"{name}_predictor", nn.ConvTranspose2d(8, outputs(predictor), 2, 2))
    return model


def outputs(predictor: nn.Module) -> int:
    return [m for m in predictor.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)][-1].out_channels


def retinanet() -> RetinaNet:
    generator = anchors((16, 24), (32, 48))
    head = RetinaNetHead(32, generator.num_anchors_per_location()[0], 4)
    return RetinaNet(Pyramid(), 4, min_size=64, max_size=96, anchor_generator=generator, head=head)


def fcos() -> FCOS:
    return FCOS(Pyramid(), 4, min_size=64, max_size=96, anchor_generator=anchors((8,), (16,), ratios=(1.0,)))


def ssd() -> SSD:
    generator = DefaultBoxGenerator([[2], [2]])
    head = SSDHead([32, 32], generator.num_anchors_per_location(), 4)
    return SSD(Pyramid(), generator, (80, 64), 4, head=head)


KINDS = {
    "faster": (partial(two_stage, FasterRCNN), torchvision_smooth_l1),
    "mask": (partial(two_stage, MaskRCNN), torchvision_smooth_l1),
    "keypoint": (partial(two_stage, KeypointRCNN), torchvision_smooth_l1),
    "retinanet": (retinanet, torchvision_l1),
    "fcos": (fcos, TorchvisionGIoU()),
    "ssd": (ssd, partial(torchvision_smooth_l1, beta=1.0)),
}
"""By name: how one is built, and torchvision's own box loss in it."""


def build(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return KINDS[kind][0]().train()


def batch_for(kind: str, batch):
    """The batch with masks and keypoints where the host wants them."""
    images, targets = batch
    full = []
    for image, target in zip(images, targets, strict=True):
        target = dict(target)
        count, (height, width) = len(target["boxes"]), image.shape[-2:]
        if kind == "mask":
            target["masks"] = torch.zeros(count, height, width, dtype=torch.uint8)
            for mask, box in zip(target["masks"], target["boxes"].long().tolist(), strict=True):
                mask[box[1] : box[3], box[0] : box[2]] = 1
        if kind == "keypoint":
            centres = (target["boxes"][:, :2] + target["boxes"][:, 2:]) / 2
            target["keypoints"] = torch.cat([centres, torch.ones(count, 1)], 1)[:, None].repeat(1, 17, 1)
            target["labels"] = torch.ones_like(target["labels"])
        full.append(target)
    return images, full


def without_boxes(target: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value[:0] for key, value in target.items()}


def train_step(model, batch, *, seed=3):
    """Return losses and gradients of one training step under a fixed RNG state."""
    torch.manual_seed(seed)
    model.train()
    model.zero_grad()
    losses = model(*batch)
    sum(losses.values()).backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {key: value.detach() for key, value in losses.items()}, grads


def same(a, b) -> bool:
    """Whether two state dicts or results hold the same numbers under the same keys."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def assert_same(a, b) -> None:
    """Losses, gradients or detections that are the same to the last bit."""
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    assert not different, f"not bit-identical: {different[:5]}"
