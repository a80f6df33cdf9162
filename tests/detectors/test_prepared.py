"""Images prepared ahead of the step give the step's losses, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch

from smoothiou.data.dataset import flip_horizontal
from smoothiou.detectors import build_detector, take_prepared


def example(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    corner = torch.rand(4, 2, generator=generator) * torch.tensor([width * 0.5, height * 0.5])
    boxes = torch.cat([corner, corner + 5 + torch.rand(4, 2, generator=generator) * 20], 1)
    ignore = torch.tensor([[1.0, 2, width - 3.5, height / 2]])
    return image, {"boxes": boxes, "labels": torch.tensor([1, 2, 1, 2]), "ignore": ignore}


def losses(model, examples):
    torch.manual_seed(7)
    images, targets = zip(*examples, strict=True)
    images = [image if image.is_floating_point() else image.float().div_(255) for image in images]
    return model.train()(images, list(targets))


@pytest.mark.parametrize("tf_compat", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_losses_of_prepared_images_are_those_of_the_images(tf_compat, flip):
    torch.manual_seed(0)
    stock = build_detector("nano", num_classes=2, min_size=64, max_size=96, tf_compat=tf_compat)
    ready = copy.deepcopy(stock)
    prepare = take_prepared(ready)
    examples = [example(0, 75, 117), example(1, 131, 97)]
    examples = [flip_horizontal(*each) for each in examples] if flip else examples
    expected = losses(stock, examples)
    for given in ([prepare(*each) for each in examples], examples):
        found = losses(ready, given)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_preparing_leaves_the_image_and_the_generator_alone():
    prepare = take_prepared(build_detector("nano", num_classes=2, min_size=64, max_size=96))
    image, target = example(0, 75, 117)
    before, boxes, state = image.clone(), target["boxes"].clone(), torch.get_rng_state()
    prepare(image, target)
    assert torch.equal(image, before)
    assert torch.equal(target["boxes"], boxes)
    assert torch.equal(torch.get_rng_state(), state)


def test_detections_do_not_change():
    model = build_detector("nano", num_classes=2, min_size=64, max_size=96).eval()
    image = torch.rand(3, 75, 117)
    before = model([image])[0]
    take_prepared(model)
    assert all(torch.equal(value, before[key]) for key, value in model([image])[0].items())


def test_where_sizes_are_drawn_nothing_is_prepared():
    model = build_detector("nano", num_classes=2, min_size=64, max_size=96)
    model.transform.min_size = (48, 64)
    assert take_prepared(model) is None
