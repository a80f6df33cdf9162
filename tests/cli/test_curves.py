"""`smoothiou curves`, run as users run it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
from PIL import Image

NAMES = ("figure1", "figure2-left", "figure2-right", "figure3", "gradients")


def test_the_papers_figures_are_drawn_and_their_paths_printed(smoothiou, tmp_path):
    result = smoothiou("curves")
    assert result.returncode == 0, result.stderr
    expected = [f"runs/curves/{name}.{ending}" for name in NAMES for ending in ("svg", "png", "csv")]
    assert result.stdout.splitlines() == expected
    for path in expected:
        assert (tmp_path / path).stat().st_size > 1000
    rows = list(csv.DictReader((tmp_path / "runs/curves/figure2-left.csv").read_text().splitlines()))
    assert {row["loss"] for row in rows} >= {"huber[delta=1]", "huber[delta=2]", "smooth-iou[delta=1.5]"}
    contact = next(row for row in rows if row["loss"] == "huber[delta=1]" and float(row["x"]) == 20)
    assert (float(contact["value"]), float(contact["iou"])) == (39, 0)
    with Image.open(tmp_path / "runs/curves/figure1.png") as image:
        assert image.width > 1000


def test_any_loss_is_drawn_with_its_options(smoothiou, tmp_path):
    result = smoothiou("curves", "--losses", "huber[delta=0.5],smooth-iou", "--out", "mine", "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    written = json.loads(result.stdout)["written"]
    assert written == [f"mine/{n}.{e}" for n in ("slide", "mismatch", "gradients") for e in ("svg", "png", "csv")]
    rows = list(csv.DictReader((tmp_path / "mine/mismatch.csv").read_text().splitlines()))
    assert {row["loss"] for row in rows} == {"huber[delta=0.5]", "smooth-iou"}
    assert {row["width"] for row in rows} == {"30.0"}
    assert "huber[delta=0.5]" in (tmp_path / "mine/slide.svg").read_text()


def test_the_gallery_has_one_small_picture_for_each_loss(smoothiou, tmp_path):
    result = smoothiou("curves", "--gallery", "--losses", "l1,smooth-iou[lam=0.5]", "--out", "images")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["images/l1.svg", "images/smooth-iou-lam-0.5.svg"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["l1.svg", "smooth-iou-lam-0.5.svg"]


def test_a_figure_a_loss_of_ones_own_and_the_page_together(smoothiou, tmp_path):
    words = ("curves", "--figure", "2", "--losses", "iou,mine:loss", "--html")
    result = smoothiou(*words)
    assert result.returncode == 2
    assert "there is no module 'mine'" in result.stderr
    assert not (tmp_path / "runs").exists()
    (tmp_path / "mine.py").write_text(
        "class loss:\n"
        "    def on_boxes(self, pred, target, *, box_format='xyxy'):\n"
        "        return 2 * (pred - target).abs().sum(-1)\n"
        "    def __call__(self, pred, target, *, weights=None, anchors=None):\n"
        "        return self.on_boxes(pred, target)\n"
    )
    result = smoothiou(*words)
    assert result.returncode == 0, result.stderr
    assert "Computing 2 losses" in result.stderr
    names = ("figure2-left", "figure2-right", "slide", "mismatch", "gradients")
    drawn = [f"runs/curves/{name}.{ending}" for name in names for ending in ("svg", "png", "csv")]
    assert result.stdout.splitlines() == [*drawn, "runs/curves/explorer.html"]
    assert 'data-loss="mine:loss"' in (tmp_path / "runs/curves/explorer.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--losses", "huber,smoth-iou", "--figure", "1"], 'Did you mean "smooth-iou"'),
        (["--losses", "huber[delta=-1]"], "expected a number above 0"),
        (["--losses", "huber,huber"], "named twice"),
        (["--losses", ","], "at least one loss"),
        (["--figure", "4"], "--figure"),
        (["--gallery", "--html"], "--gallery draws nothing but"),
        (["--loses", "huber"], "--losses"),
    ],
)
def test_wrong_usage_is_answered_with_words(smoothiou, tmp_path, words, said):
    result = smoothiou("curves", *words)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(smoothiou, tmp_path):
    (tmp_path / "file").write_text("")
    result = smoothiou("curves", "--figure", "3", "--out", "file/inside")
    assert result.returncode == 1
    assert "cannot be written: Not a directory.\n  Choose another place for it.\n" in result.stderr


def test_help_needs_no_torch():
    code = (
        "import sys; sys.argv = ['smoothiou', 'curves', '--help']\n"
        "from smoothiou.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
