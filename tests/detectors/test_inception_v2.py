"""Inception V2 against the original graph, and against its own rules where that graph's values are not at hand."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from smoothiou.detectors.inception_v2 import (
    InceptionV2Features,
    InceptionV2Head,
    SameAvgPool2d,
    SameConv2d,
    SameMaxPool2d,
    SeparableUnit,
    StoredNorm2d,
    same_padding,
)
from smoothiou.detectors.tf_checkpoint import open_tf_checkpoint
from smoothiou.detectors.tf_import import FIRST_STAGE, SECOND_STAGE, map_stage, read_variables
from tests.detectors.inception import assert_near

ROOT = ("Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3", "MaxPool_3a_3x3")
BLOCKS = ("Mixed_3b", "Mixed_3c", "Mixed_4a", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e")
PUBLISHED = {"first": 4_273_048, "second": 5_910_144}
"""Values of the published checkpoint, by stage, with 11,392 and 8,512 stored statistics."""


# --- padding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "stride", "odd", "even"), [(7, 2, (3, 3), (2, 3)), (3, 2, (1, 1), (0, 1)), (3, 1, (1, 1), (1, 1))]
)
def test_padding_is_tensorflows(kernel, stride, odd, even):
    for size in range(8, 60):
        assert same_padding(size, kernel=kernel, stride=stride) == (odd if size % 2 else even)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 2), (7, 7), (8, 5), (14, 6)])
def test_layers_look_at_the_cells_that_the_rule_names(size, stride):
    # Output cell i of a side looks at the 3 cells from i * stride - before on, as far as they exist.
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    conv = SameConv2d(1, 1, 3, stride=stride)
    nn.init.ones_(conv.weight)
    pools = {"max": SameMaxPool2d(stride=stride), "mean": SameAvgPool2d() if stride == 1 else None, "sum": conv}

    def window(index, side):
        outputs = -(-side // stride)
        before = max((outputs - 1) * stride + 3 - side, 0) // 2
        start = index * stride - before
        return slice(max(start, 0), min(start + 3, side))

    for name, layer in pools.items():
        if layer is None:
            continue
        found = layer(x)[0, 0]
        assert found.shape == tuple(-(-side // stride) for side in size)
        for row, column in np.ndindex(*found.shape):
            cells = x[0, 0, window(row, size[0]), window(column, size[1])]
            torch.testing.assert_close(found[row, column], getattr(cells, name)())


def test_the_root_filters_each_channel_by_its_own_filters():
    # Filter m of channel c is output 5 c + m; only filter 1 of channel 2 lets anything through.
    unit = SeparableUnit(15, multiplier=5, norm=lambda channels: nn.Identity())
    nn.init.zeros_(unit.depthwise.weight)
    unit.depthwise.weight.data[2 * 5 + 1, 0, 3, 3] = 1.0
    unit.pointwise.weight.data = torch.eye(15)[:, :, None, None]
    image = torch.rand(1, 3, 9, 9)
    found = unit(image)
    assert found.abs().sum(dim=(0, 2, 3)).nonzero().flatten().tolist() == [11]
    torch.testing.assert_close(found[0, 11], image[0, 2, ::2, ::2])


# --- the two stages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
def test_full_width_has_the_published_sizes(stored):
    first = InceptionV2Features(stored_statistics=stored)
    second = InceptionV2Head(first.out_channels, stored_statistics=stored)
    for module, count, statistics in ((first, PUBLISHED["first"], 11_392), (second, PUBLISHED["second"], 8_512)):
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        kept = sum(b.numel() for name, b in module.named_buffers() if "running" in name)
        assert (trained + kept, kept) == (count, statistics)
    assert (first.out_channels, second.out_channels) == (576, 1024)
    with torch.no_grad():
        assert first.eval()(torch.zeros(1, 3, 33, 50)).shape == (1, 576, 3, 4)
        assert second.eval()(torch.zeros(2, 576, 7, 7)).shape == (2, 1024)


def test_stored_statistics_are_used_and_left_alone_in_training_while_scale_and_shift_learn():
    torch.manual_seed(0)
    ours = StoredNorm2d(5).train()
    theirs = nn.BatchNorm2d(5, eps=0.001).eval()
    for value in ours.state_dict().values():
        value.uniform_(0.5, 1.5)
    theirs.load_state_dict({**ours.state_dict(), "num_batches_tracked": torch.tensor(0)})
    statistics = {name: buffer.clone() for name, buffer in ours.named_buffers()}
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in ours.named_buffers())
    assert all(p.grad is not None and p.grad.abs().min() > 0 for p in ours.parameters())


@pytest.mark.parametrize("stored", [True, False])
def test_every_parameter_learns_and_statistics_move_only_where_they_should(stored):
    torch.manual_seed(0)
    first = InceptionV2Features(stored_statistics=stored, depth_multiplier=0.1).train()
    second = InceptionV2Head(first.out_channels, stored_statistics=stored, depth_multiplier=0.1).train()
    both = nn.ModuleList([first, second])
    before = {name: buffer.clone() for name, buffer in both.named_buffers() if "running" in name}
    features = first(torch.randn(2, 3, 112, 112))
    assert features.shape == (2, first.out_channels, 7, 7)
    second(features).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in both.parameters())
    moved = [not torch.equal(buffer, before[name]) for name, buffer in both.named_buffers() if "running" in name]
    assert len(moved) == 2 * 69
    assert not any(moved) if stored else all(moved)


def test_initial_weights_have_the_originals_spread():
    torch.manual_seed(0)
    model = InceptionV2Features(stored_statistics=False)
    # A normal distribution cut off at two of its standard deviations keeps 0.88 of the first.
    for key, spread in {
        "Conv2d_1a_7x7.depthwise": 1.0,
        "Conv2d_1a_7x7.pointwise": 1.0,
        "Conv2d_2b_1x1.conv": 0.1,
        "Mixed_4c.Branch_1.Conv2d_0a_1x1.conv": 0.09,
        "Mixed_4c.Branch_3.Conv2d_0b_1x1.conv": 0.1,
    }.items():
        weight = model.get_submodule(key).weight.detach()
        assert weight.abs().max() <= 2 * spread
        assert weight.std() == pytest.approx(0.88 * spread, rel=0.05)
    for key, fans in {"Mixed_4c.Branch_0.Conv2d_0a_1x1.conv": 576 + 192, "Conv2d_2c_3x3.conv": 9 * (64 + 192)}.items():
        weight = model.get_submodule(key).weight.detach()
        assert weight.abs().max() <= (6 / fans) ** 0.5
        assert weight.std() == pytest.approx((2 / fans) ** 0.5, rel=0.05)


# --- against TensorFlow --------------------------------------------------------------------------------------------


def nchw(array):
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def load(module, path, scope):
    missing, unexpected = module.load_state_dict(
        read_variables(open_tf_checkpoint(path), list(map_stage(module, scope=scope))), strict=False
    )
    assert not unexpected
    assert all("num_batches_tracked" in key for key in missing)
    return module.eval()


def walk(module, x, values, *, prefix=""):
    """Compare every layer's output, layer by layer, each fed with our own output before it."""
    names = []
    with torch.no_grad():
        for name, layer in module.named_children():
            x = layer(x)
            assert_near(x, nchw(values[prefix + name]))
            names.append(name)
    return x, tuple(names)


@pytest.mark.parametrize("stored", [True, False], ids=["stored statistics", "batch statistics"])
@pytest.mark.parametrize("size", ["odd_97x131", "even_112x144"])
def test_every_activation_is_tensorflows(tensorflow, size, stored):
    values = np.load(tensorflow / f"activations_{size}.npz")
    path = tensorflow / "model.ckpt"
    first = load(InceptionV2Features(stored_statistics=stored, depth_multiplier=0.25), path, FIRST_STAGE)
    image = 2 * nchw(values["input_image_0_255"]) / 255 - 1
    assert_near(image, nchw(values["preprocessed"]))
    features, names = walk(first, image, values)
    assert names == ROOT + BLOCKS
    with torch.no_grad():
        assert torch.equal(first(image), features)

    second = InceptionV2Head(first.out_channels, stored_statistics=stored, depth_multiplier=0.25)
    second = load(second, path, SECOND_STAGE)
    crops = nchw(values["crops_maxpool_7x7"])
    _, names = walk(second, crops, values)
    assert names == ("Mixed_5a", "Mixed_5b", "Mixed_5c")
    with torch.no_grad():
        assert_near(second(crops), values["roi_avgpool"])


def test_the_second_stage_alone_on_an_even_size(tensorflow):
    values = np.load(tensorflow / "second_stage_direct_14x14.npz")
    second = InceptionV2Head(144, stored_statistics=True, depth_multiplier=0.25)
    second = load(second, tensorflow / "model.ckpt", SECOND_STAGE)
    _, names = walk(second, nchw(values["input_14x14"]), values, prefix="direct14_")
    assert names == ("Mixed_5a", "Mixed_5b", "Mixed_5c")


def test_the_root_at_full_width(tensorflow):
    values = np.load(tensorflow / "root_full_width_41x54.npz")
    layers = list(InceptionV2Features(stored_statistics=True).named_children())[: len(ROOT)]
    root = load(nn.Sequential(OrderedDict(layers)), tensorflow / "root_full_width.ckpt", FIRST_STAGE)
    _, names = walk(root, 2 * nchw(values["input_image_0_255"]) / 255 - 1, values)
    assert names == ROOT


def test_symmetric_padding_would_be_seen(tensorflow):
    # The even fixture tells the paddings apart: with torch's own, the very first layer is wrong.
    values = np.load(tensorflow / "activations_even_112x144.npz")
    first = InceptionV2Features(stored_statistics=True, depth_multiplier=0.25)
    root = load(first, tensorflow / "model.ckpt", FIRST_STAGE).get_submodule("Conv2d_1a_7x7")
    with torch.no_grad():
        image = 2 * nchw(values["input_image_0_255"]) / 255 - 1
        found = F.conv2d(image, root.depthwise.weight, stride=2, padding=3, groups=3)
        found = F.relu(root.norm(root.pointwise(found)))
    expected = nchw(values["Conv2d_1a_7x7"])
    assert (found - expected).abs().max() > 0.1 * expected.abs().max()
