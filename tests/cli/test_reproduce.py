"""`smoothiou reproduce`, as users run it."""

from __future__ import annotations

import json


def test_table_1_beside_the_recipes(smoothiou):
    result = smoothiou("reproduce", "table1", "--json")
    assert result.returncode == 0, result.stderr
    sets = json.loads(result.stdout)["sets"]
    assert sets["udacity"]["paper"]["lr"] == sets["udacity"]["ours"]["smooth-iou"]["optim.lr"] == 0.002


def test_no_data_is_one_sentence_with_the_way_out(smoothiou):
    result = smoothiou("reproduce", "table2", "--data", "pets", "--data-root", "nowhere")
    assert result.returncode == 3
    assert "Pets: no images in nowhere/oxford-iiit-pet" in result.stderr
    assert "--data-root" in result.stderr
    assert "Traceback" not in result.stderr


def test_another_table_is_refused(smoothiou):
    result = smoothiou("reproduce", "table4")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_tiny_study_of_real_photos_ends_in_a_table_and_is_not_run_twice(smoothiou, shared_data):
    words = ("reproduce", "table3", "--scale", "tiny", "--data", "vwfs", "--data-root", shared_data)
    words += ("--train.steps", 2)
    first = smoothiou(*words)
    assert first.returncode == 0, first.stderr
    assert "VWFS" in first.stdout
    assert "car_damage stands in for VWFS" in first.stdout
    again = smoothiou(*words, "--json")
    assert again.returncode == 0, again.stderr
    assert "done before" in again.stderr
    ours = json.loads(again.stdout)["sets"]["vwfs"]
    assert ours["paper"]["AP50"] == {"huber": 64.3, "smooth-iou": 64.79}
    assert set(ours["ours"]["AP50"]) == {"huber", "smooth-iou"}
