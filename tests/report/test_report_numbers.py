"""What a reader of a report sees is what the files say."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from smoothiou.report.loaded_study import load_study
from smoothiou.report.metric import METRICS
from smoothiou.report.tables import all_tables, detection_table, differences_table, localization_table
from smoothiou.report.write import write_report
from tests.report.pages import rows, value


def test_numbers_of_the_tables_are_those_of_the_csv(study, page):
    material, found = load_study(study), rows(study)
    for table in (localization_table(material), detection_table(material)):
        keys = [next(k for k, m in METRICS.items() if m.name == column) for column in table.columns]
        for row in table.rows:
            for key, cell in zip(keys, row.cells, strict=True):
                metric = METRICS[key]
                if row.kind == "wins":
                    assert cell.text == f"{value(found, part='metrics', loss=row.loss, metric=key, statistic='wins'):g}"
                elif row.kind == "loss":
                    mean = value(found, part="metrics", loss=row.loss, metric=key, statistic="mean")
                    sd = value(found, part="metrics", loss=row.loss, metric=key, statistic="sd")
                    assert (cell.text, cell.detail) == (metric.format(mean), f"± {metric.format(sd)}")
                else:
                    wanted = {"part": "difference", "loss": row.loss, "metric": key, "seed": ""}
                    mean, low, high = (value(found, **wanted, statistic=s) for s in ("mean", "low", "high"))
                    assert cell.text == metric.format(mean, signed=True)
                    assert cell.detail == f"[{metric.format(low, signed=True)}, {metric.format(high, signed=True)}]"
                assert cell.text in page.text


def test_all_spellings_of_a_table_hold_the_same_numbers(study):
    material = load_study(study)
    markdown, latex = (
        (study / "report.md").read_text().replace("\\", ""),
        re.sub(r"\{([\[\]])\}", r"\1", (study / "tables.tex").read_text().replace("$-$", "−")).replace(r"\%", "%"),
    )
    for table in (
        localization_table(material),
        detection_table(material),
        differences_table(material),
    ):
        for row in table.rows:
            for cell in row.cells:
                assert cell.text in markdown
                assert cell.text.replace("±", r"$\pm$") in latex


def test_means_are_those_of_the_result_files(study):
    values = [
        json.loads((study / f"cells/huber-seed{seed}/result.json").read_text())["metrics"]["AP"] for seed in (0, 1, 2)
    ]
    assert value(rows(study), part="metrics", loss="huber", metric="AP", statistic="mean") == pytest.approx(
        sum(values) / 3
    )
    assert f"{100 * sum(values) / 3:.2f}" in (study / "report.html").read_text()


def test_every_figure_has_its_numbers_in_the_csv(study):
    found = rows(study)
    parts = (
        "metrics difference refinement bootstrap ap_by_iou precision histogram training per_class cost errors "
        "confusion gallery"
    )
    assert " ".join(dict.fromkeys(row["part"] for row in found)) == parts
    thresholds = [row for row in found if row["metric"] == "ap_by_iou" and row["statistic"] == "mean"]
    assert len(thresholds) == 2 * 10
    # shares of a histogram add up to all boxes
    shares = [float(row["value"]) for row in found if row["metric"] == "histogram_raw" and row["statistic"] == "mean"]
    assert sum(shares) == pytest.approx(2 * 100)
    # what a loss does not have is not drawn as zero
    assert {row["loss"] for row in found if row["metric"] == "roi_lambda"} == {"smooth-iou"}


def test_csv_numbers_carry_their_signature(study):
    found = [row for row in rows(study) if row["part"] == "metrics" and row["metric"] == "AP"]
    assert {row["seed"] for row in found} == {"", "0", "1", "2"}
    # a mean is over three seeds, a single value is one seed's
    for row in found:
        assert row["signature"].split("|")[-2] == (f"seed:{row['seed']}" if row["seed"] else "seeds:3")


def test_the_mean_iou_of_all_boxes_is_split_by_proposals_where_it_was_measured(study, without_panels, tmp_path):
    rows = all_tables(load_study(study))["proposals"].rows
    for row in rows:
        *parts, whole = (cell.value for cell in row.cells)
        assert sum(parts) == pytest.approx(whole, abs=1e-9)  # differences too
    assert [row.kind for row in rows] == ["loss", "loss", "difference"]
    shutil.copytree(study, tmp_path / "old")
    for path in (tmp_path / "old" / "cells").glob("*/result.json"):
        result = json.loads(path.read_text())
        result["localization"] = {
            k: v for k, v in result["localization"].items() if "proposals" not in k and "gain" not in k
        }
        path.write_text(json.dumps(result))
    write_report(tmp_path / "old")
    assert all_tables(load_study(tmp_path / "old"))["proposals"].rows == []
    assert "split by proposals" not in (tmp_path / "old" / "report.html").read_text()


def test_tables_for_latex_are_balanced(study):
    text = (study / "tables.tex").read_text()
    bare = re.sub(r"\\[{}%&$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.replace(r"\$", "").count("$") % 2 == 0
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == text.count(r"\bottomrule")
    assert text.count(r"\begin{table}") == 1 + sum(bool(table.rows) for table in all_tables(load_study(study)).values())
    for block in re.findall(r"\\begin\{tabular\}\{(l?r*)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        for line in block[1].splitlines():
            if line.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == len(block[0]) - 1


def test_a_difference_that_looks_like_nothing_has_no_minus():
    assert METRICS["mean_iou"].format(-0.00001, signed=True) == "+0.0000"
    assert METRICS["AP"].format(-0.00001, signed=True) == "+0.00"
    assert METRICS["AP"].format(-0.0001, signed=True) == "−0.01"
