"""Where a run computes, and in which precision."""

import pytest

from smoothiou.engine import devices
from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError


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


def test_a_frozen_backbone_has_no_slow_backward_pass_to_avoid(monkeypatch):
    monkeypatch.setattr(devices, "has_native_bf16", lambda device: True)
    config = RunConfig().replace({"model.name": "lite0", "model.freeze": "backbone", "train.device": "cpu"})
    assert devices.placement_of(config).precision == "bf16"


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))


@pytest.mark.parametrize(("asked", "device"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_a_gpu_is_taken_where_there_is_one_also_for_depthwise_nets_in_bf16(two_gpus, asked, device):
    placement = devices.choose_placement(asked, "auto", depthwise=True)
    assert (str(placement.device), placement.precision) == (device, "bf16")


def test_each_of_several_processes_takes_the_gpu_of_its_number_on_the_machine(two_gpus, monkeypatch):
    for name, value in {"RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    placement = devices.choose_placement("cuda", "auto", distributed=True)
    assert (str(placement.device), placement.rank, placement.world_size) == ("cuda:1", 3, 4)
    with pytest.raises(ConfigError, match="4 processes"):
        devices.choose_placement("cuda:0", "auto", distributed=True)


@pytest.mark.parametrize("asked", ["gpu", "cuda:x", "meta", "cuda:2"])
def test_a_device_that_this_machine_has_not_is_refused(two_gpus, asked):
    with pytest.raises(ConfigError, match=r"train\.device"):
        devices.choose_placement(asked, "auto")


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        devices.choose_placement("cuda", "auto")


def test_a_system_that_tells_neither_bf16_nor_memory_has_none(monkeypatch):
    def unreadable(path, *arguments):
        raise OSError(f"{path} is not there")

    monkeypatch.setattr("pathlib.Path.read_text", unreadable)
    monkeypatch.setattr("pathlib.Path.write_text", unreadable)
    cpu = devices.choose_placement("cpu", "auto").device
    assert not devices.has_native_bf16(cpu)
    devices.reset_peak_memory(cpu)
    assert devices.peak_memory_mb(cpu) is None
