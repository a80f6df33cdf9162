"""Inception V2 in the two halves that Faster R-CNN uses, with TensorFlow's padding and its layer names.

Layers are named as in the original graph (`Mixed_4e`, `Branch_0`, `Conv2d_0a_1x1`), so that its weights are found by a
rule and not by a table.
"""

# No `from __future__ import annotations`: TorchScript reads the types of a module's attributes.

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Callable[[int], nn.Module]

EPSILON = 0.001
"""Added to the variance in every batch norm."""


class Block(NamedTuple):
    """Channels of a `Mixed` block.

    Args:
        branches: of the layers of each convolutional branch; the first layer is 1x1, the others 3x3.
        pool: the 3x3 pool of the last branch, "average" or "max".
        width: of the 1x1 layer behind that pool; None for a block without it, which halves the map.
    """

    branches: tuple[tuple[int, ...], ...]
    pool: str
    width: int | None


BLOCKS = {
    "Mixed_3b": Block(((64,), (64, 64), (64, 96, 96)), "average", 32),
    "Mixed_3c": Block(((64,), (64, 96), (64, 96, 96)), "average", 64),
    "Mixed_4a": Block(((128, 160), (64, 96, 96)), "max", None),
    "Mixed_4b": Block(((224,), (64, 96), (96, 128, 128)), "average", 128),
    "Mixed_4c": Block(((192,), (96, 128), (96, 128, 128)), "average", 128),
    "Mixed_4d": Block(((160,), (128, 160), (128, 160, 160)), "average", 96),
    "Mixed_4e": Block(((96,), (128, 192), (160, 192, 192)), "average", 96),
    "Mixed_5a": Block(((128, 192), (192, 256, 256)), "max", None),
    "Mixed_5b": Block(((352,), (192, 320), (160, 224, 224)), "average", 128),
    "Mixed_5c": Block(((352,), (192, 320), (192, 224, 224)), "max", 128),
}


def same_padding(size: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding of TensorFlow's "SAME" before and after `size` cells.

        outputs = ceil(size / stride)
        total   = max((outputs - 1) * stride + kernel - size, 0);  before = floor(total / 2), after = the rest

    With stride 2 they differ for every even size, where symmetric padding would shift the map by a cell.
    """
    # floor((size - 1) / stride) is outputs - 1.
    total = max((size - 1) // stride * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _pad(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    top, bottom = same_padding(x.shape[-2], kernel=kernel, stride=stride)
    left, right = same_padding(x.shape[-1], kernel=kernel, stride=stride)
    return F.pad(x, [left, right, top, bottom], value=value)


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME" for any size; `kernel` is odd."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        # With stride 1 and an odd kernel "SAME" is symmetric, whatever the size.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride=stride, padding=padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] > 1:
            input = _pad(input, kernel=self.kernel_size[0], stride=self.stride[0])
        return self._conv_forward(input, self.weight, self.bias)  # TorchScript knows no `super`


class SameMaxPool2d(nn.Module):
    """A maximum over 3x3 cells, padded as TensorFlow's "SAME"; padding is never the maximum."""

    def __init__(self, *, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, ceil(H / stride), ceil(W / stride))."""
        return F.max_pool2d(_pad(x, kernel=3, stride=self.stride, value=float("-inf")), 3, self.stride)


class SameAvgPool2d(nn.AvgPool2d):
    """A mean over 3x3 cells with stride 1, at the border over the cells inside."""

    def __init__(self) -> None:
        super().__init__(3, stride=1, padding=1, count_include_pad=False)


class StoredNorm2d(nn.Module):
    """A batch norm with stored mean and variance in training too, and trained scale and shift.

        y = (x - mean) / sqrt(variance + 0.001) * weight + bias

    As the original detector has it: a batch of one image says little about statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.epsilon = EPSILON
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W)."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.epsilon)


def _batch_norm(channels: int) -> nn.Module:
    # The original's decay of statistics, 0.9997, needs ten thousand steps from random weights; this is torch's 0.9.
    return nn.BatchNorm2d(channels, eps=EPSILON)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU.

    Args:
        norm: channels -> batch norm.
        std: of the initial weights, a normal distribution truncated at two of it; None for Glorot's uniform one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        norm: Norm,
        stride: int = 1,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.conv = SameConv2d(in_channels, out_channels, kernel, stride=stride)
        self.norm = norm(out_channels)
        if std is None:
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            truncated_normal(self.conv.weight, std)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return F.relu(self.norm(self.conv(x)))


class SeparableUnit(nn.Module):
    """The root: 7x7 filters with stride 2 on each channel of the image, a 1x1 layer, batch norm, ReLU.

    Args:
        multiplier: filters per channel; output c * multiplier + m is filter m of channel c.
        norm: channels -> batch norm.
    """

    def __init__(self, out_channels: int, *, multiplier: int, norm: Norm) -> None:
        super().__init__()
        self.depthwise = SameConv2d(3, 3 * multiplier, 7, stride=2, groups=3)
        self.pointwise = SameConv2d(3 * multiplier, out_channels, 1)
        self.norm = norm(out_channels)
        for layer in (self.depthwise, self.pointwise):
            truncated_normal(layer.weight, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, ceil(H / 2), ceil(W / 2)) of images (N, 3, H, W)."""
        return F.relu(self.norm(self.pointwise(self.depthwise(x))))


class Branches(nn.Module):
    """`Branch_0`, `Branch_1`, ... side by side on the same map, their channels concatenated."""

    def __init__(self, branches: list[nn.Sequential]) -> None:
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(f"Branch_{index}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, sum of the branches' channels, H', W')."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class _Builder:
    """Layers and blocks at a depth multiplier, with one kind of batch norm."""

    def __init__(self, *, depth_multiplier: float, stored_statistics: bool) -> None:
        self.depth_multiplier = depth_multiplier
        self.norm: Norm = StoredNorm2d if stored_statistics else _batch_norm

    def width(self, channels: int) -> int:
        return max(int(channels * self.depth_multiplier), 16)

    def root(self) -> SeparableUnit:
        channels = self.width(64)
        return SeparableUnit(channels, multiplier=min(channels // 3, 8), norm=self.norm)

    def unit(self, in_channels: int, width: int, kernel: int, *, stride: int = 1, std: float | None = None) -> ConvUnit:
        return ConvUnit(in_channels, self.width(width), kernel, norm=self.norm, stride=stride, std=std)

    def branch(self, in_channels: int, widths: tuple[int, ...], *, stride: int) -> nn.Sequential:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index, width in enumerate(widths):
            last, kernel = index == len(widths) - 1, 3 if index else 1
            name = "1a_3x3" if last and stride == 2 else f"0{'abc'[index]}_{kernel}x{kernel}"
            std = 0.09 if index == 0 and not last else None
            layers[f"Conv2d_{name}"] = self.unit(in_channels, width, kernel, stride=stride if last else 1, std=std)
            in_channels = self.width(width)
        return nn.Sequential(layers)

    def pool_branch(self, in_channels: int, block: Block) -> nn.Sequential:
        if block.width is None:
            return nn.Sequential(OrderedDict(MaxPool_1a_3x3=SameMaxPool2d(stride=2)))
        pool = SameMaxPool2d(stride=1) if block.pool == "max" else SameAvgPool2d()
        unit = self.unit(in_channels, block.width, 1, std=0.1)
        return nn.Sequential(OrderedDict(Pool_0a_3x3=pool, Conv2d_0b_1x1=unit))

    def blocks(self, in_channels: int, names: str) -> tuple[OrderedDict[str, nn.Module], int]:
        """Return these blocks in sequence, and the channels of the last."""
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for name in names.split():
            block = BLOCKS[name]
            stride = 2 if block.width is None else 1
            branches = [self.branch(in_channels, widths, stride=stride) for widths in block.branches]
            layers[name] = Branches([*branches, self.pool_branch(in_channels, block)])
            pooled = in_channels if block.width is None else self.width(block.width)
            in_channels = sum(self.width(widths[-1]) for widths in block.branches) + pooled
        return layers, in_channels


class InceptionV2Features(nn.Sequential):
    """Stage 1: images (N, 3, H, W) in [-1, 1] to the map of `Mixed_4e`, (N, 576, ceil(H / 16), ceil(W / 16)).

    Args:
        stored_statistics: whether batch norms use stored statistics in training too (`StoredNorm2d`), as pretrained
            weights should; else those of each batch.
        depth_multiplier: factor on all widths, none of which falls below 16.

    Reference:
        Ioffe and Szegedy, Batch Normalization, https://arxiv.org/abs/1502.03167, figure 5; TensorFlow Object
        Detection API, `faster_rcnn_inception_v2`.
    """

    def __init__(self, *, stored_statistics: bool, depth_multiplier: float = 1.0) -> None:
        build = _Builder(depth_multiplier=depth_multiplier, stored_statistics=stored_statistics)
        stem: OrderedDict[str, nn.Module] = OrderedDict(
            Conv2d_1a_7x7=build.root(),
            MaxPool_2a_3x3=SameMaxPool2d(stride=2),
            Conv2d_2b_1x1=build.unit(build.width(64), 64, 1, std=0.1),
            Conv2d_2c_3x3=build.unit(build.width(64), 192, 3),
            MaxPool_3a_3x3=SameMaxPool2d(stride=2),
        )
        blocks, channels = build.blocks(
            build.width(192), "Mixed_3b Mixed_3c Mixed_4a Mixed_4b Mixed_4c Mixed_4d Mixed_4e"
        )
        super().__init__(stem | blocks)
        self.out_channels = channels


class InceptionV2Head(nn.Sequential):
    """Stage 2: crops (K, 576, 7, 7) through `Mixed_5a` to `Mixed_5c`, averaged to (K, 1024).

    Args:
        in_channels: of the crops.
        stored_statistics, depth_multiplier: as in `InceptionV2Features`.
    """

    def __init__(self, in_channels: int, *, stored_statistics: bool, depth_multiplier: float = 1.0) -> None:
        build = _Builder(depth_multiplier=depth_multiplier, stored_statistics=stored_statistics)
        blocks, channels = build.blocks(in_channels, "Mixed_5a Mixed_5b Mixed_5c")
        super().__init__(blocks)
        self.out_channels = channels

    def forward(self, input: Tensor) -> Tensor:
        """Return (K, out_channels)."""
        for block in self:  # TorchScript knows no `super`
            input = block(input)
        return input.mean(dim=(-2, -1))


def truncated_normal(weight: Tensor, std: float) -> None:
    """Fill a tensor from a normal distribution truncated at two standard deviations, as TensorFlow does."""
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
