"""Results of the simulation: what they hold, how they are kept, and the successor on real boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from smoothiou.boxes import decode_deltas, encode_boxes
from smoothiou.errors import DataError, DivergedError, SmoothIoUError
from smoothiou.lab import keep as keep_module
from smoothiou.lab.keep import keep
from smoothiou.lab.real_boxes import (
    code_gradient,
    descend_codes,
    draw_proposals,
    matching_factor,
    simulate_boxes,
)
from smoothiou.lab.simulation import simulate
from smoothiou.losses import load_loss

TRUTHS = np.array([[10.0, 20, 50, 40], [0, 0, 7, 90], [100, 100, 400, 380]])


def test_a_result_holds_curves_maps_and_its_signature(tmp_path):
    found = simulate("giou", out=tmp_path, gradients="published", points=3)
    result = found.result
    assert found.fresh
    assert result["cases"] == 3 * 343
    assert len(result["error"]) == len(result["mean_iou"]) == 201
    assert result["counted"] == list(range(0, 201, 5))
    assert {len(shares) for shares in result["above"].values()} == {41}
    assert len(result["inverted"]) == 41
    assert result["signature"].startswith("regression error|loss:giou|gradients:published|cases:1029|seed:0|float32")
    assert result["seconds"] > 0
    with np.load(found.folder / "arrays.npz") as arrays:
        assert arrays["error_by_point"].shape == (3,)
        assert arrays["error_by_point"].mean() == pytest.approx(result["error"][-1], rel=1e-4)
        assert arrays["iou_by_point"].mean() == pytest.approx(result["mean_iou"][-1], rel=1e-4)
    ratios = np.array(result["maps"]["error_by_ratios"])
    assert ratios.shape == (7, 7)
    assert ratios.mean() == pytest.approx(result["error"][-1], rel=1e-4)
    rings = [row for row in result["maps"]["error_by_distance_and_scale"] if row[0] is not None]
    assert 1 <= len(rings) <= 3
    assert len(rings[0]) == 7


def test_a_result_is_computed_once(tmp_path):
    first = simulate("iou", out=tmp_path, gradients="published", points=1)
    again = simulate("iou", out=tmp_path, gradients="published", points=1)
    assert first.fresh
    assert not again.fresh
    assert again.result == first.result
    for changed in ({"points": 2}, {"seed": 1}):
        other = simulate("iou", out=tmp_path, gradients="published", **{"points": 1, **changed})
        assert other.fresh
        assert other.folder != first.folder
    assert simulate("iou", out=tmp_path, gradients="exact", points=1).fresh


def test_a_result_without_its_last_file_is_computed_again(tmp_path):
    first = simulate("iou", out=tmp_path, gradients="published", points=1)
    (first.folder / "result.json").write_text("{")
    assert simulate("iou", out=tmp_path, gradients="published", points=1).fresh
    (first.folder / "arrays.npz").unlink()
    assert simulate("iou", out=tmp_path, gradients="published", points=1).fresh


def test_what_was_finished_stays_when_the_next_is_interrupted(tmp_path):
    kept = simulate("iou", out=tmp_path, gradients="published", points=1)

    def interrupt(step, error, iou):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate("giou", out=tmp_path, gradients="published", points=1, on_step=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [kept.folder.name]
    assert torch.get_num_threads() >= 1


def test_another_program_or_an_edited_loss_computes_anew(tmp_path, monkeypatch):
    def compute():
        return {"seconds": 0.0}, {"x": np.zeros(1)}

    own = tmp_path / "own_kept.py"
    own.write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = {"kind": "test", "loss": "own_kept:thing"}

    def kept(code="lab/cases.py"):
        return keep(tmp_path / "out", config, compute, code=(code,)).fresh

    assert kept()
    assert not kept()
    own.write_text("value = 2\n")
    assert kept()
    assert not kept()
    assert kept("lab/descent.py")
    monkeypatch.setattr(keep_module, "version", lambda: "another")
    assert kept()


def test_progress_is_told_after_every_step(tmp_path):
    told = []
    found = simulate("huber", out=tmp_path, points=1, on_step=lambda *row: told.append(row))
    assert [row[0] for row in told] == list(range(1, 201))
    assert told[-1][1:] == (found.result["error"][-1], found.result["mean_iou"][-1])


# Real boxes.


def test_anchors_have_an_even_iou_and_every_box_is_used_alike():
    proposals = draw_proposals(TRUTHS, cases=3000, seed=1)
    from smoothiou.boxes import aligned_iou

    iou = aligned_iou(proposals.anchors, proposals.targets)
    assert torch.allclose(iou, proposals.iou, atol=1e-4)
    assert iou.min() >= 0.0999
    assert iou.max() <= 0.9001
    counts = torch.histc(proposals.iou, bins=8, min=0.1, max=0.9)
    assert (counts - 375).abs().max() < 90
    used = [(proposals.targets == torch.tensor(truth).float()).all(1).sum().item() for truth in TRUTHS]
    assert used == [1000, 1000, 1000]
    again = draw_proposals(TRUTHS, cases=3000, seed=1)
    assert torch.equal(again.anchors, proposals.anchors)
    assert not torch.equal(draw_proposals(TRUTHS, cases=3000, seed=2).anchors, proposals.anchors)


def test_anchors_differ_in_place_size_and_shape():
    proposals = draw_proposals(TRUTHS[:1], cases=2000)
    deltas = encode_boxes(proposals.anchors, proposals.targets, weights=(1, 1, 1, 1))
    assert (deltas.std(0) > 0.2).all()
    assert (deltas.mean(0).abs() < 0.1).all()
    assert torch.corrcoef(deltas.T)[2, 3].abs() < 0.3


def test_boxes_that_cannot_be_simulated():
    with pytest.raises(DataError, match="no box to simulate"):
        draw_proposals(np.zeros((0, 4)))
    with pytest.raises(DataError, match="without an area"):
        draw_proposals(np.array([[0.0, 0, 0, 5]]))


def test_codes_run_down_huber_by_its_formula():
    # One case whose codes are all within the quadratic part: error shrinks by the factor 1 - rate each step.
    proposals = draw_proposals(TRUTHS[:1], cases=50)
    found = descend_codes(load_loss("l2"), proposals, factor=1.0)
    expected = found.error[0] * 0.9**160 * 0.99**20 * 0.999**20
    assert found.error[-1] == pytest.approx(expected, rel=0.05, abs=1e-5)
    assert found.error[10] == pytest.approx(found.error[0] * 0.9**10, rel=1e-4)
    assert found.mean_iou[0] == pytest.approx(proposals.iou.mean().item(), abs=1e-5)
    assert found.mean_iou[-1] == pytest.approx(1, abs=1e-4)
    assert found.found_at.max() < 60
    assert found.found_at.min() >= 0


def test_found_at_is_the_first_step_above_the_threshold():
    proposals = draw_proposals(TRUTHS, cases=300)
    found = descend_codes(load_loss("huber"), proposals, factor=1.0)
    for step in (5, 20, 40):
        assert (found.found_at <= step).mean() >= found.above[0.9][step] - 1e-6
    target = encode_boxes(proposals.targets, proposals.anchors)
    assert torch.allclose(decode_deltas(target, proposals.anchors), proposals.targets, rtol=1e-4, atol=1e-2)


def test_first_gradients_are_matched():
    proposals = draw_proposals(TRUTHS, cases=500)
    target = encode_boxes(proposals.targets, proposals.anchors)
    norms = []
    for name in ("huber", "giou", "smooth-iou"):
        loss = load_loss(name)
        factor = matching_factor(loss, proposals, name=name)
        gradient = code_gradient(loss, torch.zeros_like(target), target, proposals.anchors)
        norms.append(factor * gradient.norm(dim=1).mean().item())
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-5)
    assert matching_factor(load_loss("huber"), proposals, name="huber") == 1


def test_a_loss_without_a_gradient_cannot_be_matched():
    def flat(pred, target, *, weights, anchors):
        return 0 * (pred - target).sum(-1)

    with pytest.raises(SmoothIoUError, match="cannot be matched"):
        matching_factor(flat, draw_proposals(TRUTHS, cases=10), name="flat")


def test_a_code_that_becomes_no_number_is_told():
    def bad(pred, target, *, weights, anchors):
        return (pred * float("nan")).sum(-1)

    with pytest.raises(DivergedError, match="in step 1"):
        descend_codes(bad, draw_proposals(TRUTHS, cases=10), factor=1.0)


def test_result_on_real_boxes(tmp_path):
    found = simulate_boxes("giou", TRUTHS, out=tmp_path, source="three.json", cases=400)
    result = found.result
    assert set(result["speeds"]) == {"0.25", "1", "4"}
    run = result["speeds"]["1"]
    assert run["mean_iou"][-1] > 0.97
    assert run["mean_iou"][-1] > result["speeds"]["0.25"]["mean_iou"][-1]
    assert run["above"]["0.5"][-1] >= run["above"]["0.75"][-1] >= run["above"]["0.9"][-1] > 0.9
    assert sum(map(sum, result["maps"]["counts_by_side"])) == 400
    assert sum(map(sum, result["maps"]["counts_by_ratio"])) == 400
    assert result["source"] == "three.json"
    assert json.loads((found.folder / "result.json").read_text()) == result
    assert not simulate_boxes("giou", TRUTHS, out=tmp_path, source="three.json", cases=400).fresh
    moved = simulate_boxes("giou", TRUTHS + 1, out=tmp_path, source="three.json", cases=400)
    assert moved.fresh
    plain = simulate_boxes("giou", TRUTHS, out=tmp_path, source="three.json", cases=400, match_gradient=False)
    assert plain.result["factor"] == 10
    assert plain.result["factor"] != result["factor"]


def test_faster_descents_that_diverge_are_said(tmp_path, monkeypatch):
    # Its factor grows with the distance, so that a step four times as long overshoots ever further.
    (tmp_path / "own_steep.py").write_text(
        "def steep(pred, target, *, weights, anchors):\n    return 0.02 * ((pred - target) ** 4).sum(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = simulate_boxes("own_steep:steep", TRUTHS, out=tmp_path, source="x", cases=200, match_gradient=False)
    assert found.result["speeds"]["0.25"] is not None
    assert found.result["speeds"]["1"] is not None
    assert found.result["speeds"]["4"] is None
