"""Where a run computes, and in which precision."""

import pytest

from smoothiou.engine import devices
from smoothiou.engine.config import RunConfig


@pytest.mark.parametrize(
    ("detector", "asked", "precision"),
    [
        ("nano", "auto", "bf16"),
        ("resnet50-fpn", "auto", "bf16"),
        ("lite0", "auto", "fp32"),
        ("lite0-cascade", "auto", "fp32"),
        ("mobilenet-v3-fpn", "auto", "fp32"),
        ("lite0", "bf16", "bf16"),
        ("nano", "fp32", "fp32"),
    ],
)
def test_a_cpu_with_bf16_uses_it_where_a_detector_gains(monkeypatch, detector, asked, precision):
    monkeypatch.setattr(devices, "has_native_bf16", lambda device: True)
    config = RunConfig().replace({"model.name": detector, "train.device": "cpu", "train.precision": asked})
    assert devices.placement_of(config).precision == precision


def test_a_cpu_without_bf16_computes_in_float32(monkeypatch):
    monkeypatch.setattr(devices, "has_native_bf16", lambda device: False)
    config = RunConfig().replace({"model.name": "nano", "train.device": "cpu"})
    assert devices.placement_of(config).precision == "fp32"
