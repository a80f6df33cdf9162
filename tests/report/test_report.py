"""Reports of studies that nobody trained: what a reader sees is what the files say, whatever is missing."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from smoothiou.errors import DataError
from smoothiou.report.advice import best_run, next_steps
from smoothiou.report.loaded_study import load_study
from smoothiou.report.metric import METRICS
from smoothiou.report.table import markdown
from smoothiou.report.tables import all_tables, detection_table, differences_table, images_table, localization_table
from smoothiou.report.training_curves import read_curves
from smoothiou.report.write import write_report
from smoothiou.study.headline import TRAIN_LONGER
from tests.report.fake_study import make_study

NAMES = ["report.html", "report.md", "tables.tex", "results.csv", "results.json"]
VOID = {"meta", "br", "img", "input", "hr", "link"}


class Page(HTMLParser):
    """Reads a page as a browser would, and notes what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def _note(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "data", "srcset", "action"):
                self.links.append(value)
            if name == "aria-labelledby":
                self.references += value.split()
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = make_study(tmp_path_factory.mktemp("full"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(study):
    return Page((study / "report.html").read_text())


def rows(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_five_files_are_written_to_the_study_or_another_folder(study, without_panels, tmp_path):
    assert all((study / name).is_file() for name in NAMES)
    assert write_report(study, out=tmp_path / "elsewhere") == [tmp_path / "elsewhere" / name for name in NAMES]


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_without_torch_whatever_the_user_s_matplotlibrc_says(study, tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\nlines.linewidth: 9\n")
    script = (
        "import sys; from smoothiou.report.write import write_report; "
        f"write_report({str(study)!r}, out={str(tmp_path)!r}); "
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    environment = {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (study / name).read_bytes(), name


def test_page_loads_nothing(study, page):
    text = (study / "report.html").read_text()
    for link in page.links:
        assert link.startswith(("#", "data:image/jpeg;base64,")), link[:60]
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_ids_are_unique_and_every_reference_is_met(page):
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    inner = {link[1:] for link in page.links if link.startswith("#")} | set(page.references)
    assert len(inner) > 20
    assert inner <= set(page.ids)


def test_each_section_is_there_in_order(study):
    text = (study / "report.html").read_text()
    found = re.findall(r'<section id="(\w+)">', text)
    assert found == ["tables", "differences", "training", "boxes", "gallery", "cost", "provenance"]


def test_sentence_stands_first_and_is_the_collected_one(study, page):
    sentence = load_study(study).summary["sentence"]
    assert sentence in page.text
    assert page.text.index(sentence) < page.text.index("Localization")


def test_every_figure_is_described_for_who_cannot_see_it(study):
    text = (study / "report.html").read_text()
    figures = re.findall(r'<svg class="plot".*?</svg>', text, flags=re.DOTALL)
    # result 1, refinement 3, forests 2, AP 2, training 12, histograms 3, precision 1, classes 1
    assert len(figures) == 25
    for figure in figures:
        assert re.search(r"<title [^>]*>[^<]+</title><desc [^>]*>[^<]{20,}</desc>", figure)


def test_figures_follow_the_colours_of_the_page(study):
    text = (study / "report.html").read_text()
    for figure in re.findall(r'<svg class="plot".*?</svg>', text, flags=re.DOTALL):
        assert "var(--loss-" in figure
        assert not re.search(r"#[0-9a-f]{6}\b", figure.replace("href=", "")), re.findall(r"#[0-9a-f]{6}\b", figure)


def test_each_gallery_image_is_embedded_once(study):
    text = (study / "report.html").read_text()
    assert text.count("data:image/jpeg") == 2
    # ... and shown again in the panel of each of the two losses
    assert text.count('<use href="#photo-') == 4
    # truth (7 boxes) is drawn dashed in all three panels of both images
    assert text.count('<g class="truth">') == 7 * 3 * 2


def test_names_from_data_cannot_become_markup(study, page):
    text = (study / "report.html").read_text()
    assert "<b>Platelets" not in text
    assert "<b>Platelets & co</b>" in page.text
    assert "BloodImage_00000 <i>" in page.text
    assert "Example CPU <8 cores>" in page.text


def test_odd_class_names_survive_everywhere(without_panels, tmp_path):
    names = ('<script>alert("x")</script>', "$x^2$ & \\frac{", "a|b`c*d_e", "100% #1 {~}", "naïve 日本")
    write_report(make_study(tmp_path, classes=names, seeds=(0, 1), gallery=1))
    page = Page((tmp_path / "report.html").read_text())
    assert all(name in page.text for name in names)
    assert page.tags["script"] == 1
    assert {row["x"] for row in rows(tmp_path) if row["part"] == "per_class"} == set(names)


def test_script_is_short(study):
    text = (study / "report.html").read_text()
    script = text.split("<script>")[1].split("</script>")[0].strip()
    assert len(script.splitlines()) <= 30


@pytest.mark.slow
def test_page_stays_light_even_after_a_long_training(tmp_path):
    write_report(make_study(tmp_path, steps=20_000, seeds=(0, 1)))
    assert (tmp_path / "report.html").stat().st_size < 1_500_000


def value(found, **wanted):
    hits = [row for row in found if all(row[key] == str(item) for key, item in wanted.items())]
    assert len(hits) == 1, (wanted, len(hits))
    return float(hits[0]["value"])


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


def edit_results(folder: Path, loss: str, edit) -> None:
    """Change the results of a loss in their files."""
    for path in sorted(folder.glob(f"cells/{loss}-seed*/result.json")):
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))


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


def test_equal_rates_are_said_to_be_equal(page):
    assert "Every run had the same learning rate, 0.001: no loss was tuned on its own" in page.text


def test_what_was_left_out_of_the_data_is_told(page):
    assert "a&b.xml: object 2: box has no area (x1 = x2 = 221) (dropped)" in page.text


def test_command_can_be_copied(page):
    assert "smoothiou compare data/bccd --losses huber,smooth-iou --out 'my study'" in page.text


def test_gallery_without_its_file_still_shows_the_boxes(without_panels, tmp_path):
    make_study(tmp_path)
    (tmp_path / "gallery/0001.jpg").unlink()
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.count("data:image/jpeg") == 1
    assert '<rect id="photo-1"' in text


def test_page_holds_only_the_classes_that_differ_most(without_panels, tmp_path):
    write_report(make_study(tmp_path, classes=[f"class {index}" for index in range(60)], seeds=(0, 1), gallery=0))
    text = Page((tmp_path / "report.html").read_text()).text
    assert "Shown are the 40 classes that differ most" in text
    assert len({row["x"] for row in rows(tmp_path) if row["part"] == "per_class"}) == 59  # one has no AP


def test_folder_without_a_plan_is_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="plan"):
        write_report(tmp_path)


def test_curves_leave_out_what_was_not_measured(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,rpn_lambda,val_AP\n10,1.5,,\n20,nan,,0.1\n20,1.25,,0.2\n30,half\n")
    # step 20 was written twice (a resumed run): the later row counts; the cut last row gives nothing
    assert read_curves(path) == {"loss": [(10.0, 1.5), (20.0, 1.25)], "val_AP": [(20.0, 0.2)]}


class TestRefinement:
    """The probe beside Table 2: curves, paired differences, and nothing where no cell holds it."""

    def test_the_page_shows_curves_and_the_one_interval_of_the_refined_boxes(self, study, page):
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

    def test_its_numbers_are_in_the_csv(self, study):
        found = [row for row in rows(study) if row["part"] == "refinement"]
        assert {row["metric"] for row in found} >= {"refined_mean_iou", "refined_above_75", "refined_curve"}
        assert {"mean", "low", "low over images"} <= {row["statistic"] for row in found}

    def test_a_study_of_before_has_none_and_says_the_rest(self, without_panels, tmp_path):
        folder = make_study(tmp_path)
        content = json.loads((folder / "comparison.json").read_text())
        del content["probe"]
        (folder / "comparison.json").write_text(json.dumps(content))
        write_report(folder)
        text = Page((folder / "report.html").read_text()).text
        assert "IoU after, against IoU before" not in text
        assert "Mean IoU, all boxes" in text


def test_a_difference_that_looks_like_nothing_has_no_minus():
    assert METRICS["mean_iou"].format(-0.00001, signed=True) == "+0.0000"
    assert METRICS["AP"].format(-0.00001, signed=True) == "+0.00"
    assert METRICS["AP"].format(-0.0001, signed=True) == "−0.01"


class TestNext:
    """The first line, the picture and what to do next."""

    def test_the_first_line_is_the_headline_and_the_picture_comes_before_any_table(self, study, page):
        headline = load_study(study).summary["headline"]["text"]
        text = page.text
        places = [text.index(part) for part in (headline, "smooth-iou minus huber", "Next", "Localization: how")]
        assert places == sorted(places)
        assert (study / "report.md").read_text().index(markdown(headline)) < 100

    def test_it_names_the_best_run_of_the_better_loss_and_the_command_that_uses_it(self, study, page):
        found = {seed: run["metrics"]["AP"] for seed, run in load_study(study).results("smooth-iou").items()}
        best = f"smooth-iou-seed{max(found, key=lambda seed: found[seed])}"
        for text in (page.text, (study / "report.md").read_text()):
            assert f"smoothiou predict {study / 'cells' / best} IMAGES" in text

    def test_where_no_weights_are_kept_there_is_no_command_to_use_them(self, tmp_path):
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

    def test_the_baseline_is_used_where_it_is_better(self, tmp_path):
        best = best_run(load_study(make_study(tmp_path, effect=-0.02)))
        assert best
        assert best["id"].startswith("huber-")

    def test_a_second_stage_that_makes_boxes_worse_means_train_longer(self, tmp_path):
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

    def test_seeds_that_lie_apart_and_curves_that_rise_mean_train_longer(self, tmp_path):
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
        assert "huber +10.0" in next_steps(load_study(tmp_path / "rising"))[0]

    def test_nothing_finished_is_nothing_to_use(self, tmp_path):
        make_study(tmp_path, seeds=(0,), missing=["huber-seed0", "smooth-iou-seed0"], comparison=False)
        assert best_run(load_study(tmp_path)) is None
        assert not any("long enough" in step for step in next_steps(load_study(tmp_path)))


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
