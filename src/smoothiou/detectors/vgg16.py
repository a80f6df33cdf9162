"""Faster R-CNN with VGG-16 as in the paper that introduced it, in torchvision's stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image, roi_pool

from smoothiou.detectors.grid_anchors import Border, LabelsOfUsableAnchors
from smoothiou.detectors.roi_align import SeparableRoIAlign
from smoothiou.errors import ConfigError

STRIDE = 16
CELLS = 7
HIDDEN = 4096
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and layers of each block."""
FROZEN_BLOCKS = 2
"""The first blocks, which do not learn where weights were loaded: edges and colours are the same everywhere."""
ANCHOR_SIZES = (128, 256, 512)
ASPECT_RATIOS = (0.5, 1.0, 2.0)


class VGG16Features(nn.Sequential):
    """Stage 1: images (N, 3, H, W) to the map of `conv5_3`, (N, 512, floor(H / 16), floor(W / 16)).

    Args:
        frozen: whether `conv1_1` to `conv2_2` keep their weights.
        width: factor on all channels, none of which falls below 8.

    Reference:
        Simonyan and Zisserman, Very Deep Convolutional Networks, https://arxiv.org/abs/1409.1556, configuration D
        without its last pool.
    """

    def __init__(self, *, frozen: bool, width: float = 1.0) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 3
        for block, (channels, count) in enumerate(BLOCKS, 1):
            outputs = max(int(channels * width), 8)
            for number in range(1, count + 1):
                layers[f"conv{block}_{number}"] = layer = nn.Conv2d(inputs, outputs, 3, padding=1)
                layers[f"relu{block}_{number}"] = nn.ReLU(inplace=True)
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
                layer.requires_grad_(not (frozen and block <= FROZEN_BLOCKS))
                inputs = outputs
            if block < len(BLOCKS):
                layers[f"pool{block}"] = nn.MaxPool2d(2)
        super().__init__(layers)
        self.out_channels = inputs


class VGG16Head(nn.Module):
    """Stage 2: crops (K, C, 7, 7) through `fc6` and `fc7`, each with ReLU and then dropout, to (K, hidden).

    Args:
        inputs: channels of the crops.
        hidden: numbers that leave each layer.
        keep: share of them that dropout leaves in training.
    """

    drop = staticmethod(F.dropout)
    """Another function where several processes share a batch (`share_batch`)."""

    def __init__(self, inputs: int, *, hidden: int = HIDDEN, keep: float = 0.5) -> None:
        super().__init__()
        self.fc6 = _linear(inputs * CELLS * CELLS, hidden)
        self.fc7 = _linear(hidden, hidden)
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        """Return (K, hidden)."""
        x = x.flatten(start_dim=1)
        for layer in (self.fc6, self.fc7):
            x = self.drop(F.relu(layer(x)), 1 - self.keep, training=self.training)
        return x


def _linear(inputs: int, outputs: int) -> nn.Linear:
    # Without torch's own initial weights, which would take as long again as these.
    layer: Any = skip_init(nn.Linear, inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class RoIPool(MultiScaleRoIAlign):
    """Gives the second stage's crops as Fast R-CNN does: sides rounded to whole cells, the maximum of each bin.

    A torchvision `MultiScaleRoIAlign` by type only, which `FasterRCNN` asks for.

    Args:
        stride: pixels of the image per cell of the feature map.
        output_size: cells of a crop along each side.

    Reference:
        Girshick, Fast R-CNN, https://arxiv.org/abs/1504.08083, section 2.1; `torchvision.ops.roi_pool`.
    """

    def __init__(self, *, stride: int, output_size: int = CELLS) -> None:
        super().__init__(featmap_names=["0"], output_size=output_size, sampling_ratio=1)
        self.stride, self.cells = stride, output_size

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the crops (sum of boxes, channels, output_size, output_size) in float32.

        Args:
            x: one feature map (images, channels, height, width) under the name "0".
            boxes: xyxy boxes (N, 4) of each image, in pixels of the resized image.
            image_shapes: not used; torchvision passes it.
        """
        feature = x["0"]
        with torch.autocast(feature.device.type, enabled=False):
            return roi_pool(feature.float(), [own.float() for own in boxes], self.cells, 1 / self.stride)


class InnerAnchors(AnchorGenerator):
    """torchvision's anchors of 3 sizes and 3 aspect ratios; those that leave their image learn nothing.

    In inference all of them propose, as in the original; `GridAnchors` clips them then, as TensorFlow does.

    Args:
        border: "remove" them in training, or "keep" them there too.
    """

    def __init__(self, *, border: Border) -> None:
        super().__init__(sizes=(ANCHOR_SIZES,), aspect_ratios=(ASPECT_RATIOS,))
        self.border = border
        self.usable: list[Tensor] = []
        """Of each image of the last batch, which anchors count (anchors,)."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return, for each image, xyxy anchors (H * W * 9, 4) in pixels."""
        anchors = super().forward(image_list, feature_maps)
        if self.training and self.border == "remove":
            clipped = map(clip_boxes_to_image, anchors, image_list.image_sizes)
            self.usable = [(own == inner).all(dim=1) for own, inner in zip(anchors, clipped, strict=True)]
        else:
            self.usable = [torch.ones_like(own[:, 0], dtype=torch.bool) for own in anchors]
        return anchors


def build_vgg16(
    *,
    num_classes: int,
    frozen: bool,
    roi_op: Literal["roi-pool", "roi-align"] = "roi-pool",
    border: Border = "remove",
    width: float = 1.0,
    hidden: int = HIDDEN,
    **settings: Any,
) -> FasterRCNN:
    """Return Faster R-CNN with VGG-16, with random weights.

    By default as in the original: 256 anchors an image of which half may be positive, 2000 proposals in training and
    300 in inference out of the best 12000 and 6000, suppressed at 0.7; 128 of them sampled, a quarter positive; dropout
    of a half. Left as torchvision has them: one logit per anchor and not two, anchors centred on corners of cells,
    proposals of any size (the original drops sides under 16 pixels), images as torchvision's weights know them.

    Args:
        num_classes: classes, with the background.
        frozen: whether the first two blocks keep their weights, as with loaded ones.
        roi_op: the second stage's crops, by RoIPool as in the original or by RoIAlign, both 7x7.
        border: anchors that leave the image, "remove" or "keep" (see `InnerAnchors`). Few others fit small images.
        width: factor on the channels of VGG-16.
        hidden: numbers that leave `fc6` and `fc7`.
        settings: further arguments of `torchvision.models.detection.FasterRCNN`.

    Raises:
        ConfigError: an option has none of the values that are named here.

    Reference:
        Ren et al., Faster R-CNN, https://arxiv.org/abs/1506.01497, and its code, py-faster-rcnn.
    """
    for option, value, choices in (
        ("roi_op", roi_op, ("roi-pool", "roi-align")),
        ("border", border, ("remove", "keep")),
    ):
        if value not in choices:
            raise ConfigError(f"{option}: expected {' or '.join(choices)}, got {value!r}.")
    backbone = VGG16Features(frozen=frozen, width=width)
    pools: dict[str, MultiScaleRoIAlign] = {
        "roi-pool": RoIPool(stride=STRIDE),
        "roi-align": SeparableRoIAlign(stride=STRIDE, output_size=CELLS),
    }
    predictor = FastRCNNPredictor(hidden, num_classes)
    for layer, spread in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        nn.init.normal_(layer.weight, std=spread)
        nn.init.zeros_(layer.bias)
    defaults = {
        "rpn_pre_nms_top_n_train": 12000,
        "rpn_post_nms_top_n_train": 2000,
        "rpn_post_nms_top_n_test": 300,
        "rpn_nms_thresh": 0.7,
        "box_batch_size_per_image": 128,
        "size_divisible": STRIDE,
    }
    best = {"rpn_pre_nms_top_n_test": max(6000, settings.get("rpn_pre_nms_top_n_test", 0))}
    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=InnerAnchors(border=border),
        box_roi_pool=pools[roi_op],
        box_head=VGG16Head(backbone.out_channels, hidden=hidden),
        box_predictor=predictor,
        **{**defaults, **settings, **best},
    )
    parts: Any = model
    if border == "remove":
        parts.rpn.assign_targets_to_anchors = LabelsOfUsableAnchors(parts.rpn)
    return model


def imagenet_names() -> Iterator[tuple[str, str]]:
    """Give the name of each of our layers that torchvision's `vgg16` has too, and its name there."""
    place = 0
    for block, (_, count) in enumerate(BLOCKS, 1):
        for number in range(1, count + 1):
            yield f"backbone.conv{block}_{number}", f"features.{place}"
            place += 2  # a ReLU follows each
        place += 1  # a pool follows the block
    yield "roi_heads.box_head.fc6", "classifier.0"
    yield "roi_heads.box_head.fc7", "classifier.3"
