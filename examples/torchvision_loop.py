"""A training loop of your own with Smooth IoU in one line: python examples/torchvision_loop.py, seconds."""

import torch
from torch.utils.data import DataLoader
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import smoothiou

torch.manual_seed(0)
images = smoothiou.load_dataset("shapes", split="train", images=12, size=64).torch()  # or a folder of yours
loader = DataLoader(images, batch_size=4, shuffle=True, collate_fn=images.collate)
model = fasterrcnn_mobilenet_v3_large_320_fpn(
    weights=None, weights_backbone=None, num_classes=len(images.classes) + 1, min_size=64, max_size=64
)
smoothiou.set_box_loss(model, "smooth-iou")  # the one line

optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
model.train()
for step, (batch, targets) in enumerate(loader, 1):
    losses = model(batch, targets)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
    print(f"step {step}", {key: round(value.item(), 3) for key, value in losses.items()})
