"""How far `inception-v2` is from TensorFlow: every activation beside the one that the original graph gave.

    python benchmarks/tf_parity.py [--fixtures ../shared/fixtures/inception_v2_tf]

The folder holds a checkpoint that TensorFlow wrote and what its graph made of two images, one of odd and one of even
sides, layer by layer, and their second stage on 6 boxes. The checkpoint is imported; each of our layers is fed with our
own output before it. The error of a tensor is its largest difference, as a share of its largest magnitude; the aim is
1e-4. Exits with 1 where one is beyond it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothiou.detectors.inception_rcnn import build_inception_v2
from smoothiou.detectors.tf_import import load_tf_checkpoint

AIM = 1e-4
XYXY = [1, 0, 3, 2]
"""Our order of TensorFlow's (y1, x1, y2, x2) and of its deltas."""
Pair = tuple[str, Tensor, Tensor]


def maps(array: np.ndarray) -> Tensor:
    """Return TensorFlow's (N, H, W, C) as (N, C, H, W)."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def compare(model: Any, values: Any) -> Iterator[Pair]:
    """Give the name of each tensor of a fixture, ours and TensorFlow's."""
    image = maps(values["input_image_0_255"])[0] / 255
    height, width = image.shape[-2:]
    model.transform.min_size, model.transform.max_size = (height,), width  # the image keeps its size
    batch, _ = model.transform([image])
    yield "preprocessed", batch.tensors, maps(values["preprocessed"])
    x = batch.tensors
    for name, layer in model.backbone.named_children():
        x = layer(x)
        yield name, x, maps(values[name])
    head = model.rpn.head
    yield "rpn_conv_relu6", head.activation(head.conv(x)), maps(values["rpn_conv_relu6"])
    (logits,), (deltas,) = head([x])
    theirs = torch.from_numpy(values["rpn_class_logits"])[0]
    # A row is (y, x, anchor); of two logits ours is the difference, which has the same softmax.
    yield "rpn_class_logits", logits.permute(0, 2, 3, 1).flatten(), theirs[:, 1] - theirs[:, 0]
    ours = deltas.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).reshape(-1, 4)
    yield "rpn_box_encodings", ours, torch.from_numpy(values["rpn_box_encodings"])[0][:, XYXY]
    boxes = torch.from_numpy(values["boxes_normalised_y1x1y2x2"])[:, XYXY] * torch.tensor([width, height] * 2)
    x = model.roi_heads.box_roi_pool({"0": x}, [boxes], batch.image_sizes)
    yield "crops_maxpool_7x7", x, maps(values["crops_maxpool_7x7"])
    for name, layer in model.roi_heads.box_head.named_children():
        x = layer(x)
        yield name, x, maps(values[name])
    pooled = x.mean(dim=(-2, -1))
    yield "roi_avgpool", pooled, torch.from_numpy(values["roi_avgpool"])
    logits, deltas = model.roi_heads.box_predictor(pooled)
    yield "class_logits", logits, torch.from_numpy(values["class_logits"])
    theirs = torch.from_numpy(values["refined_box_encodings"])[..., XYXY]
    yield "refined_box_encodings", deltas.unflatten(1, (-1, 4))[:, 1:], theirs


def main() -> int:
    """Print a table per image and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--fixtures", type=Path, default=Path("../shared/fixtures/inception_v2_tf"))
    folder = parser.parse_args().fixtures
    classes = len(np.load(folder / "activations_odd_97x131.npz")["class_logits"][0])
    model = build_inception_v2(num_classes=classes, pretrained=True, rpn_channels=64, depth_multiplier=0.25)
    imported = load_tf_checkpoint(model.eval(), folder / "model.ckpt")
    print(f"torch {torch.__version__}, float32\n{imported.note}")
    worst = 0.0
    for file in sorted(folder.glob("activations_*.npz")):
        print(f"\n{file.stem}\n{'tensor':<24} {'shape':<22} {'largest error / largest magnitude':>34}")
        with torch.inference_mode():
            for name, ours, theirs in compare(model, np.load(file)):
                if ours.shape != theirs.shape:
                    raise SystemExit(f"{name}: {tuple(ours.shape)} here, {tuple(theirs.shape)} in TensorFlow")
                error = float((ours - theirs).abs().max() / theirs.abs().max())
                worst = worst if error <= worst else error  # NaN is the worst
                print(f"{name:<24} {tuple(ours.shape)!s:<22} {error:>34.1e}")
    print(f"\nlargest of all: {worst:.1e}; the aim is {AIM:.0e}: {'reached' if worst <= AIM else 'missed'}")
    return int(not worst <= AIM)


if __name__ == "__main__":
    sys.exit(main())
