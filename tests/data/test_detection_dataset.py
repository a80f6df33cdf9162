"""Records as tensors: types, labels, ignore boxes, the cache, and the flip."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from smoothiou.data import Box, Dataset, ImageFile, Record, load_dataset
from smoothiou.data.dataset import DetectionDataset, PreparedDataset, collate, flip_horizontal
from smoothiou.engine.loop import to_device
from smoothiou.errors import DataError

BOXES = (
    Box(xyxy=(1, 2, 3, 4), label="b"),
    Box(xyxy=(0, 0, 5, 5), label="a", difficult=True),
    Box(xyxy=(2, 2, 6, 4.5), label="a"),
    Box(xyxy=(3, 0, 5, 5), label="b", crowd=True),
)


@pytest.fixture
def dataset(tmp_path):
    """Two images of 6 x 5 pixels, the second without boxes."""
    pixels = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    records = []
    for number, boxes in enumerate((BOXES, ())):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels + number).save(path)
        records.append(Record(name=str(number), source=ImageFile(path), width=6, height=5, boxes=boxes))
    return Dataset(name="d", format="voc", split="train", classes=("a", "b"), records=tuple(records))


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_an_image_and_its_target(dataset, cache_mb):
    image, target = DetectionDataset(dataset, cache_mb=cache_mb)[0]
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, 5, 6))
    assert image[:, 1, 2].tolist() == [24, 25, 26]
    assert target["boxes"].tolist() == [[1, 2, 3, 4], [2, 2, 6, 4.5]]
    assert target["labels"].tolist() == [2, 1]
    assert target["ignore"].tolist() == [[0, 0, 5, 5], [3, 0, 5, 5]]
    assert (target["image_index"], target["image_id"]) == (0, 1)
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)


def test_an_image_without_boxes_has_empty_tensors_of_the_right_shape(dataset):
    _, target = DetectionDataset(dataset, cache_mb=0)[1]
    assert [tuple(target[key].shape) for key in ("boxes", "labels", "ignore")] == [(0, 4), (0,), (0, 4)]


def test_the_cache_holds_all_or_nothing(dataset, tmp_path):
    large = DetectionDataset(dataset, cache_mb=1)
    assert (large.cached, large.pixel_bytes) == (True, 180)
    before = large[0][0]
    (tmp_path / "0.png").unlink()
    assert torch.equal(large[0][0], before)
    assert not DetectionDataset(dataset, cache_mb=0).cached


def test_what_is_done_to_an_image_does_not_come_back(dataset):
    cached = DetectionDataset(dataset, cache_mb=1)
    cached[0][0].fill_(0)
    cached[0][1]["boxes"].fill_(0)
    assert cached[0][0].sum() > 0
    assert cached[0][1]["boxes"].sum() > 0


def test_an_image_that_changed_since_is_refused(dataset, tmp_path):
    Image.new("RGB", (8, 5)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match="8 x.*6 x"):
        DetectionDataset(dataset, cache_mb=1)[0]


def test_loader_processes_and_collate():
    data = DetectionDataset(load_dataset("shapes", images=3, size=32), cache_mb=1)
    assert len(pickle.loads(pickle.dumps(data))) == 3
    loader = torch.utils.data.DataLoader(data, batch_size=2, collate_fn=collate)
    images, targets = next(iter(loader))
    assert [tuple(image.shape) for image in images] == [(3, 32, 32)] * 2
    assert [target["image_id"] for target in targets] == [1, 2]


def test_a_flip_moves_pixels_and_boxes_together():
    image = torch.zeros(3, 4, 10, dtype=torch.uint8)
    image[:, 1:3, 2:5] = 255
    target = {"boxes": torch.tensor([[2.0, 1, 5, 3]]), "ignore": torch.empty(0, 4), "labels": torch.tensor([1])}
    flipped, moved = flip_horizontal(image, target)
    assert moved["boxes"].tolist() == [[5, 1, 8, 3]]
    assert (flipped[:, 1:3, 5:8] == 255).all()
    assert (flipped == 255).sum() == (image == 255).sum()
    assert target["boxes"].tolist() == [[2, 1, 5, 3]], "the target given is left as it was"


quarters = st.integers(0, 400).map(lambda n: n / 4)


def test_pixels_may_be_mirrored_later_where_the_batch_goes(dataset):
    expected, wanted = DetectionDataset(dataset, cache_mb=0).example(0, flip=True)
    later = DetectionDataset(dataset, cache_mb=0, mirror="later")
    image, target = later.example(0, flip=True)
    assert torch.equal(image, later.example(0, flip=False)[0])
    assert "mirror" not in later.example(0, flip=False)[1]
    (moved,), (given_,) = to_device([image], [target], torch.device("cpu"))
    assert torch.equal(moved, expected.float() / 255)
    assert not torch.equal(moved, image.float() / 255)
    assert torch.equal(given_["boxes"], wanted["boxes"])
    assert torch.equal(given_["ignore"], wanted["ignore"])


@given(st.lists(st.tuples(quarters, quarters, quarters, quarters), max_size=4), st.integers(100, 130))
def test_flipping_twice_changes_nothing(corners, width):
    boxes = torch.tensor([(min(a, c), b, max(a, c), d) for a, b, c, d in corners]).reshape(-1, 4)
    image = torch.randint(0, 255, (3, 2, width), dtype=torch.uint8)
    target = {"boxes": boxes, "ignore": boxes.clone(), "labels": torch.ones(len(boxes)), "image_id": 7}
    once = flip_horizontal(image, target)
    assert (once[1]["boxes"][:, 0] <= once[1]["boxes"][:, 2]).all()
    twice = flip_horizontal(*once)
    assert torch.equal(twice[0], image)
    for key in ("boxes", "ignore", "labels"):
        assert torch.equal(twice[1][key], target[key])
    assert twice[1]["image_id"] == 7


def test_prepared_images_are_made_once_each_way_while_memory_lasts():
    made = []

    def prepare(image, target):
        made.append(target["image_index"])
        return image.float(), {**target, "prepared": True}

    data = DetectionDataset(load_dataset("shapes", images=3, size=256), cache_mb=0)
    kept = PreparedDataset(data, prepare, cache_mb=2)  # two images of 768 KiB
    for _ in range(2):
        for index, flip in ((0, False), (0, True), (1, False)):
            image, target = kept.example(index, flip=flip)
            plain, boxes = data.example(index, flip=flip)
            assert torch.equal(image, plain.float())
            assert torch.equal(target["boxes"], boxes["boxes"])
            target["boxes"] = None  # what a caller does to a target does not come back
    assert made == [0, 0, 1, 1]
    assert len(kept) == 3


class Asked(torch.utils.data.Dataset):
    """Examples of one image, and how many tensors that are kept of it have moved into shared memory."""

    def __init__(self, kept):
        self.kept = kept

    def __getitem__(self, index):
        image, target = self.kept.example(0, flip=False)
        own, facts = self.kept._cache[0, False]
        return image, {**target, "shared": sum(tensor.is_shared() for tensor in (own, facts["boxes"], facts["labels"]))}


def test_a_loader_process_sends_copies_of_what_it_keeps():
    # What is sent lies in shared memory with an open file for each tensor, of which a process may have about 1000.
    data = DetectionDataset(load_dataset("shapes", images=3, size=64), cache_mb=0)
    asked = Asked(PreparedDataset(data, lambda image, target: (image.float(), target), cache_mb=1))
    loader = torch.utils.data.DataLoader(asked, batch_size=1, sampler=[0] * 12, num_workers=1, collate_fn=collate)
    found = [(images[0], targets[0]) for images, targets in loader]
    assert [target["shared"] for _, target in found] == [0] * 12
    assert all(torch.equal(image, asked.kept.example(0, flip=False)[0]) for image, _ in found)


def test_for_a_loop_of_pytorch_targets_are_as_torchvisions_references_have_them(dataset):
    images = dataset.torch()
    loader = torch.utils.data.DataLoader(images, batch_size=2, collate_fn=images.collate)
    (image, empty), (target, bare) = next(iter(loader))
    assert image.dtype == torch.float32
    assert image[:, 0, 0].tolist() == pytest.approx([0, 1 / 255, 2 / 255])
    assert empty.shape == (3, 5, 6)
    assert set(target) == {"boxes", "labels", "image_id", "area", "iscrowd", "ignore"}
    assert target["boxes"].tolist() == [[1, 2, 3, 4], [2, 2, 6, 4.5]]
    assert target["area"].tolist() == [4, 10]
    assert target["labels"].tolist() == [2, 1]
    assert target["iscrowd"].tolist() == [0, 0]
    assert target["image_id"] == 1
    assert bare["boxes"].shape == (0, 4)
    assert bare["area"].shape == (0,)


def test_a_transform_of_ones_own_gets_image_and_target(dataset):
    image, target = dataset.torch(transform=lambda image, target: (1 - image, {"of": target["image_id"]}))[1]
    assert image[0, 0, 0] == 1 - 1 / 255
    assert target == {"of": 2}


def test_a_split_is_a_sequence_of_its_records(dataset):
    assert len(dataset) == 2
    assert dataset[1].name == "1"
    assert [record.name for record in dataset] == ["0", "1"]
