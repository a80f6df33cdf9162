"""Lightning needs no adapter: python examples/lightning_module.py trains a few steps on noise.

Needs `pip install lightning`.
"""

import lightning
import torch
from torch.utils.data import DataLoader

from smoothiou import build_detector
from smoothiou.detectors import box_statistics


class Detector(lightning.LightningModule):
    """A detector whose losses and lambdas are logged."""

    def __init__(self, loss: str = "smooth-iou") -> None:
        super().__init__()
        self.model = build_detector("nano", num_classes=2, loss=loss, min_size=96, max_size=128)

    def training_step(self, batch, index):
        images, targets = batch
        losses = self.model(images, targets)
        self.log_dict({key: value.float() for key, value in {**losses, **box_statistics(self.model)}.items()})
        return sum(losses.values())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def noise():
    target = {"boxes": torch.tensor([[10.0, 12, 60, 80], [70, 20, 120, 90]]), "labels": torch.tensor([1, 2])}
    return torch.rand(3, 96, 128), target


def collate(items):
    return tuple(list(column) for column in zip(*items, strict=True))


if __name__ == "__main__":
    data = DataLoader([noise() for _ in range(4)], batch_size=2, collate_fn=collate)
    trainer = lightning.Trainer(
        max_steps=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Detector(), data)
    print({key: round(value.item(), 3) for key, value in trainer.logged_metrics.items()})
