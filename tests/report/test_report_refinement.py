"""The probe beside Table 2: curves, paired differences, and nothing where no cell holds it."""

from __future__ import annotations

import json

from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.pages import Page, rows


def test_the_page_shows_curves_and_the_one_interval_of_the_refined_boxes(study, page):
    found = json.loads((study / "comparison.json").read_text())["probe"]
    mean = next(row for row in found["differences"] if row["metric"] == "refined_mean_iou")
    for title in ("IoU after, against IoU before", "The same, minus huber", "Share above an IoU, minus huber"):
        assert title in page.text
    shown, over_images = (
        f"[{ends['low']:+.4f}, {ends['high']:+.4f}]".replace("-", "−") for ends in (mean, mean["images"])
    )
    assert shown in page.text
    assert over_images not in page.text
    assert "before refinement" in page.text
    assert "before ≥ .75" in page.text
    assert "table-refinement" in page.ids
    table = (study / "report.md").read_text()
    assert "Refined boxes against huber" in table


def test_its_numbers_are_in_the_csv(study):
    found = [row for row in rows(study) if row["part"] == "refinement"]
    assert {row["metric"] for row in found} >= {"refined_mean_iou", "refined_above_75", "refined_curve"}
    assert {"mean", "low", "low over images"} <= {row["statistic"] for row in found}


def test_a_study_of_before_has_none_and_says_the_rest(without_panels, tmp_path):
    folder = make_study(tmp_path)
    content = json.loads((folder / "comparison.json").read_text())
    del content["probe"]
    (folder / "comparison.json").write_text(json.dumps(content))
    write_report(folder)
    text = Page((folder / "report.html").read_text()).text
    assert "IoU after, against IoU before" not in text
    assert "Mean IoU, all boxes" in text
