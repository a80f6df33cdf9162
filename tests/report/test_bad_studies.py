"""Studies that lack something: each has a defined answer in words, and no NaN anywhere in its report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smoothiou.report.write import write_report
from smoothiou.study.results import collect
from tests.report.fake_study import make_study

Edit = Callable[[dict[str, Any]], object]


def edit(path: Path, change: Edit) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def results(folder: Path) -> list[Path]:
    return sorted(folder.glob("cells/*/result.json"))


def with_images(folder: Path, images: int) -> Path:
    """Let the test set be so small."""
    rows = [{"candidate": "smooth-iou", "metric": "AP", "variance": 0.0, "covariance": 0.0, "seeds": 3}]
    edit(folder / "comparison.json", lambda c: c.update(images=images, covariances=rows))
    return folder


def one_seed(folder: Path) -> Path:
    return make_study(folder, seeds=(0,), effect=0.05)


def failed_for_one_loss(folder: Path) -> Path:
    return make_study(folder, seeds=(0, 1, 2), failed=("smooth-iou-seed1",), effect=0.05)


def identical_runs(folder: Path) -> Path:
    make_study(folder, effect=0.0)
    for seed in (0, 1, 2):
        base = json.loads((folder / f"cells/huber-seed{seed}/result.json").read_text())
        same = {key: base[key] for key in ("metrics", "localization", "ap_by_iou", "per_class")}
        edit(folder / f"cells/smooth-iou-seed{seed}/result.json", lambda result, same=same: result.update(same))
    return folder


def class_without_test_boxes(folder: Path) -> Path:
    make_study(folder, effect=0.05)
    for path in results(folder):
        edit(path, lambda r: r["per_class"].update(dict.fromkeys(list(r["per_class"])[1:])))
        edit(path, lambda r: r["metrics"].update(AP_small=None, AP_large=None))
    return folder


def no_test_boxes_at_all(folder: Path) -> Path:
    make_study(folder)
    for path in results(folder):
        edit(path, lambda r: r["metrics"].update(dict.fromkeys(r["metrics"])))
        edit(path, lambda r: r["per_class"].update(dict.fromkeys(r["per_class"])))
        edit(path, lambda r: r["ap_by_iou"].update(dict.fromkeys(r["ap_by_iou"])))
        edit(path, lambda r: r["localization"].update(refined_mean_iou=None, mean_iou_matched=None))
    edit(folder / "comparison.json", lambda c: c.pop("probe"))
    return folder


def of_version_0_1(folder: Path) -> Path:
    """No margin, older names of settings, no covariances, no sums by image, no split by proposals."""
    make_study(folder, effect=0.05)

    def rename(settings: dict[str, Any]) -> None:
        for key in ("data.resplit", "train.compile", "train.compile_loss", "optim.clip_by", "optim.epsilon"):
            settings.pop(key, None)
        settings["model.flavour"] = "torchvision" if not settings.pop("model.tf_compat", False) else "tf"
        settings["model.keep"] = 0.0 * bool(settings.pop("model.roi_dropout", None))
        settings["optim.schedule"] = "one-cycle"

    def older_plan(plan: dict[str, Any]) -> None:
        for settings in (plan["settings"], *(cell["settings"] for cell in plan["cells"])):
            rename(settings)
        plan.pop("weights", None)

    edit(folder / "plan.json", older_plan)
    for path in results(folder):
        edit(path, lambda r: [r["localization"].pop(k) for k in list(r["localization"]) if "gain" in k or "prop" in k])
    edit(folder / "comparison.json", lambda c: [c.pop(key, None) for key in ("covariances", "images")])
    return folder


STUDIES = {
    "one seed": (one_seed, "unknown", "one seed"),
    "a seed that failed for one loss": (failed_for_one_loss, "unknown", "about 3 seeds in all"),
    "identical runs": (identical_runs, "same", "equal within 1 AP point"),
    "a class without test boxes": (class_without_test_boxes, "better", "Use smooth-iou"),
    "no test boxes": (no_test_boxes_at_all, "unknown", "Not known"),
    "one test image": (lambda folder: with_images(make_study(folder, effect=0.05), 1), "unknown", "more images"),
    "two test images": (lambda folder: with_images(make_study(folder, effect=0.05), 2), "unknown", "more images"),
    "version 0.1": (of_version_0_1, "better", "Use smooth-iou"),
}


@pytest.mark.parametrize("name", STUDIES)
def test_it_has_an_answer_and_no_nan(name, without_panels, tmp_path):
    make, kind, words = STUDIES[name]
    found = collect(make(tmp_path))
    headline = found["headline"]
    assert headline["kind"] == kind, headline
    assert words in " ".join([headline["text"], *headline["advice"], found["sentence"]])
    json.dumps(found, allow_nan=False)
    for path in write_report(tmp_path):
        text = path.read_text().replace("reg is NaN", "")  # what a run that failed said
        assert not re.search(r"\bnan\b", text, re.IGNORECASE), path.name


def test_a_plan_of_version_0_1_has_the_usual_margin(tmp_path):
    found = collect(of_version_0_1(tmp_path))
    assert {row["margin"] for row in found["differences"] if row["metric"] == "AP"} == {0.01}
    assert found["plan"]["settings"]["optim.schedule"] == "warmup-cosine"
    assert all(row["method"] == "t, seeds only" for row in found["differences"] if row["n"])
