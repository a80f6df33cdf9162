"""The first line, the picture and what to do next."""

from __future__ import annotations

import json

from smoothiou.report.advice import best_run, next_steps
from smoothiou.report.loaded_study import load_study
from smoothiou.report.table import markdown
from smoothiou.report.write import write_report
from smoothiou.study.headline import TRAIN_LONGER
from tests.report.fake_study import make_study
from tests.report.pages import edit_results


def test_the_first_line_is_the_headline_and_the_picture_comes_before_any_table(study, page):
    headline = load_study(study).summary["headline"]["text"]
    text = page.text
    places = [text.index(part) for part in (headline, "smooth-iou minus huber", "Next", "Localization: how")]
    assert places == sorted(places)
    assert (study / "report.md").read_text().index(markdown(headline)) < 100


def test_it_names_the_best_run_of_the_better_loss_and_the_command_that_uses_it(study, page):
    found = {seed: run["metrics"]["AP"] for seed, run in load_study(study).results("smooth-iou").items()}
    best = f"smooth-iou-seed{max(found, key=lambda seed: found[seed])}"
    for text in (page.text, (study / "report.md").read_text()):
        assert f"smoothiou predict {study / 'cells' / best} IMAGES" in text


def test_where_no_weights_are_kept_there_is_no_command_to_use_them(tmp_path):
    make_study(tmp_path)
    for path in tmp_path.glob("cells/*/last.ckpt"):
        path.unlink()
    best = best_run(load_study(tmp_path))
    assert best
    assert best["command"] == ""
    write_report(tmp_path)
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert "weights are not here" in text
        assert "smoothiou predict" not in text


def test_the_baseline_is_used_where_it_is_better(tmp_path):
    best = best_run(load_study(make_study(tmp_path, effect=-0.02)))
    assert best
    assert best["id"].startswith("huber-")


def test_a_second_stage_that_makes_boxes_worse_means_train_longer(tmp_path):
    make_study(tmp_path)
    path = tmp_path / "comparison.json"
    content = json.loads(path.read_text())
    for run in content["probe"]["groups"]["huber"].values():
        run["refined_mean_iou"] = run["mean_before"] - 0.01
    path.write_text(json.dumps(content))
    steps = next_steps(load_study(tmp_path))
    assert "huber makes boxes no tighter" in steps[0]
    assert not any("smooth-iou makes" in step for step in steps)
    # A loss that has learnt nothing has the same remedy, which is not given again in general words.
    edit_results(tmp_path, "huber", lambda result: result["metrics"].update(AP50=0.01))
    loaded = load_study(tmp_path)
    assert loaded.summary["headline"]["advice"] == [TRAIN_LONGER]
    assert TRAIN_LONGER not in next_steps(loaded)


def test_one_seed_agrees_with_none_and_one_measurement_is_no_curve(tmp_path):
    make_study(tmp_path, seeds=(0,), validation=False)
    for path in tmp_path.glob("cells/*/metrics.csv"):
        path.write_text("step,val_AP\n400,0.3\n")
    last = next_steps(load_study(tmp_path))[-1]
    assert "agree" not in last
    assert "no validation AP" not in last
    assert "at the end" in last
    for path in tmp_path.glob("cells/*/metrics.csv"):
        path.write_text("step,val_AP\n" + "".join(f"{step},0.3\n" for step in range(50, 401, 50)))
    assert "agree" not in next_steps(load_study(tmp_path))[-1]


def test_seeds_that_lie_apart_and_curves_that_rise_mean_train_longer(tmp_path):
    make_study(tmp_path, validation=False)
    assert "is not known: no validation AP" in next_steps(load_study(tmp_path))[-1]
    make_study(tmp_path / "flat", validation=False)
    for path in (tmp_path / "flat").glob("cells/*/metrics.csv"):
        path.write_text("step,val_AP\n" + "".join(f"{step},0.3\n" for step in range(50, 401, 50)))
    assert next_steps(load_study(tmp_path / "flat"))[-1].startswith("Trainings look long enough")

    def apart(result):
        result["metrics"]["AP"] += 0.05 * result["seed"]

    edit_results(tmp_path, "huber", apart)
    steps = next_steps(load_study(tmp_path))
    assert "AP of huber varies by 5." in steps[0]
    assert "seeds in all" in " ".join(steps[1:])  # more seeds of a short training are the second thing to do
    make_study(tmp_path / "rising")
    for path in (tmp_path / "rising").glob("cells/huber-*/metrics.csv"):
        path.write_text("step,val_AP\n" + "".join(f"{step},{step / 1000}\n" for step in range(50, 401, 50)))
    # Measured at 300 and 400 of 400 steps; .1 in the last quarter is .08 in a fifth.
    assert "huber +10.0 points in its last 25 %" in next_steps(load_study(tmp_path / "rising"))[0]


def test_a_rise_since_long_ago_is_counted_by_its_length(tmp_path):
    # .018 since the middle is .007 in a fifth, less than a training that is too short shows.
    make_study(tmp_path, validation=False)
    for path in tmp_path.glob("cells/*/metrics.csv"):
        path.write_text("step,val_AP\n200,0.3\n400,0.318\n")
    assert next_steps(load_study(tmp_path))[-1].startswith("Trainings look long enough")
    for path in tmp_path.glob("cells/*/metrics.csv"):
        path.write_text("step,val_AP\n200,0.3\n400,0.33\n")
    assert "+3.0 points in its last 50 %" in next_steps(load_study(tmp_path))[0]


def test_nothing_finished_is_nothing_to_use(tmp_path):
    make_study(tmp_path, seeds=(0,), missing=["huber-seed0", "smooth-iou-seed0"], comparison=False)
    assert best_run(load_study(tmp_path)) is None
    assert not any("long enough" in step for step in next_steps(load_study(tmp_path)))
