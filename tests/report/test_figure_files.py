"""Figures and tables of a study for a paper."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from smoothiou.report.advice import next_steps
from smoothiou.report.figure_files import write_figures
from smoothiou.report.loaded_study import load_study
from smoothiou.report.probe_page import write_probe
from smoothiou.report.write import write_report
from tests.report.fake_study import make_study
from tests.report.test_probe_page import GAINS, comparison_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("figures"), steps=40, losses=("huber", "smooth-iou", "giou[eps=1e-7]"))


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    return write_figures(study, tmp_path_factory.mktemp("out"))


@pytest.mark.slow
def test_each_figure_is_an_svg_and_a_pdf(written):
    names = [path.name for path in written]
    assert len(names) == len(set(names))
    assert {path.stem for path in written if path.suffix == ".svg"} == {p.stem for p in written if p.suffix == ".pdf"}
    assert {"result.pdf", "ap-by-iou.svg", "refined-curve.svg", "histogram-raw.pdf", "per-class-2.svg"} <= set(names)
    for path in written:
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")
        else:
            assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_colours_are_those_of_the_page_and_losses_are_named(written):
    for path in written:
        if path.suffix == ".svg":
            text = path.read_text()
            assert not re.search("#fe0[12]", text), path
            assert "var(--" not in text
            assert "smooth-iou" in text or "giou" in text


@pytest.mark.slow
def test_equal_files_give_equal_bytes(study, written, tmp_path):
    assert [path.read_bytes() for path in write_figures(study, tmp_path)] == [path.read_bytes() for path in written]


def test_the_small_table_stands_first_and_has_the_numbers_of_the_page(study, without_panels, tmp_path):
    write_report(study, out=tmp_path)
    table = (tmp_path / "tables.tex").read_text().split(r"\end{table}")[0]
    assert r"\label{tab:result}" in table
    assert r"giou{[}eps=1e-7{]}" in table
    interval = re.search(r"smooth-iou & .* & .* & .* & (.*) ", table)
    assert interval
    shown = re.sub(r"\{([\[\]])\}", r"\1", interval[1]).replace("$-$", "−")
    assert shown in (tmp_path / "report.html").read_text()


@pytest.fixture
def compiled(tmp_path):
    """Make a PDF of a document that takes in one file of tables, and return what LaTeX said."""
    program = next(filter(None, map(shutil.which, ("tectonic", "pdflatex"))), None)
    if program is None:
        pytest.skip("neither tectonic nor pdflatex is installed")

    def compile(name: str) -> str:
        (tmp_path / "paper.tex").write_text(
            rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}\input{{{name}}}\end{{document}}"
        )
        options = ["-interaction=nonstopmode", "-halt-on-error"] if program.endswith("pdflatex") else []
        command = [program, *options, "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
        return done.stdout

    return compile


def test_the_tables_compile_and_are_no_wider_than_a_page(study, compiled, without_panels, tmp_path):
    write_report(study, out=tmp_path)
    assert "Overfull" not in compiled("tables")


def test_the_tables_of_a_probe_compile(compiled, tmp_path):
    write_probe(comparison_of(GAINS, refit=True), tmp_path)
    assert "Overfull" not in compiled("probe")


def test_the_command_writes_them_and_names_them(study, without_panels, tmp_path, capsys, monkeypatch):
    from smoothiou.cli import main
    from smoothiou.report import figure_files

    monkeypatch.setattr(figure_files, "training_panels", lambda _: [])
    main(["report", str(study), "--out", str(tmp_path), "--figures", str(tmp_path / "F"), "--json"])
    printed = capsys.readouterr()
    assert "F/result.pdf" in printed.out
    assert all(step in printed.err for step in next_steps(load_study(study)))
    assert (tmp_path / "F" / "result.svg").is_file()
