"""Any torchvision detector with a box loss of choice, a few steps on noise: python examples/torchvision_detector.py."""

import torch
from torchvision.models.detection import retinanet_resnet50_fpn_v2

from smoothiou import set_box_loss
from smoothiou.detectors import box_statistics

torch.manual_seed(0)
model = retinanet_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=3, min_size=96, max_size=128)
set_box_loss(model, "smooth-iou", weight=2.0)  # the one line

optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
images = [torch.rand(3, 96, 128)]
targets = [{"boxes": torch.tensor([[10.0, 12, 60, 80], [70, 20, 120, 90]]), "labels": torch.tensor([1, 2])}]
for step in range(3):
    losses = model.train()(images, targets)
    sum(losses.values()).backward()
    optimizer.step()
    optimizer.zero_grad()
    told = {key: round(value.item(), 3) for key, value in {**losses, **box_statistics(model)}.items()}
    print(f"step {step + 1}", told)
