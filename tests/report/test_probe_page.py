"""The page of `smoothiou probe`, drawn from made-up numbers."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from typing import Any

import pytest

from smoothiou.files import finite
from smoothiou.report.probe_page import probe_lines, probe_sentence, render_probe, write_probe
from smoothiou.report.refinement_tables import ranked, refined_table, refinement_panels, refinement_table
from smoothiou.study.probes import compare_probes
from tests.report.pages import Page

DATA = {"name": "bccd", "split": "test", "fingerprint": "3c1f9a2b", "images": 40, "boxes": 80}
GAINS = {"huber": 0.0, "giou": 0.01, "iou <b>": 0.0004, "l2": -0.02}


def comparison_of(
    gains: dict[str, float], *, seeds: tuple[int, ...] = (0, 1, 2), refit: bool = False, images: int = 40
) -> dict[str, Any]:
    """Return what `compare_probes` makes of images of 20 probes each, where a loss gains about so much."""
    groups: dict[str, dict[int, list[dict[str, Any]]]] = {}
    before = [round(0.525 + 0.05 * step, 5) for step in range(10)] * 2
    for loss, gain in gains.items():
        for seed in seeds:
            noise, shared = random.Random(f"{loss} {seed}"), random.Random(seed)
            moved = 0.0006 * noise.gauss(0, 1) if gain else 0.0
            refined = [
                [0.7 + 0.2 * iou + 0.05 * shared.random() + gain + moved + 0.002 * noise.gauss(0, 1) for iou in before]
                for _ in range(images)
            ]
            groups.setdefault(loss, {})[seed] = [
                {"image_id": number, "before": before, "refined": after} for number, after in enumerate(refined, 1)
            ]
    comparison = {**compare_probes(groups, baseline="huber", resamples=200), "data": DATA}
    if refit:
        curve = [{"step": step, "train": 0.8 if step else None, "test": 0.5 + 0.03 * step} for step in range(0, 11, 2)]
        cells = [{"loss": loss, "seed": seed, "seconds": 7.0, "curve": curve} for loss in gains for seed in seeds]
        facts = {
            "train_boxes": 64000, "train_images": 205, "detector": "nano", "run_loss": "huber", "run_step": 800,
            "steps": 600, "batch": 256, "depth": "head", "device": "cpu", "precision": "bf16", "threads": 2,
            "crops_mb": 889.2, "crops_seconds": 27.4,
            "manifest": {"command": ["smoothiou"], "versions": {"torch": "2.15.0"}, "started": "2026-11-25T04:00"},
        }  # fmt: skip
        comparison |= {"refit": facts, "cells": cells, "failed": [], "train_data": {**DATA, "split": "train"}}
    return finite(comparison)


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    return comparison_of(GAINS, refit=True)


def test_every_number_is_in_the_csv_and_the_small_table_has_both_halves(comparison, tmp_path):
    write_probe(comparison, tmp_path)
    lines = list(csv.DictReader((tmp_path / "probe.csv").read_text().splitlines()))

    def value(**wanted: str) -> float:
        (line,) = [line for line in lines if all(line[key] == text for key, text in wanted.items())]
        return float(line["value"])

    halves = ("refined_mean_below_75", "refined_mean_from_75")
    for metric in ("refined_mean_iou", *halves):
        assert value(part="before", metric=metric) == comparison["before"][metric]
        for seed in "012":
            number = value(part="after", loss="giou", seed=seed, metric=metric)
            assert number == comparison["groups"]["giou"][seed][metric]
        (entry,) = [e for e in comparison["differences"] if (e["candidate"], e["metric"]) == ("giou", metric)]
        one = {"part": "difference", "loss": "giou", "metric": metric}
        assert [value(**one, statistic=end) for end in ("low", "high")] == [entry["low"], entry["high"]]
        assert value(**one, statistic="difference", seed="1") == entry["pairs"][1]
    assert {line["x"] for line in lines if line["part"] == "training"} == {"0", "2", "4", "6", "8", "10"}
    assert not [line for line in lines if line["value"] in ("", "nan", "None")]
    table = (tmp_path / "probe.tex").read_text().split(r"\end{table}")[0]
    assert "\n    before & " in table
    assert table.count(r"\midrule") == 2
    assert "giou" in table


def test_a_probe_without_a_finished_training_has_files_too(tmp_path):
    write_probe({"groups": {}, "failed": [], "data": DATA, "metrics": []}, tmp_path)
    assert len((tmp_path / "probe.csv").read_text().splitlines()) == 1
    assert (tmp_path / "probe.tex").read_text().startswith("%")


def test_the_sentence_counts_verdicts_and_gives_the_interval(comparison):
    sentence = probe_sentence(comparison)
    assert "Of 3 against huber: 1 better, 1 worse, 1 not known to be either." in sentence
    assert "giou minus huber on 800 boxes of bccd/test: mean IoU after refinement +0.0" in sentence
    assert "95% over 3 paired seeds and images [+" in sentence


def test_one_pair_is_said_to_prove_nothing_of_seeds():
    one = comparison_of({"huber": 0.0, "giou": 0.01}, seeds=(0,))
    assert "better on these boxes, but one seed proves nothing" in probe_sentence(one)
    assert "paired seeds" not in probe_sentence(one)
    assert "one seed proves nothing" in Page(render_probe(one)).text


def test_one_pair_that_decides_nothing_says_why():
    # 5 images: each gains about .01, so the interval over images leaves out 0, and still nothing is decided.
    one = comparison_of({"huber": 0.0, "giou": 0.01}, seeds=(0,), images=5)
    (entry,) = [row for row in one["differences"] if row["metric"] == "refined_mean_iou"]
    assert entry["images"]["low"] > 0
    reason = "not distinguishable (one seed: no interval over seeds; fewer than 10 images)"
    for text in (probe_sentence(one), probe_lines(one), Page(render_probe(one)).text):
        assert reason in text
    none = comparison_of({"huber": 0.0, "giou": 0.0}, seeds=(0,))
    assert probe_sentence(none).endswith("not distinguishable (one seed: no interval over seeds).")


def test_a_single_group_has_its_number_and_no_difference():
    alone = comparison_of({"huber": 0.0})
    assert "nothing to compare with" in probe_sentence(alone)
    page = Page(render_probe(alone))
    assert "table-refined" in page.ids
    assert "table-refinement" not in page.ids


def test_without_any_result_the_page_says_what_failed():
    nothing = {"data": DATA, "refit": {}, "cells": [], "failed": [{"loss": "mine:x", "seed": 0, "error": "became NaN"}]}
    text = Page(render_probe(nothing)).text
    assert "No result yet" in text
    assert "became NaN" in text


def test_tables_are_ranked_and_hold_the_numbers(comparison):
    assert ranked(comparison) == ["giou", "iou <b>", "huber", "l2"]
    table = refined_table(comparison)
    assert [row.head for row in table.rows] == ["before refinement", *ranked(comparison)]
    assert [cell.text for cell in table.rows[0].cells[:3]] == ["0.7500", "0.6250", "0.8750"]
    values = [run["refined_mean_iou"] for run in comparison["groups"]["giou"].values()]
    assert table.rows[1].cells[0].text == f"{sum(values) / 3:.4f}"
    against = refinement_table(comparison)
    assert [row.head for row in against.rows] == ["giou", "iou <b>", "l2"]
    assert [row.cells[1].kind for row in against.rows] == ["better", "same", "worse"]
    assert refinement_table({}).rows == []


def test_curves_are_means_over_seeds_at_the_middle_of_each_bin(comparison):
    absolute, relative, shares = refinement_panels(comparison)
    line = next(line for line in absolute.lines if line.loss == "giou")
    assert line.x == pytest.approx([0.525 + 0.05 * step for step in range(10)])
    values = [run["refined_from_70"] for run in comparison["groups"]["giou"].values()]
    assert line.mean[4] == pytest.approx(sum(values) / 3)
    assert (line.low[4], line.high[4]) == (min(values), max(values))
    gain = next(line for line in relative.lines if line.loss == "giou")
    below = [run["refined_from_70"] for run in comparison["groups"]["huber"].values()]
    assert gain.mean[4] == pytest.approx(100 * (sum(values) - sum(below)) / 3)
    assert shares.lines[0].x == pytest.approx([0.5 + 0.05 * step for step in range(10)])


def test_the_page_is_whole_loads_nothing_and_escapes_names(comparison, tmp_path):
    page = write_probe(comparison, tmp_path)
    text = page.read_text()
    read = Page(text)
    assert len(read.ids) == len(set(read.ids))
    assert set(read.references) <= set(read.ids)
    assert all(link.startswith("#") for link in read.links)
    assert read.tags["svg"] > 5
    assert "iou <b>" not in text
    assert "iou <b>" in read.text
    for part in ("64000 crops of 205 images", "IoU after, against IoU before", "change over the last tenth"):
        assert part in read.text
    assert json.loads((tmp_path / "probe.json").read_text())["groups"] == comparison["groups"]
    assert text == render_probe(comparison)


def test_a_terminal_gets_the_same_numbers(comparison):
    lines = probe_lines(comparison)
    assert lines.count("\n") < 25
    values = [run["refined_mean_iou"] for run in comparison["groups"]["giou"].values()]
    assert f"{sum(values) / 3:.4f}" in lines
    assert ".95-" in lines


def test_drawing_needs_no_torch(comparison, tmp_path):
    (tmp_path / "comparison.json").write_text(json.dumps(comparison))
    script = (
        "import json, sys; from smoothiou.report.probe_page import write_probe; "
        f"write_probe(json.load(open({str(tmp_path / 'comparison.json')!r})), {str(tmp_path)!r}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
