"""The page of a simulation: what its tables, figures and sentence say."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

from smoothiou.errors import DataError
from smoothiou.report.simulation import write_simulation
from smoothiou.report.simulation_tables import ALL_CASES, boxes_table, regression_table, sentence, text_table

STEPS = 201
SHARES = {"0.5": 0.9, "0.75": 0.8, "0.9": 0.7}


def regression(loss: str, gradients: str, *, start: float = 4.0, end: float = 0.01, cases: int = ALL_CASES) -> dict:
    error = np.geomspace(start, end, STEPS).tolist()
    return {
        "kind": "regression", "loss": loss, "gradients": gradients, "points": cases // 343, "cases": cases, "seed": 0,
        "steps": 200, "counted": list(range(0, STEPS, 5)), "error": error,
        "mean_iou": np.linspace(0, 0.9, STEPS).tolist(),
        "above": {above: np.linspace(0, share, 41).tolist() for above, share in SHARES.items()},
        "inverted": [0] * 40 + [3],
        "maps": {
            "distance_edges": np.linspace(0, 3, 13).tolist(),
            "scales": [0.5, 0.67, 0.75, 1, 1.33, 1.5, 2],
            "ratios": [0.25, 0.33, 0.5, 1, 2, 3, 4],
            "error_by_distance_and_scale": [[0.123] * 7] * 11 + [[None] * 7],
        },
        "seconds": 20.0, "workers": 2, "case_steps_per_second": 17e6, "signature": f"signature of {loss} {gradients}",
        "environment": {"versions": {"python": "3", "torch": "2"}, "platform": "here", "cores": 2},
    }  # fmt: skip


def on_boxes(loss: str, *, factor: float = 2.0, middle: float = 0.7) -> dict:
    iou = [*np.linspace(0.5, middle, 100), *np.linspace(middle, 0.95, 101)]
    run = {
        "error": np.geomspace(6, 0.1, STEPS).tolist(),
        "mean_iou": iou,
        "above": dict.fromkeys(("0.5", "0.75", "0.9"), iou),
    }
    table = [[20.0, 40.0], [10.0, None]]
    counts = [[1, 3], [1, 0]]
    return {
        "kind": "boxes", "loss": loss, "source": "labels.json", "boxes": 5, "cases": 5, "seed": 0, "factor": factor,
        "match_gradient": True, "speeds": {"0.25": run, "1": run, "4": None}, "seconds": 1.0,
        "signature": f"signature of {loss} on boxes",
        "maps": {
            "iou_edges": [0.1, 0.5, 0.9], "side_edges": [0.0, 128.0, None], "ratio_edges": [0.0, 1.0, None],
            "steps_by_side": table, "counts_by_side": counts, "steps_by_ratio": table, "counts_by_ratio": counts,
        },
        "environment": {"versions": {"python": "3", "torch": "2"}, "platform": "here", "cores": 2},
    }  # fmt: skip


def leave(tmp_path, results):
    folders = []
    for number, result in enumerate(results):
        folder = tmp_path / f"result-{number}"
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(result))
        uniform = np.random.default_rng(0).uniform(-2, 2, (500, 2))
        np.savez(folder / "arrays.npz", points=uniform, error_by_point=np.full(500, 0.5))
        folders.append(folder)
    return folders


def test_table_of_the_experiment_has_read_offs_beside_its_numbers():
    results = [regression("giou", "published"), regression("giou", "exact", end=0.001), regression("huber", "exact")]
    table = regression_table(results)
    assert [row.head for row in table.rows] == ["giou, published code", "giou, exact", "huber, exact"]
    published = table.rows[0].cells
    expected = ALL_CASES / 1e6 * results[0]["error"][50]
    assert published[0].text == f"{expected:.2f}"
    assert [cell.detail for cell in published[:4]] == ["picture 3.35", "", "picture 1.87", "picture 1.51"]
    assert [cell.detail for cell in table.rows[1].cells[:4]] == [""] * 4
    total = sum(ALL_CASES / 1e6 * error for error in results[0]["error"][1:])
    assert published[4].text == f"{total:.0f}"
    assert published[5].text == "0.900"
    assert [cell.text for cell in published[6:9]] == ["90.0", "80.0", "70.0"]
    assert (published[9].text, published[9].detail) == ("3", "at most 3")
    assert not any("scaled" in note for note in table.notes)


def test_fewer_cases_are_always_said():
    notes = " ".join(regression_table([regression("giou", "exact", cases=343)]).notes)
    assert "Computed on 343 cases; errors are scaled to the paper's 1,715,000" in notes


def test_table_of_real_boxes():
    table = boxes_table([on_boxes("huber"), on_boxes("giou", factor=9.25)])
    row = table.rows[1]
    assert row.head == "giou"
    assert row.cells[0].text == "9.25"
    assert row.cells[-1].detail == "diverged"
    assert row.cells[5].text == "0.950"


def test_the_sentence_follows_the_numbers():
    good, bad = {"end": 0.001}, {"end": 1.0}
    said = sentence(
        [
            regression("giou", "published", **bad), regression("giou", "exact", **good),
            regression("diou", "exact", **bad), on_boxes("huber"), on_boxes("iou", middle=0.8),
        ]
    )  # fmt: skip
    assert "GIoU ends with an error of 1.72 million; with GIoU's own, 0.0017" in said
    assert "GIoU, not DIoU, is ahead over all steps" in said
    assert "iou leads after 50 steps" in said
    assert "DIoU is ahead of GIoU" in sentence(
        [regression("giou", "exact", **bad), regression("diou", "exact", **good)]
    )
    assert sentence([regression("huber", "exact")]) == "1 simulation of box losses."


def test_text_table_keeps_columns_under_their_heads():
    lines = text_table(regression_table([regression("giou", "published"), regression("huber", "exact")])).splitlines()
    assert lines[0] == "The paper's experiment"
    ends = {len(line) for line in lines[-2:]}
    assert len(ends) == 1


def test_page_and_csv(tmp_path):
    names = ["iou", "giou", "diou", "ciou", "l1", "l2", "huber", "mix", "smooth-iou[lam=box]"]
    results = [regression(name, "exact") for name in names]
    results += [regression("giou", "published"), regression("giou-clamped", "published"), on_boxes("huber")]
    page, table = write_simulation(leave(tmp_path, results), tmp_path, command=["smoothiou", "simulate"])
    text = page.read_text()
    bare = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"\b(nan|inf|None)\b", bare)
    assert "mathdefault" not in bare
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    # More than seven losses do not crowd one panel.
    assert "Summed error: exact gradients (iou, giou, diou, ciou, l1, l2, huber)" in text
    assert "Summed error: exact gradients (mix, smooth-iou[lam=box])" in text
    assert "signature of smooth-iou[lam=box] exact" in text
    assert "smoothiou simulate" in text
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 11 * 201 + 2 * 201
    last = next(row for row in rows if row["loss"] == "huber" and row["kind"] == "regression" and row["step"] == "200")
    assert float(last["mean_error"]) == pytest.approx(0.01)
    assert last["above_0.5"] == "0.9"
    assert next(row for row in rows if row["step"] == "1")["above_0.5"] == ""
    again, _ = write_simulation([tmp_path / "result-0"], tmp_path / "other")
    assert "iou, exact" in again.read_text()


def test_a_broken_result_is_named(tmp_path):
    folders = leave(tmp_path, [regression("iou", "exact")])
    (folders[0] / "result.json").write_text("{")
    with pytest.raises(DataError, match="result.json"):
        write_simulation(folders, tmp_path)
