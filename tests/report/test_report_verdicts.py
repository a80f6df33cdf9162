"""Verdicts of a report: only where an interval allows one, with what it is made of beside it."""

from __future__ import annotations

import json
import re

import pytest

from smoothiou.report.loaded_study import load_study
from smoothiou.report.tables import differences_table, images_table, localization_table
from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.pages import Page, edit_results, rows


def test_bold_only_where_the_interval_leaves_out_zero(tmp_path):
    clear = load_study(make_study(tmp_path / "clear", effect=0.02))
    equal = load_study(make_study(tmp_path / "equal", effect=0.0))
    worse = load_study(make_study(tmp_path / "worse", effect=-0.02))

    def bold(material):
        table = localization_table(material)
        return {row.head for row in table.rows for cell in row.cells if cell.strong}

    assert bold(clear) == {"smooth-iou"}
    assert bold(equal) == set()
    assert bold(worse) == {"huber"}


def marks(page: str) -> list[str]:
    """Return every mark of a verdict on a page: bold cells, and cells and chips in the colour of better or worse."""
    body = page.split("</style>")[1]
    found = re.findall(r'<td[^>]* class="(better|worse)"|class="chip (better|worse)"|<td[^>]*>(<strong>)', body)
    return [next(filter(None, mark)) for mark in found]


@pytest.mark.parametrize("effect", [0.02, pytest.param(-0.02, marks=pytest.mark.slow)])
def test_beside_a_baseline_that_has_learnt_nothing_no_verdict_is_anywhere(without_panels, tmp_path, effect):
    # The same numbers but for huber's AP50: above 5 % they are clear, below they say nothing.
    make_study(tmp_path, effect=effect)
    write_report(tmp_path)
    assert len(marks((tmp_path / "report.html").read_text())) > 10
    edit_results(tmp_path, "huber", lambda result: result["metrics"].update(AP50=0.01))
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert marks(page) == []
    assert re.findall(r'<span class="chip[^>]*>(.*?)</span>', page) == ["huber has learnt next to nothing"]
    first = re.search(r'<p class="sentence[^>]*>(.*?)</p>', page)
    assert first
    assert first[1].startswith("Not known: train longer first")
    assert "(AP50 1.0 %): train longer first." in Page(page).text
    for name in ("report.md", "tables.tex"):
        assert not re.search(r"(\||&|:) (better|worse)\b", (tmp_path / name).read_text())


def test_equal_gains_of_all_seeds_are_neither_green_nor_bold(without_panels, tmp_path):
    # Two seeds, .48 -> .52 and .40 -> .44: +4.00 [+4.00, +4.00] is what coarse shares give, not certainty.
    make_study(tmp_path, seeds=(0, 1))
    for loss, gain in (("huber", 0.0), ("smooth-iou", 0.04)):

        def edit(result, gain=gain):
            result["localization"]["refined_above_85"] = 0.48 - 0.08 * result["seed"] + gain

        edit_results(tmp_path, loss, edit)
    write_report(tmp_path)
    material = load_study(tmp_path)
    table = localization_table(material)
    place = table.columns.index("refined > .85")
    (cell,) = [row.cells[place] for row in table.rows if row.kind == "difference"]
    assert (cell.text, cell.detail, cell.kind) == ("+4.00", "[+4.00, +4.00]", "unknown")
    assert not any(row.cells[place].strong for row in table.rows)
    (words,) = [row.cells[2].text for row in differences_table(material).rows if row.head == "refined > .85"]
    assert words == "not known well enough (all seeds differ by the same amount: no spread to judge by)"


@pytest.mark.parametrize(
    ("effect", "words"), [(0.02, "better"), (0.0, "not known well enough|equal within 0.005 IoU"), (-0.02, "worse")]
)
def test_page_can_say_each_verdict(without_panels, tmp_path, effect, words):
    write_report(make_study(tmp_path, effect=effect))
    chips = re.findall(
        r'<span class="chip[^>]*><span>Mean IoU, refined</span> ([\w .]+)</span>',
        (tmp_path / "report.html").read_text(),
    )
    assert len(chips) == 1
    assert re.fullmatch(words, chips[0])


class TestOneInterval:
    """Differences have one interval, with what it is made of beside it."""

    def test_doubt_margin_and_method_stand_beside_each_difference(self, tmp_path):
        make_study(tmp_path)
        path = tmp_path / "comparison.json"
        content = json.loads(path.read_text())
        row = {"candidate": "smooth-iou", "metric": "AP", "variance": 2e-5, "covariance": 1e-5, "seeds": 3}
        path.write_text(json.dumps({**content, "covariances": [row], "images": 72}))
        found = {row.head: [cell.text for cell in row.cells] for row in differences_table(load_study(tmp_path)).rows}
        seeds, images = map(int, re.findall(r"\d+", found["AP"][4]))
        assert (seeds + images, images > 50) == (100, True)
        assert found["AP"][3] == "±1 AP point"
        assert found["AP"][5] == "t"
        assert found["AP75"][4] == "seeds only"

    def test_several_candidates_are_judged_by_dunnett(self, tmp_path):
        material = load_study(make_study(tmp_path, losses=("huber", "smooth-iou", "giou")))
        assert {row.cells[6].text for row in differences_table(material).rows} == {"Dunnett"}

    def test_one_seed_has_an_interval_over_images_and_more_have_none_of_their_own(self, tmp_path, study):
        assert images_table(load_study(study)).rows == []
        (row,) = images_table(load_study(make_study(tmp_path, seeds=(0,)))).rows
        assert "[" in row.cells[0].detail

    def test_the_csv_has_its_parts(self, study):
        found = {row["statistic"] for row in rows(study) if row["part"] == "difference"}
        assert found >= {"low", "high", "error", "margin", "low over seeds only", "high over seeds only"}

    def test_a_probe_that_an_earlier_version_compared_is_still_shown(self, without_panels, tmp_path):
        make_study(tmp_path)
        path = tmp_path / "comparison.json"
        content = json.loads(path.read_text())
        del content["probe"]["before"]
        new = ("conclusion", "method", "covariance", "margin", "from_seeds", "seeds_only", "error", "degrees")
        content["probe"]["differences"] = [
            {key: value for key, value in row.items() if key not in new} for row in content["probe"]["differences"]
        ]
        path.write_text(json.dumps(content))
        write_report(tmp_path)
        assert "Refined boxes against huber" in (tmp_path / "report.html").read_text()
