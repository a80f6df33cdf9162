"""Faster R-CNN on any backbone of timm, with torchvision's feature pyramid."""

from __future__ import annotations

import difflib
from collections import OrderedDict
from typing import Any

import timm
import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from smoothiou.detectors.anchors import torchvision_anchors
from smoothiou.detectors.features import eval_mode
from smoothiou.detectors.pyramid_roi_align import PyramidRoIAlign
from smoothiou.detectors.registry import TIMM, detector_info
from smoothiou.errors import CheckpointError, ConfigError
from smoothiou.files import first_line

STRIDES = (4, 8, 16, 32)
CHANNELS = 256
TRIAL_SIZE = (96, 160)
"""Height and width, of which no map is a square."""


def build_timm_fpn(*, backbone: str, num_classes: int, pretrained: bool, **settings: Any) -> FasterRCNN:
    """Return the detector with random weights; arguments as in `DetectorInfo.build`.

    Images are normalised as the backbone's weights want it. With weights, batch norms are frozen.

    Args:
        backbone: timm's name.
        num_classes: classes, with the background.
        pretrained: whether weights will be loaded.
        settings: further arguments of `FasterRCNN`.

    Raises:
        ConfigError: timm has no such model, or it gives no maps of strides 4, 8, 16 and 32 of colour images.
    """
    features = TimmBackbone(backbone, pretrained=pretrained)
    config: Any = timm.get_pretrained_cfg(backbone)
    return FasterRCNN(
        features,
        num_classes=num_classes,
        image_mean=list(config.mean),
        image_std=list(config.std),
        rpn_anchor_generator=torchvision_anchors(detector_info(f"{TIMM}{backbone}").anchors),
        box_roi_pool=PyramidRoIAlign(featmap_names=["0", "1", "2", "3"], output_size=7, sampling_ratio=2),
        **settings,
    )


class TimmBackbone(nn.Module):
    """Images (N, 3, H, W) to five maps of 256 channels, of strides 4 to 64, by names "0" to "3" and "pool"."""

    out_channels = CHANNELS

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        self.name = name
        body = _features(name)
        self.body: nn.Module = freeze_batch_norm_2d(body) if pretrained else body
        self.channels: list[int] = body.feature_info.channels()
        self.fpn = FeaturePyramidNetwork(self.channels, CHANNELS, LastLevelMaxPool())
        self.channels_last = [False] * len(STRIDES)
        self._try(name)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps, finest first."""
        maps = OrderedDict()
        for level, (x, channels_last) in enumerate(zip(self.body(images), self.channels_last, strict=True)):
            maps[str(level)] = x.permute(0, 3, 1, 2) if channels_last else x
        return self.fpn(maps)

    def load_imagenet(self) -> str:
        """Load timm's weights of this name from its cache, or download them, and return a note.

        Raises:
            CheckpointError: timm has none, or they are neither cached nor reachable.
        """
        try:
            state = _features(self.name, pretrained=True).state_dict()
        except Exception as error:  # of whatever its downloader raises
            raise CheckpointError(
                f"timm:{self.name}: not in timm's cache, and no download ({first_line(error)}).",
                hint="Fill the cache (HF_HOME) on a machine with network, or give a file with --weights.",
            ) from None
        self.body.load_state_dict({key: state[key] for key in self.body.state_dict()})
        return f"timm:{self.name}: backbone loaded; pyramid, RPN and second stage are random."

    def _try(self, name: str) -> None:
        """See whether the network takes images of another size than the usual ones, and how it lays out its maps."""
        image = torch.zeros(1, 3, *TRIAL_SIZE)
        try:
            with eval_mode(self), torch.no_grad():
                sizes = [tuple(side // stride for side in TRIAL_SIZE) for stride in STRIDES]
                self.channels_last = [x.shape[1:3] == size for x, size in zip(self.body(image), sizes, strict=True)]
                self(image)
        except Exception as error:  # of whatever the network raises
            raise ConfigError(f"timm:{name}: it does not take images of any size ({first_line(error)}).") from None


def _features(name: str, *, pretrained: bool = False) -> Any:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f'Did you mean "timm:{near[0]}"?' if near else "timm.list_models() lists their names."
        raise ConfigError(f"timm:{name}: timm has no such model.", hint=hint)
    config: Any = timm.get_pretrained_cfg(name)
    if config is not None and config.input_size[0] != 3:
        raise ConfigError(f"timm:{name}: it takes images of {config.input_size[0]} channels, expected 3.")
    try:
        whole: Any = timm.create_model(name, features_only=True)
        strides = whole.feature_info.reduction()
    except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
        raise ConfigError(
            f"timm:{name}: it gives no feature maps ({first_line(error)}).",
            hint="Choose a backbone that timm lists with features_only, such as resnet18 or convnext_atto.",
        ) from None
    if not set(STRIDES) <= set(strides):
        raise ConfigError(
            f"timm:{name}: expected feature maps of strides {', '.join(map(str, STRIDES))}, it has {strides}.",
            hint="Choose a backbone with a pyramid of maps, such as resnet18 or convnext_atto.",
        )
    levels = tuple(strides.index(stride) for stride in STRIDES)
    return timm.create_model(name, features_only=True, out_indices=levels, pretrained=pretrained)
