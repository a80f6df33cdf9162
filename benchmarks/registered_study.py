"""The registered study of docs/study.md: tune each arm on val, then compare on test.

    python benchmarks/registered_study.py tune|primary|arms --data SETS --out STUDIES [--arms N] [--jobs 2]
    python benchmarks/registered_study.py summary --out STUDIES

SETS is a folder with the sets' folders. Every command continues where it was stopped. `tune` writes the configurations
with their AP on val to docs/results/study/tuning.json and the best of each arm to tuned.toml; `primary` and `arms`
write one study for each set into STUDIES; `summary` prints the primary difference of each set and of all together, and
draws it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from smoothiou.files import finite
from smoothiou.report.figures import describe_dots, dots_figure
from smoothiou.report.picture import drawing_alone, svg_file
from smoothiou.report.series import Dots, dot_row
from smoothiou.study import collect
from smoothiou.study.across import mean_over_sets

KEPT = Path(__file__).parents[1] / "docs" / "results" / "study"
SETS = {"bccd": (), "playing_cards": (), "oxford_pets": ("--data.labels", "head"), "voc2012": ()}
"""Sets of the primary endpoint, and the settings that they need."""
TUNED_ON = ("bccd", "playing_cards")
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
    runs = [
        (data, arm, number, settings)
        for arm in ARMS[:arms]
        for number, settings in enumerate(configurations(arm))
        for data in TUNED_ON
    ]
    with ThreadPoolExecutor(jobs) as pool:
        aps = list(pool.map(lambda run: _val_ap(sets, out / "tuning", *run), runs))
    trials: dict[str, list[dict[str, Any]]] = {}
    for (data, arm, number, settings), ap in zip(runs, aps, strict=True):
        of_arm = trials.setdefault(arm.name, [])
        if number == len(of_arm):
            of_arm.append({"settings": settings, "val_AP": {}})
        of_arm[number]["val_AP"][data] = ap
    best = {name: max(of_arm, key=lambda trial: sum(trial["val_AP"].values())) for name, of_arm in trials.items()}
    KEPT.mkdir(parents=True, exist_ok=True)
    chosen = {name: trial["settings"] for name, trial in best.items()}
    content = {"seed": SEED, "sets": TUNED_ON, "trials": trials, "chosen": chosen}
    (KEPT / "tuning.json").write_text(json.dumps(content, indent=1) + "\n")
    tables = {s["loss.name"]: {key: value for key, value in s.items() if key != "loss.name"} for s in chosen.values()}
    (KEPT / "tuned.toml").write_text(tomli_w.dumps({loss: settings for loss, settings in tables.items() if settings}))
    for name, trial in best.items():
        print(name, trial["settings"], trial["val_AP"])


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
    _run(
        "compare", sets / data, *SETS[data], "--recipe", "study", "--losses", ",".join(losses), "--resplit", *rule,
        "--tuned", KEPT / "tuned.toml", "--margin", "1", "--jobs", jobs, "--out", out / data,
    )  # fmt: skip


def summary(out: Path) -> None:
    """Print the difference of the primary pair on each set and their mean; keep both, and their picture."""
    rows: dict[str, dict[str, Any]] = {}
    for data in SETS:
        if (out / data / "plan.json").is_file():
            study = collect(out / data)
            row = next(each for each in study["differences"] if each["metric"] == "AP")
            results = {(cell["loss"], cell["seed"]): cell["result"] for cell in study["cells"]}
            ours, theirs = (
                {seed: results[loss, seed]["metrics"]["AP"] for seed in row["seeds"]}
                for loss in (row["candidate"], row["baseline"])
            )
            row["by_seed"] = {seed: ours[seed] - theirs[seed] for seed in row["seeds"]}
            rows[data] = row
    mean = mean_over_sets(list(rows.values()))
    for name, row in {**rows, "mean": mean}.items():
        print(f"{name:14} AP {100 * row['mean']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]")
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "summary.json").write_text(json.dumps(finite({"sets": rows, "mean": mean}), indent=1) + "\n")
    dots = [dot_row(data, "AP", row["by_seed"], row) for data, row in rows.items()]
    means = {number: row["mean"] for number, row in enumerate(rows.values())}
    dots.append(dot_row("mean of the sets", "AP", means, mean))
    reach = 1.1 * max(abs(end) for row in dots for end in (row.low or 0, row.high or 0, *row.seeds.values()))
    label = "AP points, tuned Smooth IoU minus tuned Huber"
    forest = Dots(
        key="sets", title="AP by set", candidate="smooth-iou", rows=dots, limits=(-reach, reach), label=label, margin=1
    )
    with drawing_alone("forest"):
        figure = dots_figure(forest, ["huber", "smooth-iou"], width=560)
        text = describe_dots(forest, "huber")
        (KEPT / "forest.svg").write_text(svg_file(figure, "forest", title=forest.title, description=text))


def _run(*words: object, threads: int | None = None) -> None:
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    subprocess.run([sys.executable, "-m", "smoothiou", *map(str, words)], check=True, env=environment)


def main() -> None:
    """Run one part of the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "primary", "arms", "summary"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", type=int, default=len(ARMS), help="how many of the arms, first to last")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.part == "summary":
        summary(options.out)
        return
    if options.data is None:
        parser.error("--data is missing")
    if options.part == "tune":
        tune(options.data, options.out, arms=options.arms, jobs=options.jobs)
        return
    chosen = json.loads((KEPT / "tuning.json").read_text())["chosen"]
    pair = [chosen[name]["loss.name"] for name in ("huber", "smooth-iou")]
    if options.part == "primary":
        for data in SETS:
            compare(options.data, options.out, data=data, losses=pair, until=True, jobs=options.jobs)
        return
    others = ["huber", "smooth-iou", *(chosen[arm.name]["loss.name"] for arm in ARMS[2 : options.arms])]
    for data in TUNED_ON:  # beside the primary pair, whose seeds a rule adds
        losses = [*pair, *others]
        compare(options.data, options.out / "arms", data=data, losses=losses, until=False, jobs=options.jobs)


if __name__ == "__main__":
    main()
