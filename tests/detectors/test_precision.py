"""What stays in float32 under autocast."""

import torch
from torch import nn

from smoothiou.detectors.precision import keep_depthwise_in_float32


def test_depthwise_convolutions_leave_autocast_and_others_do_not():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 6, 6)
    depthwise, dense = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3)
    in_float32 = depthwise(x)
    net = nn.ModuleList([depthwise, dense])
    keep_depthwise_in_float32(net)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(depthwise(x), in_float32), "to the bit the layer without autocast"
        assert depthwise(x.bfloat16()).dtype == torch.float32
        assert dense(x).dtype == torch.bfloat16
        assert torch.is_autocast_enabled("cpu"), "autocast goes on behind the layer"
    assert torch.equal(depthwise(x), in_float32)
