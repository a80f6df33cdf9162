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


def test_mmengine_builds_the_loss_from_a_configuration():
    mmengine = pytest.importorskip("mmengine")
    registry = mmengine.Registry("losses")
    config = runpy.run_path(str(EXAMPLES / "mmdet_config.py"))["model"]["roi_head"]["bbox_head"]["loss_bbox"]
    loss = registry.build({key: value for key, value in config.items() if key != "_delete_"})
    pred = torch.zeros(3, 4, requires_grad=True)
    value = loss(pred, torch.ones(3, 4), avg_factor=3)
    value.backward()
    assert value > 0
    assert pred.grad is not None


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
