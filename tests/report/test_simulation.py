"""The page of a simulation: what its tables, figures and sentence say."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest

from smoothiou.report.simulation_page import PAPER_CASES, boxes_table, regression_table, sentence, write_simulation
from smoothiou.report.text_table import text_table

STEPS = 201
SHARES = {"0.5": 0.9, "0.75": 0.8, "0.9": 0.7}


def regression(loss: str, gradients: str, *, start: float = 4.0, end: float = 0.01) -> dict:
    return {
        "kind": "regression", "loss": loss, "gradients": gradients, "cases": 1000, "seed": 0, "steps": 200,
        "error": np.geomspace(start, end, STEPS).tolist(), "mean_iou": np.linspace(0, 0.9, STEPS).tolist(),
        "above": {above: np.linspace(0, share, STEPS).tolist() for above, share in SHARES.items()},
        "inverted": [0] * 200 + [30], "seconds": 20.0, "signature": f"signature of {loss} {gradients}",
    }  # fmt: skip


def on_boxes(loss: str, *, factor: float = 2.0, middle: float = 0.7) -> dict:
    iou = [*np.linspace(0.5, middle, 100), *np.linspace(middle, 0.95, 101)]
    above = dict.fromkeys(("0.5", "0.75", "0.9"), iou)
    trace = {"error": np.geomspace(6, 0.1, STEPS).tolist(), "mean_iou": iou, "above": above, "inverted": [0] * STEPS}
    return {
        "kind": "boxes", "loss": loss, "source": "labels.json", "boxes": 5, "cases": 5, "seed": 0, "factor": factor,
        "match_gradient": True, "speeds": {"0.25": trace, "1": trace, "4": None}, "seconds": 1.0,
        "signature": f"signature of {loss} on boxes",
    }  # fmt: skip


def test_table_of_the_experiment_has_the_pictures_numbers_beside_its_own():
    results = [regression("giou", "published"), regression("giou", "exact", end=0.001), regression("huber", "exact")]
    table = regression_table(results)
    assert [row.head for row in table.rows] == ["giou, published code", "giou, exact", "huber, exact"]
    published = table.rows[0].cells
    assert published[0].text == f"{PAPER_CASES / 1e6 * results[0]['error'][50]:.2f}"
    assert [cell.detail for cell in published[:4]] == ["picture 3.35", "", "picture 1.87", "picture 1.51"]
    assert [cell.detail for cell in table.rows[1].cells[:4]] == [""] * 4
    total = sum(PAPER_CASES / 1e6 * error for error in results[0]["error"][1:])
    assert [cell.text for cell in published[4:]] == [f"{total:.0f}", "0.900", "90.0", "80.0", "70.0", "3.0"]
    assert "1,000 cases" in " ".join(table.notes)


def test_table_of_real_boxes():
    row = boxes_table([on_boxes("huber"), on_boxes("giou", factor=9.25)]).rows[1]
    assert (row.head, row.cells[0].text, row.cells[5].text) == ("giou", "9.25", "0.950")
    assert row.cells[-1].detail == "diverged"


def test_the_sentence_follows_the_numbers():
    good, bad = {"end": 0.001}, {"end": 1.0}
    result = sentence(
        [
            regression("giou", "published", **bad), regression("giou", "exact", **good),
            regression("diou", "exact", **bad), on_boxes("huber"), on_boxes("iou", middle=0.8),
        ]
    )  # fmt: skip
    for part in ("1.72 million", "0.0017", "GIoU, not DIoU, is ahead", "iou leads after 50 steps"):
        assert part in result
    swapped = [regression("giou", "exact", **bad), regression("diou", "exact", **good)]
    assert "DIoU is ahead of GIoU" in sentence(swapped)
    assert sentence([regression("huber", "exact")])


def test_text_table_keeps_columns_under_their_heads():
    lines = text_table(regression_table([regression("giou", "published"), regression("huber", "exact")])).splitlines()
    assert lines[0] == "The paper's experiment"
    assert len({len(line) for line in lines[-2:]}) == 1


def test_page_and_csv(tmp_path):
    names = ["iou", "giou", "diou", "ciou", "l1", "l2", "huber", "mix", "smooth-iou[lam=box]"]
    results = [regression(name, "exact") for name in names]
    results += [regression("giou", "published"), regression("giou-clamped", "published"), on_boxes("huber")]
    page, table = write_simulation(results, tmp_path, command=["smoothiou", "simulate"])
    text = page.read_text()
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text.count("<figure>") == 3
    for part in ("signature of smooth-iou[lam=box] exact", "smoothiou simulate", "giou-clamped, published code"):
        assert part in text
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(rows) == 11 * 201 + 2 * 201
    last = next(row for row in rows if row["loss"] == "huber" and row["kind"] == "regression" and row["step"] == "200")
    assert float(last["mean_error"]) == pytest.approx(0.01)
    assert last["above_0.5"] == "0.9"
