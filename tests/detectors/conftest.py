"""Small detectors and batches that the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from smoothiou.detectors.nano import build_nano

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


@pytest.fixture
def stock() -> FasterRCNN:
    """torchvision's own Faster R-CNN with a small backbone; images of 64 pixels keep their size."""
    torch.manual_seed(0)
    return build_nano(num_classes=4, min_size=64, max_size=96).train()


@pytest.fixture
def batch() -> Batch:
    """Two images of different size with five boxes of three classes; both are resized by the model."""
    generator = torch.Generator().manual_seed(1)
    images = [torch.rand(3, 80, 100, generator=generator), torch.rand(3, 64, 64, generator=generator)]
    targets = [
        {
            "boxes": torch.tensor([[5.0, 6, 40, 50], [30, 20, 90, 75], [60, 5, 95, 30]]),
            "labels": torch.tensor([1, 2, 3]),
        },
        {"boxes": torch.tensor([[2.0, 3, 30, 33], [20, 10, 60, 60]]), "labels": torch.tensor([3, 1])},
    ]
    return images, targets


@pytest.fixture(scope="session")
def tensorflow() -> Path:
    """The folder of values that the original graph gave under TensorFlow; it lies beside a checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "inception_v2_tf"
    if not folder.is_dir():
        pytest.skip("TensorFlow's reference values (../shared/fixtures/inception_v2_tf) are not beside this checkout")
    return folder
