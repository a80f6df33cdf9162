"""`LOSSES[name]().on_boxes` is the function; in a detector the module decodes deltas to the same boxes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from smoothiou import boxes
from smoothiou.errors import ConfigError
from smoothiou.losses import LOSSES, SmoothIoU, load_loss, smooth_iou_loss
from tests.losses.cases import (
    INFO,
    OF_DELTAS,
    OVERLAP,
    deltas,
    each_loss,
    each_overlap_loss,
    function,
    random_boxes,
    run,
)


class TestTheModule:
    """`LOSSES[name]().on_boxes` is the function; in a detector the module decodes deltas to the same boxes."""

    @each_loss
    def test_takes_every_box_format(self, name):
        x1, y1, x2, y2 = random_boxes(30).unbind(1)
        u1, v1, u2, v2 = random_boxes(30, seed=1).unbind(1)
        rows = {
            "xyxy": ((x1, y1, x2, y2), (u1, v1, u2, v2)),
            "yxhw": ((y1, x1, y2 - y1, x2 - x1), (v1, u1, v2 - v1, u2 - u1)),
            "xywh": ((x1, y1, x2 - x1, y2 - y1), (u1, v1, u2 - u1, v2 - v1)),
            "cxcywh": (
                ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
                ((u1 + u2) / 2, (v1 + v2) / 2, u2 - u1, v2 - v1),
            ),
        }
        assert set(rows) == set(boxes.BOX_FORMATS)
        loss, l1 = load_loss(name), load_loss("l1")
        corners = [torch.stack(row, 1) for row in rows["xyxy"]]
        torch.testing.assert_close(loss.on_boxes(*corners), function(name)(*corners))
        for box_format, columns in rows.items():
            pred, target = (torch.stack(row, 1) for row in columns)
            value = loss.on_boxes(pred, target, box_format=box_format)
            if name in OVERLAP:
                torch.testing.assert_close(value, function(name)(*corners))
            elif name in OF_DELTAS:  # differences of the four numbers as they are
                assert torch.equal(value, loss(pred, target))
            elif name == "l1-giou":
                torch.testing.assert_close(value, 5 * l1(pred, target) + 2 * function("giou")(*corners))
            else:
                lam = loss.last_lambda
                parts = lam * function("iou")(*corners) + (1 - lam) * load_loss("huber")(pred, target)
                torch.testing.assert_close(value, parts)
        with pytest.raises(ConfigError, match="xyhw"):
            loss.on_boxes(pred, target, box_format="xyhw")

    def anchored(self) -> tuple[Tensor, Tensor, Tensor]:
        """Deltas, target deltas, and the anchors that they are relative to, no two of one shape."""
        anchors, pred, target = (random_boxes(200, seed=seed) for seed in (5, 6, 7))
        return boxes.encode_boxes(pred, anchors), boxes.encode_boxes(target, anchors), anchors

    def on_decoded(self, loss: Callable[..., Tensor], anchors: Tensor) -> Callable[..., Tensor]:
        return lambda *pair: loss(*(boxes.decode_deltas(rows, anchors) for rows in pair))

    @each_overlap_loss
    def test_on_deltas_it_is_the_loss_of_the_decoded_boxes(self, name):
        pred, target, anchors = self.anchored()
        value, gradient = run(LOSSES[name](), pred, target, anchors=anchors)
        in_pixels, pixel_gradient = run(self.on_decoded(function(name), anchors), pred, target)
        torch.testing.assert_close(value, in_pixels, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, pixel_gradient, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 5.0, 2.0, 1.0)])
    @each_overlap_loss
    def test_with_the_weights_that_the_deltas_were_multiplied_by(self, name, weights):
        anchors, pred, target = (random_boxes(20, seed=seed) for seed in (5, 6, 7))
        encoded = (boxes.encode_boxes(rows, anchors, weights=weights) for rows in (pred, target))
        value = LOSSES[name]()(*encoded, anchors=anchors, weights=weights)
        torch.testing.assert_close(value, function(name)(pred, target), rtol=1e-9, atol=1e-9)

    @each_loss
    def test_depends_on_the_anchors_as_described(self, name):
        rows = deltas(200)
        other = rows["anchors"].clone()
        other[:, 2] += 100
        value, with_others = (LOSSES[name]()(rows["pred"], rows["target"], anchors=a) for a in (rows["anchors"], other))
        assert torch.equal(value, with_others) == (INFO[name].frame == "any")
        if INFO[name].frame == "size":
            with pytest.raises(ConfigError, match="anchors"):
                LOSSES[name]()(rows["pred"], rows["target"])
            return
        square = torch.tensor([[0.0, 0.0, 7.0, 7.0]]).repeat(200, 1)
        without = LOSSES[name]()(rows["pred"], rows["target"])
        assert torch.equal(without, LOSSES[name]()(rows["pred"], rows["target"], anchors=square))
        if INFO[name].frame == "pixels":
            in_sides = function(name)(*(boxes.decode_unit(rows[key]) for key in ("pred", "target")))
            of_anchor = load_loss(name, frame="anchor")(rows["pred"], rows["target"], anchors=other)
            torch.testing.assert_close(of_anchor, in_sides, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("lam", ["batch", "box", 0.3])
    def test_smooth_iou_of_pixel_corners_is_algorithm_1(self, lam):
        pred, target, anchors = self.anchored()
        value, gradient = run(SmoothIoU(huber_on="corners", lam=lam), pred, target, anchors=anchors)
        algorithm_1 = self.on_decoded(lambda *pair: smooth_iou_loss(*pair, lam=lam), anchors)
        in_pixels, pixel_gradient = run(algorithm_1, pred, target)
        torch.testing.assert_close(value, in_pixels, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, pixel_gradient, rtol=1e-9, atol=1e-9)

    def test_l1_giou_measures_deltas_before_their_weights(self):
        pred, target, anchors = self.anchored()
        in_sides = (pred - target).abs() / torch.tensor(boxes.DELTA_WEIGHTS, dtype=torch.float64)
        giou = self.on_decoded(function("giou"), anchors)(pred, target)
        torch.testing.assert_close(load_loss("l1-giou")(pred, target), 5 * in_sides.sum(1) + 2 * giou)
