"""Faster R-CNN with VGG-16 as in the paper that introduced it, in torchvision's stages."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, roi_pool

from smoothiou.detectors.anchors import Border, BorderAnchors, LabelsOfUsableAnchors
from smoothiou.detectors.registry import DETECTORS

STRIDE = 16
CELLS = 7
HIDDEN = 4096
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of layers of each block."""
FROZEN_BLOCKS = 2
"""The first blocks, which keep pretrained weights: edges and colours are the same everywhere."""


class VGG16Features(nn.Sequential):
    """Images (N, 3, H, W) to the map of `conv5_3`, (N, 512, floor(H / 16), floor(W / 16)).

    Args:
        frozen: whether `conv1_1` to `conv2_2` keep their weights.
        width: factor on all channels, none of which falls below 8.

    Attributes:
        imagenet_names: names of torchvision's `vgg16` by names of the detector's layers.

    Reference:
        Simonyan and Zisserman, Very Deep Convolutional Networks, https://arxiv.org/abs/1409.1556, configuration D
        without its last pool.
    """

    def __init__(self, *, frozen: bool, width: float = 1.0) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        names: dict[str, str] = {}
        channels_in = 3
        for block, (channels, count) in enumerate(BLOCKS, 1):
            channels_out = max(int(channels * width), 8)
            for number in range(1, count + 1):
                names[f"backbone.conv{block}_{number}"] = f"features.{len(layers)}"
                layers[f"conv{block}_{number}"] = layer = nn.Conv2d(channels_in, channels_out, 3, padding=1)
                layers[f"relu{block}_{number}"] = nn.ReLU(inplace=True)
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
                layer.requires_grad_(not (frozen and block <= FROZEN_BLOCKS))
                channels_in = channels_out
            if block < len(BLOCKS):
                layers[f"pool{block}"] = nn.MaxPool2d(2)
        super().__init__(layers)
        self.out_channels = channels_in
        heads = {"roi_heads.box_head.fc6": "classifier.0", "roi_heads.box_head.fc7": "classifier.3"}
        self.imagenet_names = names | heads


class VGG16Head(nn.Module):
    """Crops (K, C, 7, 7) through `fc6` and `fc7`, each with ReLU and then dropout, to (K, hidden).

    Args:
        in_channels: of the crops.
        hidden: outputs of each layer.
        dropout: share of them dropped in training.
    """

    def __init__(self, in_channels: int, *, hidden: int = HIDDEN, dropout: float = 0.5) -> None:
        super().__init__()
        self.fc6 = _linear(in_channels * CELLS * CELLS, hidden)
        self.fc7 = _linear(hidden, hidden)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Return (K, hidden)."""
        x = x.flatten(start_dim=1)
        x = F.dropout(F.relu(self.fc6(x)), self.dropout, training=self.training)
        return F.dropout(F.relu(self.fc7(x)), self.dropout, training=self.training)


def _linear(in_features: int, out_features: int) -> nn.Linear:
    # Without torch's own initial weights, which would take as long again as these.
    layer: Any = skip_init(nn.Linear, in_features, out_features)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class RoIPool(MultiScaleRoIAlign):
    """torchvision's `roi_pool` as the second stage calls it: sides rounded to whole cells, the maximum of each bin.

    A `MultiScaleRoIAlign` by type only, which `FasterRCNN` asks for.

    Args:
        stride: pixels of the image per cell of the feature map.
        output_size: cells of a crop along each side.

    Reference:
        Girshick, Fast R-CNN, https://arxiv.org/abs/1504.08083, section 2.1.
    """

    def __init__(self, *, stride: int, output_size: int = CELLS) -> None:
        super().__init__(featmap_names=["0"], output_size=output_size, sampling_ratio=1)
        self.stride, self.cells = stride, output_size

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the crops (boxes of all images, channels, cells, cells) in float32; arguments as in torchvision."""
        return roi_pool(x["0"].float(), [each.float() for each in boxes], self.cells, 1 / self.stride)


def build_vgg16(
    *,
    num_classes: int,
    pretrained: bool,
    border: Border | None = None,
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
        pretrained: whether weights will be loaded; then the first two blocks keep them.
        border: anchors that leave the image, "remove" or "keep" (see `BorderAnchors`); None to remove them where
            weights are pretrained. From random weights, on small images, few others would be left to train.
        width: factor on the channels of VGG-16.
        hidden: outputs of `fc6` and `fc7`.
        settings: further arguments of `torchvision.models.detection.FasterRCNN`.

    Reference:
        Ren et al., Faster R-CNN, https://arxiv.org/abs/1506.01497, and its code, py-faster-rcnn.
    """
    border = border or ("remove" if pretrained else "keep")
    backbone = VGG16Features(frozen=pretrained, width=width)
    predictor = FastRCNNPredictor(hidden, num_classes)
    for layer, std in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
    defaults = {
        "rpn_pre_nms_top_n_train": 12000,
        "rpn_post_nms_top_n_train": 2000,
        "rpn_post_nms_top_n_test": 300,
        "rpn_nms_thresh": 0.7,
        "box_batch_size_per_image": 128,
        "size_divisible": STRIDE,
    }
    pre_nms = {"rpn_pre_nms_top_n_test": max(6000, settings.get("rpn_pre_nms_top_n_test", 0))}
    model: Any = FasterRCNN(
        backbone,
        rpn_anchor_generator=BorderAnchors(DETECTORS["vgg16"].anchors, border=border),
        box_roi_pool=RoIPool(stride=STRIDE),
        box_head=VGG16Head(backbone.out_channels, hidden=hidden),
        box_predictor=predictor,
        **{**defaults, **settings, **pre_nms},
    )
    if border == "remove":
        model.rpn.assign_targets_to_anchors = LabelsOfUsableAnchors(model.rpn)
    return model
