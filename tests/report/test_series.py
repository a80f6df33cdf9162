"""The numbers behind the figures: averages that do not bend, lines that do not hide a stopped run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothiou.report.loaded_study import load_study
from smoothiou.report.series import ap_panels, class_differences, forest, training_panels
from smoothiou.report.training_curves import POINTS, moving_average, thin, window
from tests.report.fake_study import make_study


def test_average_of_a_straight_line_is_the_line():
    line = [(float(step), 3.0 - 0.5 * step) for step in range(200)]
    assert [value for _, value in moving_average(line)] == pytest.approx([value for _, value in line])


def test_average_of_a_saw_is_flat_inside():
    saw = [(float(step), float(step % 2)) for step in range(400)]
    inside = [value for _, value in moving_average(saw)][30:-30]
    # a window of 19 or 21 points holds one more of one kind than of the other
    assert max(inside) - min(inside) < 0.06


@pytest.mark.parametrize(("count", "width"), [(1, 1), (40, 3), (59, 3), (400, 21), (20_000, 1001)])
def test_window_is_odd_and_about_a_twentieth(count, width):
    assert window(count) == width


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=700))
def test_thinning_keeps_the_first_and_the_last_point(values):
    points = [(float(step), value) for step, value in enumerate(values)]
    kept = thin(points)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert len(kept) <= POINTS + 1
    assert set(kept) <= set(points)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300))
def test_average_stays_between_the_extremes(values):
    smooth = [value for _, value in moving_average([(float(step), value) for step, value in enumerate(values)])]
    assert min(smooth) >= min(values) - 1e-6
    assert max(smooth) <= max(values) + 1e-6


def test_band_reaches_from_the_lowest_to_the_highest_seed(tmp_path):
    material = load_study(make_study(tmp_path))
    line = ap_panels(material)[0].lines[0]
    at_half = [100 * result["ap_by_iou"]["0.50"] for result in material.results("huber").values()]
    assert line.x[0] == 0.5
    assert (line.low[0], line.high[0]) == pytest.approx((min(at_half), max(at_half)))
    assert line.mean[0] == pytest.approx(sum(at_half) / 3)


def test_difference_at_each_threshold_is_paired_by_seed(tmp_path):
    material = load_study(make_study(tmp_path, failed=["huber-seed0"]))
    line = ap_panels(material)[1].lines[0]
    base, other = material.results("huber"), material.results("smooth-iou")
    paired = [100 * (other[seed]["ap_by_iou"]["0.75"] - base[seed]["ap_by_iou"]["0.75"]) for seed in (1, 2)]
    assert line.seeds == 2
    assert line.mean[line.x.index(0.75)] == pytest.approx(sum(paired) / 2)


def test_stopped_run_is_a_line_of_its_own(tmp_path):
    material = load_study(make_study(tmp_path, failed=["smooth-iou-seed1"]))
    lines = training_panels(material)[0].lines
    assert [(line.loss, line.seeds, line.stopped) for line in lines] == [
        ("huber", 3, None),
        ("smooth-iou", 2, None),
        ("smooth-iou", 1, 1),
    ]


def test_losses_on_the_val_split_are_panels_of_their_own_and_not_smoothed(tmp_path):
    folder = make_study(tmp_path)
    steps = range(1, 61)
    for cell in (folder / "cells").iterdir():
        rows = "".join(f"{step},{step % 2},{step % 2}\n" for step in steps)
        (cell / "metrics.csv").write_text(f"step,loss,val_loss_box_reg\n{rows}")
    panels = {panel.key: panel for panel in training_panels(load_study(folder))}
    assert list(panels) == ["loss", "val_loss_box_reg"]
    assert set(panels["val_loss_box_reg"].lines[0].mean) == {0, 1}
    assert not set(panels["loss"].lines[0].mean[1:-1]) & {0, 1}
    assert panels["val_loss_box_reg"].markers


def test_forest_is_in_points_and_all_candidates_share_an_axis(tmp_path):
    material = load_study(make_study(tmp_path, losses=("huber", "smooth-iou", "giou")))
    groups = forest(material)
    assert [group.key for group in groups] == ["difference_localization", "difference_detection"] * 2
    assert groups[0].limits == groups[2].limits
    for group in groups:
        assert group.limits[0] < 0 < group.limits[1]
        for row in group.rows:
            entry = material.difference(group.candidate, row.key)
            assert entry is not None
            assert row.mean == pytest.approx(100 * entry["mean"])
            assert group.limits[0] < min(row.seeds.values())


def test_class_without_a_value_is_left_out_not_zero(tmp_path):
    # the sixth class of the fake study has no AP in any run
    material = load_study(make_study(tmp_path, classes=[f"c{index}" for index in range(8)]))
    names = {row.name for row in class_differences(material)[0].rows}
    assert names == {f"c{index}" for index in range(8) if index != 5}
