"""What `set_box_loss` costs: a training step through it against stock torchvision, paired and interleaved.

    python benchmarks/adapter_overhead.py [--host fasterrcnn] [--rounds 15] [--device cpu] [--json FILE]

Every round times one forward and backward pass of each variant on the same batch under the same RNG state. The row
"stock again" is a copy of the stock model: its distance from 1 is the noise of the machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from measuring import Report, arguments, interleaved, median, ratio
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from smoothiou.detectors import TorchvisionGIoU, set_box_loss, torchvision_l1, torchvision_smooth_l1

HEIGHT, WIDTH, IMAGES, BOXES = 240, 320, 2, 12


HOSTS = {
    "fasterrcnn": (detection.FasterRCNN, torchvision_smooth_l1),
    "maskrcnn": (detection.MaskRCNN, torchvision_smooth_l1),
    "keypointrcnn": (detection.KeypointRCNN, torchvision_smooth_l1),
    "retinanet": (detection.RetinaNet, torchvision_l1),
    "fcos": (detection.FCOS, TorchvisionGIoU()),
    "ssd": (detection.ssdlite320_mobilenet_v3_large, partial(torchvision_smooth_l1, beta=1.0)),
}
"""By name: torchvision's class or builder, and its own box loss."""


def stock_model(host: str) -> nn.Module:
    """Return one of torchvision's detectors with random weights, on a ResNet-18 pyramid (SSD: on MobileNet V3)."""
    build = HOSTS[host][0]
    if host == "ssd":
        return build(weights=None, weights_backbone=None, num_classes=4).train()
    more = {} if host.endswith("rcnn") else {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5, **more
    )
    return build(backbone, num_classes=4, min_size=HEIGHT, max_size=WIDTH).train()


def random_batch(device: str) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return images of noise with boxes of 20 to 100 pixels, empty masks and keypoints at their centres."""
    images = [torch.rand(3, HEIGHT, WIDTH, device=device) for _ in range(IMAGES)]
    targets = []
    for _ in range(IMAGES):
        size = 20 + 80 * torch.rand(BOXES, 2)
        corner = torch.rand(BOXES, 2) * (torch.tensor([WIDTH, HEIGHT]) - size)
        boxes = torch.cat([corner, corner + size], dim=1).to(device)
        centres = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, torch.ones(BOXES, 1, device=device)], dim=1)
        targets.append(
            {
                "boxes": boxes,
                "labels": torch.randint(1, 4, (BOXES,), device=device),
                "masks": torch.zeros(BOXES, HEIGHT, WIDTH, dtype=torch.uint8, device=device),
                "keypoints": centres[:, None].repeat(1, 17, 1),
            }
        )
    return images, targets


def main() -> None:
    """Measure and print one table."""
    options = arguments(
        __doc__, rounds={"type": int, "default": 15}, host={"choices": list(HOSTS), "default": "fasterrcnn"}
    )
    report = Report("What set_box_loss costs", options.device)
    torch.manual_seed(0)
    stock = stock_model(options.host).to(options.device)
    losses = {"its own loss": HOSTS[options.host][1], "huber": "huber", "smooth-iou": "smooth-iou"}
    models = {"stock": stock, "stock again": copy.deepcopy(stock)}
    models |= {name: set_box_loss(copy.deepcopy(stock), loss) for name, loss in losses.items()}
    batch = random_batch(options.device)

    def step(model: nn.Module) -> Callable[[], None]:
        return lambda: sum(model(*batch).values()).backward()

    def before(name: str) -> None:
        models[name].zero_grad()
        torch.manual_seed(0)

    steps = {name: step(model) for name, model in models.items()}
    interleaved(steps, rounds=2, device=options.device, before=before)  # warms up
    times = interleaved(steps, rounds=options.rounds, device=options.device, before=before)
    rows = [[name, f"{median(own):.4f}", ratio(own, times["stock"])] for name, own in times.items()]
    report.table(
        f"{options.host}, batch {IMAGES} of {WIDTH} x {HEIGHT}, fp32, forward and backward",
        ["variant", "median s", "this / stock (quartiles)"],
        rows,
        f"{options.rounds} rounds.",
    )
    report.write(options.json)


if __name__ == "__main__":
    main()
