"""Reports whatever is missing: seeds, losses, results, pictures, the plan."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from smoothiou.errors import DataError
from smoothiou.report.training_curves import read_curves
from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.pages import Page, rows


def test_one_seed_proves_nothing_and_says_so(without_panels, tmp_path):
    write_report(make_study(tmp_path, seeds=(0,), comparison=False, validation=False))
    text = Page((tmp_path / "report.html").read_text()).text
    assert "one seed proves nothing" in text
    assert "No bootstrap over images was computed" in text
    assert "No images were chosen" in text
    assert "Validation AP" not in text
    assert "better" not in text.split("Localization")[0]


def test_one_loss_alone_has_tables_but_no_comparison(without_panels, tmp_path):
    write_report(make_study(tmp_path, losses=("smooth-iou",)))
    text = Page((tmp_path / "report.html").read_text()).text
    assert "one loss: nothing to compare" in text
    assert "Wins" not in text
    assert not [row for row in rows(tmp_path) if row["part"] == "difference"]


def test_failed_runs_are_shown_with_their_error(without_panels, tmp_path):
    write_report(make_study(tmp_path, failed=["smooth-iou-seed1"], missing=["huber-seed2"]))
    page = Page((tmp_path / "report.html").read_text())
    assert "2 of 6 runs have no result" in page.text
    assert "step 200: loss_box_reg is NaN <b>" in page.text
    assert "huber-seed2" in page.text
    assert "step 200: loss\\_box\\_reg is NaN" in (tmp_path / "report.md").read_text()
    failed = json.loads((tmp_path / "results.json").read_text())["failed"]
    assert [run["id"] for run in failed] == ["huber-seed2", "smooth-iou-seed1"]
    # the part that the failed run did train is a line of its own, up to where it stopped
    stopped = [float(row["x"]) for row in rows(tmp_path) if row["part"] == "training" and row["seed"] == "1"]
    assert max(stopped) == 200


def test_study_without_any_result_still_has_a_page(without_panels, tmp_path):
    losses, seeds = ("huber", "smooth-iou"), (0, 1)
    write_report(
        make_study(
            tmp_path,
            seeds=seeds,
            comparison=False,
            missing=[f"{loss}-seed{s}" for loss in losses for s in seeds],
        )
    )
    text = Page((tmp_path / "report.html").read_text()).text
    assert "4 of 4 runs have no result" in text
    assert "No run has written a row of metrics.csv" in text


@pytest.mark.slow
def test_losses_with_options_and_many_of_them(without_panels, tmp_path):
    losses = ("huber", "smooth-iou", "smooth-iou[lam=box,delta=1]", "giou", "iou", "ciou", "diou", "l1")
    write_report(make_study(tmp_path, losses=losses, seeds=(0, 1), gallery=0, rates={"giou": 0.002}))
    page = Page((tmp_path / "report.html").read_text())
    assert "smooth-iou[lam=box,delta=1]" in page.text
    assert "Learning rates differ" in page.text
    assert "optim.lr : 0.001 in huber-seed0" in page.text
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


def test_folder_without_a_plan_is_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="plan"):
        write_report(tmp_path)


def test_curves_leave_out_what_was_not_measured(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,rpn_lambda,val_AP\n10,1.5,,\n20,nan,,0.1\n20,1.25,,0.2\n30,half\n")
    # step 20 was written twice (a resumed run): the later row counts; the cut last row gives nothing
    assert read_curves(path) == {"loss": [(10.0, 1.5), (20.0, 1.25)], "val_AP": [(20.0, 0.2)]}


def test_gallery_without_its_file_still_shows_the_boxes(without_panels, tmp_path):
    make_study(tmp_path)
    (tmp_path / "gallery/0001.jpg").unlink()
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count("data:image/jpeg") == 1
    assert '<rect id="photo-1"' in text
