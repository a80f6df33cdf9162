"""A run with augmented images is paired, resumed and cached as one without."""

from __future__ import annotations

import pytest
import torch

from smoothiou.data import load_dataset
from smoothiou.detectors import build_detector
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.loading import draw_batches, training_images
from smoothiou.engine.train import run
from smoothiou.errors import ConfigError, InterruptedRun
from tests.engine.tiny import weights_of

from .stopping import signal_in_step

TINY = {
    "data.path": "shapes", "data.images": 6, "data.size": 64, "model.min_size": 48, "model.max_size": 64,
    "train.steps": 4, "train.batch_size": 2, "train.log_every": 1, "train.device": "cpu", "train.precision": "fp32",
}  # fmt: skip
RANDOM = ("photometric", "scale", "crop")


def drawn(augment, **more):
    """The batches of two epochs, as a detector gets them: pixels and boxes."""
    config = RunConfig().replace({**TINY, "train.steps": 6, "train.augment": augment, **more})
    model = build_detector("nano", num_classes=5, min_size=48, max_size=64)
    place = Placement(torch.device(config.train.device), "fp32", "")
    images = training_images(model, load_dataset("shapes", images=6, size=64), config, place)
    return [
        (image, target)
        for batch in draw_batches(images, config, place, start=0, steps=6)
        for image, target in zip(*batch, strict=True)
    ]


@pytest.mark.parametrize(
    "augment", ["photometric", *(pytest.param(name, marks=pytest.mark.slow) for name in RANDOM[1:])]
)
def test_stopped_and_continued_it_is_the_same_run(tmp_path, monkeypatch, augment):
    config = RunConfig().replace({**TINY, "train.augment": augment})
    run(config, tmp_path / "whole", quiet=True)
    signal_in_step(monkeypatch, 2)
    with pytest.raises(InterruptedRun, match="after step 2"):
        run(config, tmp_path / "parts", quiet=True)
    run(config, tmp_path / "parts", quiet=True)
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize("augment", RANDOM)
def test_cache_and_loaders_change_nothing_and_each_epoch_has_other_images(augment):
    plain = drawn(augment, **{"train.cache_mb": 0})
    cached = drawn(augment, **{"train.cache_mb": 64, "train.workers": 2})
    for (image, target), (other, same) in zip(plain, cached, strict=True):
        assert torch.equal(image, other)
        assert torch.equal(target["boxes"], same["boxes"])
        assert target["image_index"] == same["image_index"]
    first, second = ({t["image_index"]: image for image, t in part} for part in (plain[:6], plain[6:]))
    assert set(first) == set(second) == set(range(6))
    same = [first[i].shape == second[i].shape and torch.equal(first[i], second[i]) for i in first]
    assert not all(same)


@pytest.mark.parametrize("augment", RANDOM)
def test_images_come_in_the_order_and_mirrored_as_without_augmentation(augment):
    plain, others = drawn("flip"), drawn(augment)
    assert [t["image_index"] for _, t in plain] == [t["image_index"] for _, t in others]
    if augment != "crop":  # neither colours nor size move a box within its image
        for (image, target), (other, moved) in zip(plain, others, strict=True):
            sides = [torch.tensor([x.shape[2], x.shape[1]] * 2) for x in (image, other)]
            torch.testing.assert_close(target["boxes"] / sides[0], moved["boxes"] / sides[1], atol=0.02, rtol=0)


def test_flip_is_the_default_and_none_mirrors_nothing():
    mirrored = [drawn(augment, **{"train.flip": 1.0}) for augment in ("flip", "none")]
    unchanged = drawn("flip", **{"train.flip": 0.0})
    assert RunConfig().train.augment == "flip"
    for (flipped, _), (plain, _), (image, _) in zip(*mirrored, unchanged, strict=True):
        assert torch.equal(plain, image)
        torch.testing.assert_close(flipped.flip(-1), image, atol=1e-4, rtol=0)  # resizing rounds by position


def test_a_detector_that_sizes_its_images_itself_cannot_be_scaled():
    config = RunConfig().replace({**TINY, "train.augment": "scale"})
    model = build_detector("nano", num_classes=5)
    model.transform.min_size = (48, 64)
    place = Placement(torch.device("cpu"), "fp32", "")
    with pytest.raises(ConfigError, match="scale"):
        training_images(model, load_dataset("shapes", images=6, size=64), config, place)


@pytest.mark.parametrize("augment", RANDOM)
def test_for_a_gpu_only_scaled_images_are_prepared_ahead(augment):
    config = RunConfig().replace({**TINY, "train.augment": augment})
    model = build_detector("nano", num_classes=5, min_size=48, max_size=64)
    images = training_images(
        model, load_dataset("shapes", images=6, size=64), config, Placement(torch.device("cuda"), "fp32", "")
    )
    image, target = images.example(0, flip=True, seed=3)
    assert image.is_floating_point() == (augment == "scale")
    assert bool(target.get("mirror")) == (augment != "scale")
