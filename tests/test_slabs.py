"""Tensors that stay lie in slabs of their own."""

import pytest
import torch

from smoothiou.data import load_dataset
from smoothiou.data.dataset import DetectionDataset, PreparedDataset
from smoothiou.slabs import SLAB_BYTES, Slabs


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.int64])
def test_kept_tensors_are_copies_side_by_side(dtype: torch.dtype) -> None:
    slabs, generator = Slabs(), torch.Generator().manual_seed(0)
    tensors = [torch.randint(0, 255, (3, 5, n), generator=generator).to(dtype) for n in (7, 1, 64, 0)]
    kept = [slabs.store(tensor) for tensor in tensors]
    tensors = [tensor.clone() for tensor in tensors]
    for old, copy in zip(tensors, kept, strict=True):
        assert torch.equal(copy, old)
        assert copy.data_ptr() % 64 == 0
    assert len({copy.untyped_storage().data_ptr() for copy in kept}) == 1, "all lie in one slab"


def test_a_channels_last_map_keeps_its_layout() -> None:
    maps = torch.randn(1, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    copy = Slabs().store(maps)
    assert copy.stride() == maps.stride()
    assert torch.equal(copy, maps)


def test_what_does_not_fit_begins_a_slab() -> None:
    slabs = Slabs()
    first, second, large = (
        slabs.store(torch.zeros(size, dtype=torch.uint8)) for size in (SLAB_BYTES - 10, 20, SLAB_BYTES + 1)
    )
    assert len({tensor.untyped_storage().data_ptr() for tensor in (first, second, large)}) == 3
    assert large.untyped_storage().nbytes() > SLAB_BYTES, "a larger tensor has a slab of its own size"


def test_a_tensor_with_gaps_stays_where_it_is() -> None:
    rows = torch.zeros(6, 6)[:, ::2]
    assert Slabs().store(rows) is rows


def test_a_cached_example_lies_in_slabs_with_its_smallest_tensors() -> None:
    source = DetectionDataset(load_dataset("shapes", split="train", images=3, size=64), cache_mb=0)
    images = PreparedDataset(source, lambda image, target: (image.float(), target), cache_mb=8)
    first, again = images.example(1, flip=True), images.example(1, flip=True)
    tensors = [first[0], *(value for value in first[1].values() if isinstance(value, torch.Tensor))]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    assert first[0].data_ptr() == again[0].data_ptr()
    assert torch.equal(first[0], source.example(1, flip=True)[0])
    assert torch.equal(first[1]["boxes"], source.example(1, flip=True)[1]["boxes"])
