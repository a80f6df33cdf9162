"""A box moves with its pixels: rectangles are painted, images are changed, and boxes compared with what is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smoothiou.data.augment import AUGMENTATIONS, SCALES, crop, photometric, scale
from smoothiou.data.dataset import flip_horizontal
from smoothiou.detectors import build_detector, take_prepared

HEIGHT, WIDTH = 60, 90
BOXES = ((5, 8, 30, 28), (40, 20, 80, 50), (33, 2, 52, 12))
"""Whole pixels, so that a box is exactly its painted pixels; none touches another."""


def painted(boxes=BOXES, ignore=()):
    """A black image in which box k is painted with the value k + 1, in all channels."""
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    for value, (x1, y1, x2, y2) in enumerate((*boxes, *ignore), 1):
        image[:, y1:y2, x1:x2] = value
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(1, len(boxes) + 1),
        "ignore": torch.tensor(ignore, dtype=torch.float32).reshape(-1, 4),
        "image_index": 7,
    }
    return image, target


def seen(image, value):
    """The box of the pixels of a value; None where there are none."""
    rows, columns = (image[0] == value).nonzero(as_tuple=True)
    if not len(rows):
        return None
    return [float(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_in_a_crop_every_target_is_the_box_of_its_pixels_and_the_rest_is_ignored():
    kept = []
    for seed in range(300):
        image, target = crop(*painted(ignore=((60, 2, 70, 10),)), np.random.default_rng(seed))
        labels = target["labels"].tolist()
        boxes = dict(zip(labels, target["boxes"].tolist(), strict=True))
        ignored = target["ignore"].tolist()
        kept.append(len(labels))
        assert boxes == {label: seen(image, label) for label in labels}
        remains = [box for label in (1, 2, 3, 4) if label not in labels and (box := seen(image, label))]
        assert sorted(ignored) == sorted(remains)
        assert target["image_index"] == 7
        assert image.is_contiguous()
    # Never an image without its boxes, and not always all of them.
    assert set(kept) == {1, 2, 3}


def test_a_crop_keeps_a_box_whose_centre_is_inside_and_drops_one_whose_centre_is_not():
    # Only the seed decides; the crop itself is told by what is left of an image of coordinates.
    columns = torch.arange(WIDTH, dtype=torch.uint8).expand(HEIGHT, WIDTH)
    rows = torch.arange(HEIGHT, dtype=torch.uint8)[:, None].expand(HEIGHT, WIDTH)
    centres = [((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in BOXES]
    for seed in range(100):
        _, target = painted()
        image, cropped = crop(torch.stack([columns, rows, rows]), target, np.random.default_rng(seed))
        left, top, right, bottom = (int(v) for v in (image[0, 0, 0], image[1, 0, 0], image[0, 0, -1], image[1, -1, 0]))
        inside = [left < x < right + 1 and top < y < bottom + 1 for x, y in centres]
        assert cropped["labels"].tolist() == [
            label for label, is_inside in zip((1, 2, 3), inside, strict=True) if is_inside
        ]
        assert image.shape[2] >= 0.5 * WIDTH - 1
        assert image.shape[1] >= 0.5 * HEIGHT - 1


@pytest.mark.parametrize("boxes", [(), ((44, 29, 46, 31),)], ids=["no box", "a tiny box"])
def test_an_image_without_boxes_stays_whole_and_one_with_a_tiny_box_keeps_it(boxes):
    for seed in range(50):
        image, target = crop(*painted(boxes), np.random.default_rng(seed))
        assert len(target["boxes"]) == len(boxes)
        if not boxes:
            assert image.shape == (3, HEIGHT, WIDTH)


def test_where_no_crop_holds_a_centre_the_whole_image_is_taken():
    # The centre of this box lies on the left edge, which is inside no crop.
    image, target = painted()
    target = {**target, "boxes": torch.tensor([[-10.0, 5, 10, 25]]), "labels": torch.tensor([1])}
    same, kept = crop(image, target, np.random.default_rng(0))
    assert torch.equal(same, image)
    assert kept["boxes"].tolist() == [[-10.0, 5, 10, 25]]


def test_a_mirrored_crop_has_its_boxes_on_its_pixels_too():
    image, target = flip_horizontal(*crop(*painted(), np.random.default_rng(3)))
    for label, box in zip(target["labels"].tolist(), target["boxes"].tolist(), strict=True):
        assert box == seen(image, label)


def test_an_image_of_another_scale_is_resized_once_with_its_boxes():
    model = build_detector("nano", num_classes=3, min_size=60, max_size=90)
    prepare = take_prepared(model)
    assert prepare is not None
    image, target = painted()
    sizes = []
    for seed in range(30):
        same, scaled = scale(image, target, np.random.default_rng(seed))
        assert same is image
        resized, result = prepare(same, scaled)
        factor = scaled["scale"]
        assert SCALES[0] <= factor <= SCALES[1]
        assert resized.shape[1] == pytest.approx(factor * HEIGHT, abs=1.5)
        ratios = resized.shape[2] / WIDTH, resized.shape[1] / HEIGHT
        torch.testing.assert_close(result["boxes"], target["boxes"] * torch.tensor([*ratios, *ratios]))
        sizes.append(resized.shape[1])
    assert min(sizes) < 50
    assert max(sizes) > 70
    usual, _ = prepare(image, target)
    assert usual.shape == (3, HEIGHT, WIDTH)  # the last image's scale is forgotten


def test_colours_change_within_bounds_and_greys_stay_grey():
    grey = torch.full((3, 4, 4), 120, dtype=torch.uint8)
    colours = torch.randint(40, 216, (3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    target = painted()[1]
    means = []
    for seed in range(40):
        image, same = photometric(grey, target, np.random.default_rng(seed))
        assert same is target
        assert image.dtype == torch.uint8
        assert (image[0] == image[1]).all()
        assert (image[1] == image[2]).all()
        # An even grey has no contrast: what is left is brightness, within 30 %.
        assert 0.69 * 120 <= image.float().mean() <= 1.31 * 120
        means.append(float(photometric(colours, target, np.random.default_rng(seed))[0].float().mean()))
    assert max(means) - min(means) > 40


def test_without_any_change_colours_are_those_that_were():
    class Middle:
        def uniform(self, low, high, size=None):
            return (low + high) / 2 if size is None else np.full(size, (low + high) / 2)

    colours = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(photometric(colours, {}, Middle())[0], colours)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name, augment in AUGMENTATIONS.items() if augment])
def test_only_the_seed_decides(name):
    augment = AUGMENTATIONS[name]
    assert augment is not None
    state = torch.get_rng_state()
    results = []
    for seed in (1, 1, 2):
        np.random.seed(seed + 5)
        results.append(augment(*painted(), np.random.default_rng(seed)))
    assert torch.equal(torch.get_rng_state(), state)
    (one, first), (two, second), (three, third) = results
    assert torch.equal(one, two)
    assert torch.equal(first["boxes"], second["boxes"])
    assert first.get("scale") == second.get("scale")
    assert not torch.equal(one, three) or first.get("scale") != third.get("scale")
