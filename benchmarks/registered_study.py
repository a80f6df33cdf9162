"""The registered study of docs/study.md: tune each arm on val, then compare on test.

    python benchmarks/registered_study.py tune|primary|arms|keep --data SETS --out STUDIES [--arms N] [--jobs 2]
    python benchmarks/registered_study.py summary

SETS is a folder with the sets' folders. Every command continues where it was stopped. `tune` writes the configurations
with their AP on val to docs/results/study/tuning.json and the best of each arm to tuned.toml; `primary` and `arms`
write one study for each set into STUDIES; `keep`, which they end with, copies the results of finished cells to
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
from scipy import stats

from smoothiou.api.compare import prepare_study
from smoothiou.files import finite, write_json, write_text
from smoothiou.report.figures import describe_dots, dots_figure
from smoothiou.report.picture import drawing_alone, svg_file
from smoothiou.report.series import DotRow, Dots, dot_row
from smoothiou.study import collect
from smoothiou.study.across import mean_over_sets
from smoothiou.study.cells import cell_folder
from smoothiou.study.intervals import judged_difference
from smoothiou.study.until import FIRST_SEEDS

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
        "--tuned", tuned_of(losses, out), "--margin", "1", "--jobs", jobs, "--out", out / data,
        threads=1 if jobs == 1 else None,
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
            shutil.copytree(source, cell_folder(home, cell))
    write_json(home / "plan.json", planned.plan)


def run_arms(options: argparse.Namespace, chosen: Mapping[str, Any], *, data: str, pair: list[str]) -> None:
    """Run the other arms on one set, in a study of their own: the pair's gets more seeds by its rule."""
    sets, arms, fixed = options.data, options.out / "arms", options.out / "fixed"
    jobs = max(1, options.jobs // len(TUNED_ON))
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


ENDPOINTS = {
    "AP": "AP", "AP75": "AP75", "AP90": "AP90", "refined_mean_below_75": "refined IoU, probes below .75",
    "refined_mean_from_75": "refined IoU, probes from .75", "mean_iou_positive": "mean IoU of positives",
    "mean_iou": "localization (Table 2)",
}  # fmt: skip
PRIMARY = ENDPOINTS["AP"]
"""The other endpoints, and those of other arms, are corrected together, after Holm."""


def differences(study: dict[str, Any], candidate: str, baseline: str) -> dict[str, dict[str, Any]]:
    """Return the difference of two losses in every endpoint, with what it was for each seed.

    AP90 has no values by image: its interval is over seeds alone.
    """
    rows = {
        row["metric"]: row
        for row in (*study["differences"], *study["probe"].get("differences", ()))
        if (row["candidate"], row["baseline"]) == (candidate, baseline) and row["metric"] in ENDPOINTS
    }
    results = {(cell["loss"], cell["seed"]): cell["result"] for cell in study["cells"]}
    seeds = rows["AP"]["seeds"]
    ap90 = [[results[loss, seed]["ap_by_iou"]["0.90"] for seed in seeds] for loss in (baseline, candidate)]
    rows["AP90"] = judged_difference(*ap90, margin=0.01)
    pairs = (results[candidate, seed]["metrics"]["AP"] - results[baseline, seed]["metrics"]["AP"] for seed in seeds)
    rows["AP"]["by_seed"] = dict(zip(seeds, pairs, strict=True))
    return rows


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for there being several: the smallest times n, the next times n - 1, never falling."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return corrected


def p_value(mean: Mapping[str, float]) -> float:
    """Return the two-sided p of a mean over sets."""
    return float(2 * stats.t.sf(abs(mean["mean"]) / mean["error"], mean["degrees"]))


def summary() -> None:
    """Print the endpoints on each set and their mean over the sets; keep both, and the primary one's picture."""
    studies = {data: collect(KEPT / data) for data in SETS if (KEPT / data / "plan.json").is_file()}
    by_set = {
        data: differences(study, study["plan"]["losses"][1], study["plan"]["baseline"])
        for data, study in studies.items()
        if sum(bool(cell["result"]) for cell in study["cells"]) >= 2 * FIRST_SEEDS
    }
    if waiting := SETS.keys() - by_set.keys():
        print(f"Without {', '.join(sorted(waiting))}: fewer than {FIRST_SEEDS} seeds are finished.\n")
    rows = {label: {data: by_set[data][metric] for data in by_set} for metric, label in ENDPOINTS.items()}
    rows |= _of_other_arms()
    means = {label: mean_over_sets(list(of_sets.values())) for label, of_sets in rows.items()}
    p_values = {label: p_value(mean) for label, mean in means.items()}
    corrected = holm({label: p for label, p in p_values.items() if label != PRIMARY})
    print("| endpoint |" + "".join(f" {data} |" for data in by_set) + " mean of the sets | p | p, Holm |")
    print("|:--|" + "--:|" * (len(by_set) + 3))
    for label, of_sets in rows.items():
        cells = [_interval(label, row) for row in (*(of_sets.get(data) for data in by_set), means[label])]
        p = p_values[label]
        print(f"| {label} | {' | '.join(cells)} | {p:.3g} | {corrected.get(label, p):.3g} |")
    content = {"sets": rows, "mean": means, "p": p_values, "p_holm": corrected}
    (KEPT / "summary.json").write_text(json.dumps(finite(content), indent=1) + "\n")
    dots = [dot_row(data, PRIMARY, row["by_seed"], row) for data, row in rows[PRIMARY].items()]
    by_number = {number: row["mean"] for number, row in enumerate(rows[PRIMARY].values())}
    dots.append(dot_row("mean of the sets", PRIMARY, by_number, means[PRIMARY]))
    _draw("forest", "AP by set", dots, "AP points, tuned Smooth IoU minus tuned Huber")
    _means_table(studies)
    _arms_table()


def _of_other_arms() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the secondary endpoints that need other arms, by label and set, as far as their cells are kept."""
    chosen = json.loads((KEPT / "tuning.json").read_text())["chosen"]
    endpoints: dict[str, dict[str, dict[str, Any]]] = {}
    for label, folder, metric, arm in (
        ("AP, Smooth IoU minus fixed lambda", "fixed", "AP", "smooth-iou"),
        ("AP75, candidate minus Huber", "arms", "AP75", "candidate"),
    ):
        loss = chosen.get(arm, {}).get("loss.name")
        for data in TUNED_ON:
            home = KEPT / folder / data
            for row in collect(home)["differences"] if (home / "plan.json").is_file() else ():
                if (row["metric"], row["candidate"]) == (metric, loss) and row["error"] is not None:
                    endpoints.setdefault(label, {})[data] = row
    return {label: of_sets for label, of_sets in endpoints.items() if len(of_sets) == len(TUNED_ON)}


def _means_table(studies: Mapping[str, dict[str, Any]]) -> None:
    """Print the mean over seeds of every loss on every set, in AP points."""
    print("\n| set | loss | seeds | AP | AP50 | AP75 | AP90 |\n|:--|:--|--:|--:|--:|--:|--:|")
    for data, study in studies.items():
        for loss in study["plan"]["losses"]:
            results = [cell["result"] for cell in study["cells"] if cell["loss"] == loss and cell["result"]]
            means = [fmean(result["metrics"][name] for result in results) for name in ("AP", "AP50", "AP75")]
            means.append(fmean(result["ap_by_iou"]["0.90"] for result in results))
            numbers = " | ".join(f"{100 * mean:.1f}" for mean in means)
            print(f"| {data} | `{loss}` | {len(results)} | {numbers} |")


def _arms_table() -> None:
    """Print and draw the differences of all arms to tuned Huber; the intervals are Dunnett's."""
    studies = {
        data: collect(KEPT / "arms" / data) for data in TUNED_ON if (KEPT / "arms" / data / "plan.json").is_file()
    }
    chosen = json.loads((KEPT / "tuning.json").read_text())["chosen"]
    arm_of = {settings["loss.name"]: name for name, settings in chosen.items()}
    dots, lines = [], {}
    for data, study in studies.items():
        results = {(cell["loss"], cell["seed"]): cell["result"] for cell in study["cells"] if cell["result"]}
        for row in study["differences"]:
            if row["metric"] in ("AP", "AP75") and row["error"] is not None:
                lines.setdefault(row["candidate"], {})[data, row["metric"]] = _interval("AP", row)
            if row["metric"] == "AP" and row["error"] is not None:
                by_seed = {
                    seed: results[row["candidate"], seed]["metrics"]["AP"]
                    - results[row["baseline"], seed]["metrics"]["AP"]
                    for seed in row["seeds"]
                }
                dots.append(dot_row(f"{data}: {arm_of.get(row['candidate'], 'untuned')}", "AP", by_seed, row))
    if not dots:
        return
    columns = [(data, metric) for data in studies for metric in ("AP", "AP75")]
    print("\n| minus tuned Huber |" + "".join(f" {data}: {metric} |" for data, metric in columns))
    print("|:--|" + "--:|" * len(columns))
    for loss, of_sets in lines.items():
        print(
            f"| {arm_of.get(loss, 'untuned')}: `{loss}` |"
            + "".join(f" {of_sets.get(column, '')} |" for column in columns)
        )
    _draw("arms", "AP of every arm", dots, "AP points, minus tuned Huber")


def _interval(label: str, row: Mapping[str, Any] | None) -> str:
    """Return `+1.2 [+0.3, +2.1]`, in points for AP."""
    if row is None:
        return ""
    scale, digits = (100, 1) if label.startswith("AP") else (1, 4)
    mean, low, high = (f"{scale * row[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _draw(name: str, title: str, rows: list[DotRow], label: str) -> None:
    reach = 1.1 * max(abs(end) for row in rows for end in (row.low or 0, row.high or 0, *row.seeds.values()))
    forest = Dots(
        key="sets", title=title, candidate="smooth-iou", rows=rows, limits=(-reach, reach), label=label, margin=1
    )
    with drawing_alone(name):
        figure = dots_figure(forest, ["huber", "smooth-iou"], width=560)
        text = describe_dots(forest, "huber")
        (KEPT / f"{name}.svg").write_text(svg_file(figure, name, title=forest.title, description=text))


def _run(*words: object, threads: int | None = None) -> None:
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    subprocess.run([sys.executable, "-m", "smoothiou", *map(str, words)], check=True, env=environment)


def main() -> None:
    """Run one part of the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "primary", "arms", "keep", "summary"))
    parser.add_argument("--data", type=Path, metavar="SETS")
    parser.add_argument("--out", type=Path, metavar="STUDIES")
    parser.add_argument("--arms", type=int, default=len(ARMS), help="how many of the arms, first to last")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    if options.part == "summary":
        summary()
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
        if options.part == "arms":
            with ThreadPoolExecutor(min(options.jobs, len(TUNED_ON))) as pool:  # both sets end together
                list(pool.map(lambda data: run_arms(options, chosen, data=data, pair=pair), TUNED_ON))
    keep(options.out, options.data)


if __name__ == "__main__":
    main()
