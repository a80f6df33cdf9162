"""A detector of your own with a box loss of choice: python examples/own_detector.py, seconds."""

from torch import nn
from torchvision.models.detection import FasterRCNN

import smoothiou
from smoothiou.detectors.anchors import torchvision_anchors
from smoothiou.detectors.registry import AnchorLevel


def build_tiny(*, num_classes, pretrained, **settings):
    """torchvision's Faster R-CNN on five convolutions; `num_classes` counts the background."""
    layers = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 64)):  # stride 16
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    backbone = nn.Sequential(*layers, nn.Conv2d(64, 64, 3, padding=1))
    backbone.out_channels = 64
    anchors = torchvision_anchors((AnchorLevel(16, (16, 32, 64)),))
    return FasterRCNN(backbone, num_classes, rpn_anchor_generator=anchors, **settings)


if __name__ == "__main__":
    run = smoothiou.train(
        "shapes", model=build_tiny, loss="smooth-iou", recipe="quick", steps=10, data__images=24, overwrite=True,
        out="runs/own-detector",
    )  # fmt: skip
    image = smoothiou.load_dataset("shapes", split="test", images=24)[0].source.read()
    boxes, scores, names = run.predict(image, score=0.05)
    print(f"AP {run.metrics['AP']:.3f}; {len(boxes)} boxes in the first test image")
