"""Reports of studies that nobody trained: the page, its figures, names and files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from smoothiou.report.loaded_study import load_study
from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.pages import Page, rows

NAMES = ["report.html", "report.md", "tables.tex", "results.csv", "results.json"]


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


def test_equal_rates_are_said_to_be_equal(page):
    assert "Every run had the same learning rate, 0.001: no loss was tuned on its own" in page.text


def test_what_was_left_out_of_the_data_is_told(page):
    assert "a&b.xml: object 2: box has no area (x1 = x2 = 221) (dropped)" in page.text


def test_command_can_be_copied(page):
    assert "smoothiou compare data/bccd --losses huber,smooth-iou --out 'my study'" in page.text


def test_page_holds_only_the_classes_that_differ_most(without_panels, tmp_path):
    write_report(make_study(tmp_path, classes=[f"class {index}" for index in range(60)], seeds=(0, 1), gallery=0))
    text = Page((tmp_path / "report.html").read_text()).text
    assert "Shown are the 40 classes that differ most" in text
    assert len({row["x"] for row in rows(tmp_path) if row["part"] == "per_class"}) == 59  # one has no AP
