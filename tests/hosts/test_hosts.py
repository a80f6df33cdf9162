"""Adapters in their hosts: with the host's own loss put in its numbers stay, and examples run.

Needs the packages of the extra `hosts`, and detectron2 on PYTHONPATH for its tests: `make test-hosts`.
"""

from __future__ import annotations

import copy
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.hosts import mmcv_ops

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore")


def run_example(name: str, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, cwd=cwd, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_torchvision_example():
    assert "head_lambda" in run_example("torchvision_detector.py")


class TestUltralytics:
    def step(self, model, batch, change=lambda criterion: None):
        torch.manual_seed(0)
        model.criterion = model.init_criterion()
        change(model.criterion)
        model.zero_grad()
        loss, parts = model(batch)
        loss.sum().backward()
        parts = torch.stack(list(parts.values())) if isinstance(parts, dict) else parts  # by name since 8.4
        return parts.detach().clone(), [p.grad.clone() for p in model.parameters() if p.grad is not None]

    def test_its_own_loss_gives_its_own_numbers(self):
        pytest.importorskip("ultralytics")
        from ultralytics.cfg import get_cfg
        from ultralytics.nn.tasks import DetectionModel
        from ultralytics.utils.metrics import bbox_iou

        from smoothiou.adapters.ultralytics import replace_box_loss

        class CIoU:
            def on_boxes(self, pred, target):
                return 1.0 - bbox_iou(pred, target, xywh=False, CIoU=True).squeeze(-1)

        torch.manual_seed(0)
        model = DetectionModel("yolov8n.yaml", nc=3, verbose=False).train()
        model.args = get_cfg()
        batch = {
            "img": torch.rand(2, 3, 64, 64),
            "cls": torch.tensor([[0.0], [1.0], [2.0]]),
            "bboxes": torch.tensor([[0.5, 0.5, 0.6, 0.5], [0.3, 0.4, 0.4, 0.4], [0.6, 0.6, 0.5, 0.7]]),
            "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
        }
        stock, grads = self.step(copy.deepcopy(model), batch)
        ours, our_grads = self.step(copy.deepcopy(model), batch, lambda c: replace_box_loss(c, CIoU()))
        torch.testing.assert_close(ours, stock, rtol=1e-6, atol=0)
        for mine, theirs in zip(our_grads, grads, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
        other, _ = self.step(copy.deepcopy(model), batch, lambda c: replace_box_loss(c, "smooth-iou"))
        assert other[0] != stock[0]
        assert torch.equal(other[1:], stock[1:])


class TestMMDetection:
    """Its Faster R-CNN, with a smaller backbone."""

    def step(self, config):
        from mmdet.registry import MODELS
        from mmdet.structures import DetDataSample
        from mmengine.registry import init_default_scope
        from mmengine.structures import InstanceData

        init_default_scope("mmdet")
        model = copy.deepcopy(config.model)
        model.backbone.update(depth=18, init_cfg=None)
        model.neck.in_channels = [64, 128, 256, 512]
        torch.manual_seed(0)
        detector = MODELS.build(model).train()
        size = (128, 160)
        sample = DetDataSample(metainfo={"img_shape": size, "pad_shape": size, "batch_input_shape": size})
        boxes = torch.tensor([[10.0, 10, 70, 60], [80, 40, 150, 120]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]))
        losses = detector.loss(torch.rand(1, 3, *size), [sample])
        losses = {name: sum(value) if isinstance(value, list) else value for name, value in losses.items()}
        sum(value for name, value in losses.items() if "loss" in name).backward()
        return losses, [p.grad for p in detector.parameters() if p.grad is not None]

    def test_its_own_loss_gives_its_own_numbers_to_the_last_bit_and_the_example_another(self):
        pytest.importorskip("mmdet")
        mmcv_ops.install()
        from mmengine.config import Config

        class L1:
            def __call__(self, pred, target, **context):
                return (pred - target).abs()

        example = Config.fromfile(str(EXAMPLES / "mmdet_config.py"))
        stock, ours = copy.deepcopy(example), copy.deepcopy(example)
        stock.model.roi_head.bbox_head.loss_bbox = {"type": "L1Loss"}
        ours.model.roi_head.bbox_head.loss_bbox.loss = L1()
        (losses, grads), (our_losses, our_grads) = self.step(stock), self.step(ours)
        assert {k: v.item() for k, v in our_losses.items()} == {k: v.item() for k, v in losses.items()}
        assert all(torch.equal(a, b) for a, b in zip(our_grads, grads, strict=True))
        smooth, _ = self.step(example)
        changed = {name for name, value in smooth.items() if value.item() != losses[name].item()}
        assert changed == {"loss_bbox"}


def test_lightning_example():
    pytest.importorskip("lightning")
    assert "roi_lambda" in run_example("lightning_module.py")


class TestDetectron2:
    def test_its_own_loss_gives_its_own_numbers_to_the_last_bit(self):
        pytest.importorskip("detectron2")
        namespace = runpy.run_path(str(EXAMPLES / "detectron2_rcnn.py"))
        from detectron2.modeling import build_model
        from detectron2.utils.events import EventStorage

        from smoothiou.adapters.detectron2 import set_box_loss

        torch.manual_seed(0)
        stock = build_model(namespace["cfg"]).train()

        def l1(pred, target, *, weights, anchors):  # its default: smooth L1 with beta 0
            return (pred - target).abs()

        def step(model):
            torch.manual_seed(1)
            with EventStorage():
                losses = model(namespace["batch"])
            sum(losses.values()).backward()
            return losses, [p.grad for p in model.parameters() if p.grad is not None]

        ours = set_box_loss(copy.deepcopy(stock), l1)
        losses, grads = step(ours)
        own, own_grads = step(stock)
        assert {key: value.item() for key, value in losses.items()} == {k: v.item() for k, v in own.items()}
        assert all(torch.equal(a, b) for a, b in zip(grads, own_grads, strict=True))
        assert list(ours.state_dict()) == list(stock.state_dict())
