"""What `set_box_loss` costs: a training step through it against stock torchvision, paired and interleaved.

    python benchmarks/adapter_overhead.py [--rounds 15] [--device cpu]

Every round times one forward and backward pass of each variant on the same batch under the same RNG state, in
an order that rotates from round to round, so that a noisy or heating machine hits all of them alike. What is
reported is the median over rounds of the ratio to the stock step of the same round, with its quartiles.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from smoothiou.detectors import set_box_loss, torchvision_smooth_l1

HEIGHT, WIDTH, IMAGES, BOXES = 240, 320, 2, 12


def stock_model() -> nn.Module:
    """Return torchvision's Faster R-CNN with a ResNet-18 pyramid and random weights."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    return FasterRCNN(backbone, num_classes=4, min_size=HEIGHT, max_size=WIDTH).train()


def random_batch(device: str) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return images of noise with boxes of 20 to 100 pixels."""
    images = [torch.rand(3, HEIGHT, WIDTH, device=device) for _ in range(IMAGES)]
    targets = []
    for _ in range(IMAGES):
        size = 20 + 80 * torch.rand(BOXES, 2)
        corner = torch.rand(BOXES, 2) * (torch.tensor([WIDTH, HEIGHT]) - size)
        boxes = torch.cat([corner, corner + size], dim=1).to(device)
        targets.append({"boxes": boxes, "labels": torch.randint(1, 4, (BOXES,), device=device)})
    return images, targets


def seconds(step: Callable[[], None], device: str) -> float:
    """Return how long a step takes, the device's own work included."""
    if device != "cpu":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    stock = stock_model().to(arguments.device)
    variants = {
        "stock": stock,
        "stock again": copy.deepcopy(stock),
        "torchvision's smooth L1": set_box_loss(copy.deepcopy(stock), torchvision_smooth_l1),
        "huber": set_box_loss(copy.deepcopy(stock), "huber"),
        "smooth-iou": set_box_loss(copy.deepcopy(stock), "smooth-iou"),
    }
    batch = random_batch(arguments.device)

    def one_step(model: nn.Module) -> Callable[[], None]:
        def step() -> None:
            sum(model(*batch).values()).backward()

        return step

    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(-2, arguments.rounds):  # two rounds to warm up
        for name in names[number % len(names) :] + names[: number % len(names)]:
            variants[name].zero_grad()
            torch.manual_seed(number + 2)
            taken = seconds(one_step(variants[name]), arguments.device)
            if number >= 0:
                times[name].append(taken)

    print(
        f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads, resnet18-fpn, "
        f"batch {IMAGES} of {WIDTH}x{HEIGHT}, fp32, {arguments.rounds} rounds"
    )
    print(f"{'variant':<24} {'median s':>9} {'ratio':>7}   quartiles of the ratio")
    for name, taken in times.items():
        ratios = [own / base for own, base in zip(taken, times["stock"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<24} {statistics.median(taken):>9.4f} {middle:>7.3f}   {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
