"""Adapters against the documented calls of their hosts; `tests/hosts` has the hosts themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothiou.adapters import detectron2, ultralytics
from smoothiou.adapters.mmdet import SmoothIoUBoxLoss
from smoothiou.boxes import encode_boxes
from smoothiou.errors import ConfigError
from smoothiou.losses import giou_loss, load_loss
from tests.losses.cases import random_boxes


class TestUltralytics:
    class BboxLoss(nn.Module):
        """The call of Ultralytics' class; its results are told apart by their values."""

        def forward(
            self, pred_dist, pred_bboxes, anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask, *more
        ):
            return torch.tensor(1.0), torch.tensor(2.0)

    class Criterion:
        def __init__(self):
            self.bbox_loss = TestUltralytics.BboxLoss()

    def arguments(self):
        pred, target = random_boxes(6, seed=1).view(2, 3, 4), random_boxes(6, seed=2).view(2, 3, 4)
        scores = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        mask = torch.tensor([[True, False, True], [False, False, True]])
        return None, pred, None, target, scores, scores.sum(), mask

    def test_the_overlap_term_alone_is_replaced_with_yolos_weights_and_divisor(self):
        criterion = ultralytics.replace_box_loss(self.Criterion(), "giou", weight=3.0)
        arguments = self.arguments()
        _, pred, _, target, scores, total, mask = arguments
        loss, distribution = criterion.bbox_loss(*arguments, "imgsz", "stride")
        each = giou_loss(pred[mask].float(), target[mask].float())
        torch.testing.assert_close(loss, 3 * (each * scores.sum(-1)[mask]).sum() / total)
        assert distribution == 2.0
        assert list(criterion.bbox_loss.state_dict()) == []

    def test_a_later_call_replaces_and_criteria_of_several_heads_get_it_in_each(self):
        class Both:
            one2many, one2one = self.Criterion(), self.Criterion()

        both = ultralytics.replace_box_loss(ultralytics.replace_box_loss(Both(), "iou"), "diou")
        for part in (both.one2many, both.one2one):
            assert type(part.bbox_loss).__mro__.count(ultralytics._Replaced) == 1
            assert type(part.bbox_loss.replacement[0]).__name__ == "DIoU"

    def test_mistakes(self):
        with pytest.raises(ConfigError, match="bbox_loss"):
            ultralytics.replace_box_loss(nn.Linear(1, 1), "giou")
        with pytest.raises(ConfigError, match="on_boxes"):
            ultralytics.replace_box_loss(self.Criterion(), lambda pred, target, **_: pred.sum(1))
        with pytest.raises(ConfigError, match="smooth-iou"):
            ultralytics.box_loss_callback("smoth-iou")


class TestMMDetection:
    """`loss_bbox(pred, target, weight, avg_factor=..., reduction_override=...)`."""

    def test_of_boxes_and_of_deltas(self):
        pred, target, anchors = (random_boxes(5, seed=seed) for seed in (1, 2, 3))
        boxes = SmoothIoUBoxLoss("giou", loss_weight=2.0)(pred, target, avg_factor=10)
        torch.testing.assert_close(boxes, 2 * giou_loss(pred, target).sum() / 10)
        encoded = [encode_boxes(rows, anchors) for rows in (pred, target)]
        deltas = SmoothIoUBoxLoss("smooth-iou", decoded=False)(*encoded, avg_factor=10)
        torch.testing.assert_close(deltas, load_loss("smooth-iou")(*encoded).sum() / 10)

    def test_weights_and_reductions(self):
        pred, target = random_boxes(4, seed=1), random_boxes(4, seed=2)
        weight = torch.tensor([1.0, 0.0, 0.5, 1.0], dtype=torch.float64)
        loss, each = SmoothIoUBoxLoss("iou"), load_loss("iou").on_boxes(pred, target) * weight
        torch.testing.assert_close(loss(pred, target, weight, reduction_override="none"), each)
        torch.testing.assert_close(loss(pred, target, weight[:, None].expand(4, 4)), each.mean())
        torch.testing.assert_close(loss(pred, target, weight, reduction_override="sum"), each.sum())
        assert loss(pred[:0], target[:0], avg_factor=1) == 0
        with pytest.raises(ConfigError, match="reduction"):
            loss(pred, target, reduction_override="avg")


class TestDetectron2:
    class Transform:
        weights = (10.0, 10.0, 5.0, 5.0)

        def get_deltas(self, boxes, gt_boxes):
            return encode_boxes(gt_boxes, boxes, weights=self.weights)

    class Predictor(nn.Module):
        num_classes = 3

        def __init__(self):
            super().__init__()
            self.bbox_pred = nn.Linear(2, 4)
            self.box2box_transform = TestDetectron2.Transform()

    def test_positives_of_their_own_class_by_the_number_of_all_boxes(self):
        model = nn.ModuleList([self.Predictor()])
        detectron2.set_box_loss(model, "giou", stages=("roi",))
        boxes, gt_boxes, pred = (random_boxes(4, seed=seed).float() for seed in (1, 2, 3))
        classes = torch.tensor([0, 2, 3, -1])  # 3 is the background, -1 is ignored
        deltas = torch.zeros(4, 3, 4)
        deltas[[0, 1], [0, 2]] = encode_boxes(pred, boxes)[:2]
        loss = model[0].box_reg_loss(boxes, gt_boxes, deltas.flatten(1), classes)
        torch.testing.assert_close(loss, giou_loss(pred, gt_boxes)[:2].sum() / 4, rtol=1e-4, atol=1e-5)
        agnostic = model[0].box_reg_loss(boxes, gt_boxes, encode_boxes(pred, boxes), classes)
        torch.testing.assert_close(agnostic, loss)
        assert model[0].box_reg_loss(boxes, gt_boxes, deltas.flatten(1), torch.full((4,), 3)) == 0

    def test_mistakes(self):
        with pytest.raises(ConfigError, match="GeneralizedRCNN"):
            detectron2.set_box_loss(nn.Linear(1, 1), "giou")
        with pytest.raises(ConfigError, match="rpn"):
            detectron2.set_box_loss(nn.Linear(1, 1), "giou", stages=("rnp",))
