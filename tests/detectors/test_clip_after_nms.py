"""Proposals and detections in TensorFlow's order, against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smoothiou.boxes import decode_deltas
from smoothiou.detectors import detect
from smoothiou.detectors.clip_after_nms import PER_CLASS, best_after_nms
from tests.detectors.inception import batch, greedy, some_boxes, tiny


@pytest.mark.parametrize("count", [1, 5, 20, 1000])
def test_a_part_of_the_boxes_is_enough(count):
    boxes, scores = some_boxes(400), torch.rand(400, generator=torch.Generator().manual_seed(1))
    found = best_after_nms(boxes, scores, iou=0.3, count=count)
    assert found.tolist() == greedy(boxes.numpy(), scores.numpy(), 0.3, count)
    assert best_after_nms(boxes[:0], scores[:0], iou=0.3, count=count).tolist() == []


def test_all_boxes_are_looked_at_where_a_part_is_not_enough():
    # The 300 best are one box, of which one stays; the other nine come after them.
    boxes = torch.cat(
        (torch.tensor([[0.0, 0, 9, 9]]).repeat(300, 1), torch.arange(1.0, 10)[:, None] * 20 + torch.arange(4))
    )
    scores = torch.linspace(1, 0, len(boxes))
    assert best_after_nms(boxes, scores, iou=0.5, count=4).tolist() == [0, 300, 301, 302]
    assert best_after_nms(boxes, scores, iou=0.5, count=50).tolist() == [0, *range(300, 309)]


def test_proposals_by_their_definition():
    model = tiny(rpn_post_nms_top_n_test=20).eval()
    boxes = torch.stack([some_boxes(200), some_boxes(200, seed=2)])
    logits = torch.randn(400, 1, generator=torch.Generator().manual_seed(1))
    anchors = model.rpn.anchor_generator
    anchors.usable = [torch.arange(200) % 7 > 0] * 2
    found, found_scores = model.rpn.filter_proposals(boxes, logits, [(80, 70), (60, 90)], [200])
    for index, (height, width) in enumerate([(80, 70), (60, 90)]):
        rows = torch.where(anchors.usable[index])[0]
        own, scores = boxes[index, rows].numpy(), logits.view(2, 200).sigmoid()[index, rows].numpy()
        kept = greedy(own, scores, 0.7, 20)
        expected = np.clip(own[kept], 0, [width, height, width, height])
        visible = ((expected[:, 2:] - expected[:, :2]) >= 1e-3).all(1)
        assert 0 < visible.sum() < 20  # some lie outside: they take a place, and are then dropped
        np.testing.assert_array_equal(found[index].numpy(), expected[visible])
        np.testing.assert_array_equal(found_scores[index].numpy(), scores[kept][visible])


def test_detections_by_their_definition():
    model = tiny(box_detections_per_img=30, box_score_thresh=0.1).eval()
    generator = torch.Generator().manual_seed(3)
    proposals = [some_boxes(60), some_boxes(40, seed=4)]
    logits = torch.randn(100, 3, generator=generator)
    deltas = torch.randn(100, 12, generator=generator)
    found, scores, labels = model.roi_heads.postprocess_detections(logits, deltas, proposals, [(80, 70), (60, 90)])
    probabilities = logits.softmax(dim=1)
    for index, rows in enumerate((slice(0, 60), slice(60, 100))):
        height, width = [(80, 70), (60, 90)][index]
        expected = []
        for label in (1, 2):
            boxes = decode_deltas(deltas[rows, 4 * label : 4 * label + 4], proposals[index]).numpy()
            own = probabilities[rows, label].numpy()
            likely = np.where(own > 0.1)[0]
            for row in likely[greedy(boxes[likely], own[likely], 0.6, 100)]:
                expected.append((own[row], label, *np.clip(boxes[row], 0, [width, height, width, height])))
        expected.sort(key=lambda row: -row[0])
        expected = [row for row in expected if row[4] - row[2] >= 1e-2 and row[5] - row[3] >= 1e-2][:30]
        assert len(expected) == 30
        got = torch.cat((scores[index][:, None], labels[index][:, None], found[index]), dim=1)
        torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-4)


def test_one_class_has_at_most_a_hundred_detections():
    model = tiny(box_detections_per_img=300, box_score_thresh=0.0).eval()
    corner = torch.stack(torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij"), -1).view(-1, 2) * 10
    proposals = torch.cat((corner, corner + 8), dim=1)
    logits = torch.tensor([[0.0, 3.0, -9.0]]).repeat(144, 1)
    _, _, (labels,) = model.roi_heads.postprocess_detections(logits, torch.zeros(144, 12), [proposals], [(200, 200)])
    assert labels.bincount().tolist() == [0, PER_CLASS, PER_CLASS]


def test_images_without_proposals_or_detections():
    model = tiny(box_score_thresh=0.9999).eval()
    assert [len(found["boxes"]) for found in detect(model, batch()[0])] == [0, 0]
    found = model.roi_heads.postprocess_detections(torch.zeros(0, 3), torch.zeros(0, 12), [torch.zeros(0, 4)], [(9, 9)])
    assert [len(each[0]) for each in found] == [0, 0, 0]


@pytest.mark.parametrize("iou", ["0.6", "0.7"])
def test_suppression_is_tensorflows(tensorflow, iou):
    # Ten of the boxes have the score of another.
    values = np.load(tensorflow / "ops_reference.npz")
    boxes, scores = torch.from_numpy(values["nms_boxes"]), torch.from_numpy(values["nms_scores"])
    assert best_after_nms(boxes, scores, iou=float(iou), count=100).tolist() == values[f"nms_keep_iou{iou}"].tolist()
