"""What stays in float32 under autocast."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from smoothiou.detectors import build_detector
from smoothiou.detectors.cascade import make_cascade
from smoothiou.detectors.dropout import DropoutPredictor, set_roi_dropout
from smoothiou.detectors.precision import BLOCK, keep_depthwise_in_float32, pad_boxes_to_blocks


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


class Counting(nn.Linear):
    """A layer that remembers how many rows it saw."""

    seen = 0

    def forward(self, x):
        self.seen = len(x)
        return super().forward(x)


def second_stage(*layers):
    head, predictor = nn.Sequential(*layers), FastRCNNPredictor(8, 3)
    return SimpleNamespace(roi_heads=SimpleNamespace(box_head=head, box_predictor=predictor)), head, predictor


@pytest.mark.parametrize("boxes", [0, 1, BLOCK, BLOCK + 1])
def test_half_precision_on_a_cpu_sees_whole_blocks_of_boxes(boxes):
    torch.manual_seed(0)
    model, head, predictor = second_stage(Counting(8, 8))
    x = torch.randn(boxes, 8, requires_grad=True)
    plain = predictor(head(x))
    pad_boxes_to_blocks(model)
    for ours, theirs in zip(predictor(head(x)), plain, strict=True):
        assert torch.equal(ours, theirs), "to the bit without autocast"
    with torch.autocast("cpu", torch.bfloat16):
        outputs = predictor(head(x))
    assert head[0].seen == -(-boxes // BLOCK) * BLOCK
    for ours, theirs in zip(outputs, plain, strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=0.05, rtol=0.05)
    outputs[0].sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_zeros_are_not_added_before_batch_norm_whose_statistics_they_would_move():
    model, head, _ = second_stage(Counting(8, 8), nn.BatchNorm1d(8))
    pad_boxes_to_blocks(model)
    with torch.autocast("cpu", torch.bfloat16):
        head(torch.randn(5, 8))
    assert head[0].seen == 5


def test_a_built_detector_still_takes_dropout_and_stages():
    model = build_detector("nano", num_classes=2)
    set_roi_dropout(model, 0.2)
    assert isinstance(model.roi_heads.box_predictor, DropoutPredictor)
    assert len(make_cascade(build_detector("nano", num_classes=2), 3).roi_heads.stages) == 3
