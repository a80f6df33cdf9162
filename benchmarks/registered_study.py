"""The registered study of docs/study.md: tune each arm on val, then compare on test.

    python benchmarks/registered_study.py tune|primary|arms|control|keep --data SETS --out STUDIES
        [--first N] [--arms N] [--jobs 2]
    python benchmarks/registered_study.py summary

SETS is a folder with the sets' folders. Every command continues where it was stopped. `tune` writes the configurations
with their AP on val to docs/results/study/tuning.json, from which it continues on another machine too, and the best of
each arm to tuned.toml. `primary` and `arms` write one study for each set into STUDIES; `arms --first N` compares arm N
and those behind it with the baseline in a study of its own, where the cells of the arms before it are on another
machine. `control` is the pair on drawn images. `keep`, which they end with, copies the results of finished cells to
docs/results/study, without weights, photos and boxes. From these files alone `summary` prints the differences of each
set and of all together, and draws the primary one, and `smoothiou report docs/results/study/SET` redraws a page.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import tomli_w
from registered_summary import summary

from smoothiou.api.compare import prepare_study
from smoothiou.errors import SmoothIoUError
from smoothiou.files import write_json, write_text
from smoothiou.study.cells import cell_folder
from smoothiou.study.until import FIRST_SEEDS

KEPT = Path(__file__).parents[1] / "docs" / "results" / "study"
SETS = {"bccd": (), "playing_cards": (), "oxford_pets": ("--data.labels", "head"), "voc2012": ()}
"""Sets of the primary endpoint, and the settings that they need."""
TUNED_ON = ("bccd", "playing_cards")
SHAPES = {"clean": (), "loose": ("--data.loose", "0.1"), "long_tail": ("--data.long_tail", "1")}
"""The control: drawn images, whose boxes are known exactly; with loose training boxes; with rare classes."""
SEED = 1000
"""Of all trainings that tune; no study uses it."""
TRIALS = 3
RANGES = {"optim.lr": (0.0003, 0.003), "loss.rpn_weight": (0.5, 4.0), "loss.roi_weight": (0.5, 8.0)}
"""What is drawn for every arm, log-uniformly."""


@dataclass(frozen=True)
class Arm:
    """A loss of the study: its name with a place for the parameter that is tuned, its default, and the range."""

    name: str
    loss: str
    default: str
    range: tuple[float, float] | None = None
    uniform: bool = False


ARMS = (
    Arm("huber", "huber[delta={}]", "huber[delta=1]", (0.1, 1.0)),
    Arm("smooth-iou", "smooth-iou[iou_weight={}]", "smooth-iou[iou_weight=1]", (0.5, 8.0)),
    Arm("literal", "smooth-iou[detach=false,iou_weight={}]", "smooth-iou[detach=false,iou_weight=1]", (0.5, 8.0)),
    Arm("codes", "smooth-iou[iou_on=codes,iou_weight={}]", "smooth-iou[iou_on=codes,iou_weight=1]", (0.5, 8.0)),
    Arm("fixed", "mix[lam={}]", "mix[lam=0.5]", (0.2, 0.8), uniform=True),
    Arm("iou", "iou", "iou"),
    Arm("giou", "giou", "giou"),
    Arm("efficient-iou", "efficient-iou", "efficient-iou"),
    Arm("interp-iou", "interp-iou", "interp-iou"),
    Arm("wise-iou", "wise-iou", "wise-iou"),
    Arm("candidate", "huber/smooth-iou[lam=box,iou_weight={}]", "huber/smooth-iou[lam=box,iou_weight=1]", (1.0, 8.0)),
)
FIXED = [arm.name for arm in ARMS].index("fixed")


def configurations(arm: Arm) -> list[dict[str, Any]]:
    """Return an arm's defaults and its random configurations: settings of a run, the same on every machine."""
    draw = random.Random(f"smoothiou study 1, {arm.name}")
    trials: list[dict[str, Any]] = [{"loss.name": arm.default}]
    for _ in range(TRIALS):
        settings: dict[str, Any] = {key: _drawn(draw, *limits) for key, limits in RANGES.items()}
        value = _drawn(draw, *arm.range, uniform=arm.uniform) if arm.range else None
        trials.append({"loss.name": arm.loss.format(value), **settings})
    return trials


def _drawn(draw: random.Random, low: float, high: float, *, uniform: bool = False) -> float:
    value = draw.uniform(low, high) if uniform else math.exp(draw.uniform(math.log(low), math.log(high)))
    return float(f"{value:.3g}")


def tune(sets: Path, out: Path, *, arms: int, jobs: int) -> None:
    """Train every configuration once on each set that tunes, and keep the best of each arm by its mean AP on val."""
    file = KEPT / "tuning.json"
    trials: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())["trials"] if file.is_file() else {}
    with ThreadPoolExecutor(jobs) as pool:
        for arm in (arm for arm in ARMS[:arms] if arm.name not in trials):
            of_arm = [{"settings": settings, "val_AP": {}} for settings in configurations(arm)]
            aps = {
                (number, data): pool.submit(_val_ap, sets, out / "tuning", data, arm, number, trial["settings"])
                for number, trial in enumerate(of_arm)
                for data in TUNED_ON
            }
            for (number, data), ap in aps.items():
                of_arm[number]["val_AP"][data] = ap.result()
            trials[arm.name] = of_arm
            _keep_tuning(trials)
    for name, of_arm in trials.items():
        for trial in of_arm:
            print(name, trial["settings"], trial["val_AP"])


def _keep_tuning(trials: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write all trials with the best of each arm, and the settings of the best ones for `compare --tuned`."""
    best = {name: max(of_arm, key=lambda trial: sum(trial["val_AP"].values())) for name, of_arm in trials.items()}
    KEPT.mkdir(parents=True, exist_ok=True)
    chosen = {name: trial["settings"] for name, trial in best.items()}
    content = {"seed": SEED, "sets": TUNED_ON, "trials": trials, "chosen": chosen}
    (KEPT / "tuning.json").write_text(json.dumps(content, indent=1) + "\n")
    tables = {s["loss.name"]: {key: value for key, value in s.items() if key != "loss.name"} for s in chosen.values()}
    (KEPT / "tuned.toml").write_text(tomli_w.dumps({loss: settings for loss, settings in tables.items() if settings}))


def _val_ap(sets: Path, out: Path, data: str, arm: Arm, number: int, settings: dict[str, Any]) -> float:
    """Return the AP on val after the last step of one configuration, trained unless it is there."""
    run = out / data / f"{arm.name}-{number}"
    if not (run / "done").is_file():
        options = {
            **settings, "train.seed": SEED, "data.resplit": SEED, "train.eval_every": 300,
            "train.feature_folder": out / data / "features",
        }  # fmt: skip
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        _run("train", sets / data, *SETS[data], "--recipe", "study", *words, "--out", run, "--quiet", threads=1)
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    return float(next(row["val_AP"] for row in reversed(rows) if row["val_AP"]))


def compare(sets: Path, out: Path, *, data: str, losses: list[str], until: bool, jobs: int) -> None:
    """Run or continue the study of one set."""
    rule = ("--until", "1", "--most-seeds", "12") if until else ("--seeds", "0-4")
    _compare(sets / data, *SETS[data], "--resplit", *rule, out=out / data, losses=losses, jobs=jobs)


def control(out: Path, *, losses: list[str], jobs: int) -> None:
    """Run or continue the pair on `shapes`; nothing is cut anew, since training boxes alone are loose."""
    for kind, words in SHAPES.items():
        _compare("shapes", *words, "--seeds", "0-4", out=out / kind, losses=losses, jobs=jobs)


def _compare(*words: str | Path, out: Path, losses: list[str], jobs: int) -> None:
    _run(
        "compare", *words, "--recipe", "study", "--losses", ",".join(losses), "--tuned", tuned_of(losses, out.parent),
        "--margin", "1", "--jobs", jobs, "--out", out, threads=1 if jobs == 1 else None,
    )  # fmt: skip


def tuned_of(losses: list[str], folder: Path) -> Path:
    """Write the tuned settings of these losses alone, which are all that a study of them takes, and return the file."""
    tables = tomllib.loads((KEPT / "tuned.toml").read_text())
    file = folder / "tuned.toml"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, tomli_w.dumps({loss: tables[loss] for loss in losses if loss in tables}))
    return file


def begin(sets: Path, home: Path, *, data: str, losses: list[str], trained: Path) -> None:
    """Plan a study of five seeds with the cells of another one, which are not trained twice."""
    if (home / "plan.json").is_file():
        return
    words = iter(SETS[data])
    settings = {key.removeprefix("--").replace(".", "__"): value for key, value in zip(words, words, strict=True)}
    planned = prepare_study(
        str(sets / data), losses=losses, seeds=range(FIRST_SEEDS), recipe="study", out=home,
        tuned=tuned_of(losses, home.parent), margin=1, resplit=True, **settings,
    )  # fmt: skip
    for cell in planned.plan["cells"]:
        source = cell_folder(trained, cell)
        if (source / "done").is_file():
            shutil.copytree(source, cell_folder(home, cell), dirs_exist_ok=True)  # one that was cut off
    write_json(home / "plan.json", planned.plan)


def run_arms(options: argparse.Namespace, chosen: Mapping[str, Any], *, data: str, pair: list[str]) -> None:
    """Run the other arms on one set, in a study of their own: the pair's gets more seeds by its rule."""
    sets, arms, fixed = options.data, options.out / "arms", options.out / "fixed"
    jobs = max(1, options.jobs // len(TUNED_ON))
    if options.first is not None:
        losses = [pair[0], *(chosen[arm.name]["loss.name"] for arm in ARMS[options.first - 1 : options.arms])]
        compare(sets, options.out / f"arms{options.first}", data=data, losses=losses, until=False, jobs=jobs)
        return
    untuned = [arm.default for arm in ARMS[:2] if chosen[arm.name] != {"loss.name": arm.default}]
    losses = [*pair, *untuned, *(chosen[arm.name]["loss.name"] for arm in ARMS[2 : options.arms])]
    begin(sets, arms / data, data=data, losses=losses, trained=options.out / data)
    compare(sets, arms, data=data, losses=losses, until=False, jobs=jobs)
    if options.arms > FIXED:  # the difference of two candidates needs a study whose baseline one of them is
        losses = [chosen[ARMS[FIXED].name]["loss.name"], pair[1]]
        begin(sets, fixed / data, data=data, losses=losses, trained=arms / data)
        compare(sets, fixed, data=data, losses=losses, until=False, jobs=jobs)


def keep(out: Path, sets: Path) -> None:
    """Copy what is small of every study: its plan, and the results and values by image of the cells that are done."""
    for plan in sorted(out.glob("**/plan.json")):
        study, kept = plan.parent, KEPT / plan.parent.relative_to(out)
        for cell in sorted(path.parent for path in study.glob("cells/*/done")):
            home = kept / "cells" / cell.name
            home.mkdir(parents=True, exist_ok=True)
            for name in ("result.json", "done", "metrics.csv"):
                (home / name).write_text((cell / name).read_text())
            _copy_json(cell / "manifest.json", home, sets)
            (home / "by_image.csv").write_text(_by_image(cell))
        kept.mkdir(parents=True, exist_ok=True)
        _copy_json(plan, kept, sets)
        if (study / "comparison.json").is_file():
            _copy_json(study / "comparison.json", kept, sets, gallery=[])  # which is of photos


def _copy_json(file: Path, folder: Path, sets: Path, **changes: Any) -> None:
    """Copy a file without the folders of this machine: the sets' is SETS, of other paths the last name stays."""

    def portable(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: portable(each) for key, each in value.items()}
        if isinstance(value, list):
            return [portable(each) for each in value]
        if isinstance(value, str) and Path(value).is_absolute():
            path = Path(value)
            return f"SETS/{path.relative_to(sets.resolve())}" if path.is_relative_to(sets.resolve()) else path.name
        return value

    content = {**portable(json.loads(file.read_text())), **changes}
    (folder / file.name).write_text(json.dumps(content) + "\n")


def _by_image(cell: Path) -> str:
    """Return what the second stage did on each test image, as CSV: a mean over no box is empty."""
    lines = ["image_id,mean_iou,mean_iou_positive,mean_iou_matched,refined_below_75,refined_from_75"]
    for row in json.loads((cell / "localization.json").read_text())["images"]:
        probes = list(zip(row["before"], row["refined"], strict=True))
        means = [
            row["raw_mean"],
            *(
                row[f"{kind}_sum"] / row[f"{kind}_count"] if row[f"{kind}_count"] else None
                for kind in ("positive", "matched")
            ),
            *(
                fmean(group) if group else None
                for group in ([r for b, r in probes if b < 0.75], [r for b, r in probes if b >= 0.75])
            ),
        ]
        lines.append(",".join([str(row["image_id"]), *("" if each is None else f"{each:.5f}" for each in means)]))
    return "\n".join(lines) + "\n"


def _run(*words: object, threads: int | None = None) -> None:
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    code = subprocess.run(
        [sys.executable, "-m", "smoothiou", *map(str, words)], check=False, env=environment
    ).returncode
    if code:  # it has said why
        raise SystemExit(code)


def main() -> None:
    """Run one part of the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "primary", "arms", "control", "keep", "summary"))
    parser.add_argument("--data", type=Path, metavar="SETS")
    parser.add_argument("--out", type=Path, metavar="STUDIES")
    parser.add_argument("--arms", type=int, default=len(ARMS), help="how many of the arms, first to last")
    parser.add_argument(
        "--first",
        type=int,
        choices=range(1, len(ARMS) + 1),
        metavar="N",
        help="of `arms`: the first of those run, from 1",
    )
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.part == "summary":
        summary(KEPT, sets=SETS, tuned_on=TUNED_ON)
        return
    if options.data is None or options.out is None:
        parser.error("--data or --out is missing")
    if options.part == "tune":
        tune(options.data, options.out, arms=options.arms, jobs=options.jobs)
        return
    if options.part != "keep":
        chosen = json.loads((KEPT / "tuning.json").read_text())["chosen"]
        pair = [chosen[name]["loss.name"] for name in ("huber", "smooth-iou")]
        for data in SETS if options.part == "primary" else ():
            compare(options.data, options.out, data=data, losses=pair, until=True, jobs=options.jobs)
        if options.part == "control":
            control(options.out / "control", losses=pair, jobs=options.jobs)
        if options.part == "arms":
            if untuned := [arm.name for arm in ARMS[: options.arms] if arm.name not in chosen]:
                parser.error(
                    f"not tuned: {', '.join(untuned)}. Run `tune --arms {options.arms}` first, or give fewer --arms"
                )
            with ThreadPoolExecutor(min(options.jobs, len(TUNED_ON))) as pool:  # both sets end together
                list(pool.map(lambda data: run_arms(options, chosen, data=data, pair=pair), TUNED_ON))
    keep(options.out, options.data)


if __name__ == "__main__":
    try:
        main()
    except SmoothIoUError as error:
        sys.exit(str(error))
