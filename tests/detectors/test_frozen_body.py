"""A frozen backbone: image by image, each once, with the same numbers."""

from __future__ import annotations

import pytest
import torch

from smoothiou.detectors import build_detector
from smoothiou.detectors.frozen_body import keep_features
from smoothiou.detectors.tensor_cache import TensorCache

IMAGES = [
    torch.rand(3, *size, generator=torch.Generator().manual_seed(n)) for n, size in enumerate([(96, 64), (64, 96)])
]


def frozen(name: str = "nano"):
    torch.manual_seed(0)
    model = build_detector(name, num_classes=2, freeze="backbone", min_size=64, max_size=96)
    return model.eval()


def body_of(model):
    return getattr(model.backbone, "body", model.backbone)


def maps_of(model, images) -> list[torch.Tensor]:
    batch, _ = model.transform(images)
    maps = body_of(model)(batch.tensors)
    return [maps] if isinstance(maps, torch.Tensor) else list(maps.values() if isinstance(maps, dict) else maps)


@pytest.mark.parametrize("name", ["nano", "lite0", "resnet18-fpn"])
def test_maps_do_not_depend_on_the_images_beside(name):
    model = frozen(name)
    together, alone = maps_of(model, IMAGES), maps_of(model, IMAGES[:1])
    for both, one in zip(together, alone, strict=True):
        height, width = one.shape[2:]
        assert torch.equal(both[:1, :, :height, :width], one)
        assert both[:1, :, :, width:].abs().sum() == 0  # the padding that the second image needs


@pytest.mark.parametrize(("memory_mb", "disk_mb"), [(64, 0), (0, 64), (0, 0)])
def test_an_image_is_computed_once_while_there_is_room(tmp_path, memory_mb, disk_mb):
    model, calls = frozen(), []
    cache = TensorCache(memory_mb=memory_mb, folder=tmp_path / "maps", disk_mb=disk_mb)
    keep_features(model.backbone, cache)
    model.backbone[0].register_forward_hook(lambda *_: calls.append(1))
    first, again = maps_of(model, IMAGES), maps_of(model, IMAGES[::-1])
    assert len(calls) == (2 if memory_mb or disk_mb else 4)
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two.flip(0))
    assert (tmp_path / "maps").exists() == bool(disk_mb)


def test_a_folder_of_maps_is_not_read_in_another_precision(tmp_path):
    def maps(precision):
        model = frozen()
        keep_features(model.backbone, TensorCache(memory_mb=0, folder=tmp_path / "maps", disk_mb=64))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return maps_of(model, IMAGES[:1])[0]

    assert not torch.equal(maps("bf16").float(), maps("fp32"))
    assert torch.equal(maps("fp32"), maps_of(frozen(), IMAGES[:1])[0])


def counted(folder, weights_seed: int):
    """Return a model that shares a folder, and the list to which it adds each image that it computes."""
    torch.manual_seed(weights_seed)
    model, calls = build_detector("nano", num_classes=2, freeze="backbone", min_size=64, max_size=96).eval(), []
    keep_features(model.backbone, TensorCache(memory_mb=0, folder=folder, disk_mb=64))
    model.backbone[0].register_forward_hook(lambda *_: calls.append(1))
    return model, calls


def test_runs_share_maps_of_equal_weights_alone(tmp_path):
    first, computed = counted(tmp_path, 0)
    maps = maps_of(first, IMAGES)[0]
    assert len(computed) == 2
    again, computed = counted(tmp_path, 0)
    assert torch.equal(maps_of(again, IMAGES)[0], maps)
    assert computed == []
    other, computed = counted(tmp_path, 1)
    assert not torch.equal(maps_of(other, IMAGES)[0], maps)
    assert len(computed) == 2


def test_a_map_that_was_cut_off_is_computed_again(tmp_path):
    first, _ = counted(tmp_path, 0)
    maps = maps_of(first, IMAGES)[0]
    for file in tmp_path.glob("*.pt"):
        file.write_bytes(file.read_bytes()[:100])
    again, computed = counted(tmp_path, 0)
    assert torch.equal(maps_of(again, IMAGES)[0], maps)
    assert len(computed) == 2


def test_room_on_disk_is_that_of_all_runs_together(tmp_path):
    first, _ = counted(tmp_path, 0)
    maps_of(first, IMAGES)
    size = sum(file.stat().st_size for file in tmp_path.glob("*.pt"))
    assert TensorCache(memory_mb=0, folder=tmp_path, disk_mb=1).disk_left == 2**20 - size


def test_a_disk_that_is_full_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("")
    model = frozen()
    keep_features(model.backbone, TensorCache(memory_mb=0, folder=tmp_path / "file", disk_mb=64))
    assert torch.equal(*(maps_of(model, IMAGES)[0] for _ in range(2)))


def test_a_backbone_that_trains_keeps_nothing():
    model = build_detector("nano", num_classes=2, min_size=64, max_size=96).train()
    keep_features(model.backbone, TensorCache(memory_mb=64))
    maps = maps_of(model, IMAGES)
    assert maps[0].requires_grad
