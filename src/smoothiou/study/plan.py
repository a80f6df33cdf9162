"""plan.json: which cells a study has, and what makes two cells the same. No torch."""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothiou import runs
from smoothiou.config import RunConfig
from smoothiou.errors import ConfigError, DataError
from smoothiou.loss_spec import STAGES
from smoothiou.study.cells import cell_folder, cell_state, claim
from smoothiou.study.weights import FILE, StageWeights, weight_settings

NEUTRAL = (
    # The fingerprints say what the data is, wherever it lies.
    "data.path", "data.format", "data.allow_dropped", "data.max_pixels", "data.follow_links",
    # Where, not what; every result records it, and `collect` says when cells differ.
    "train.device",
    # How fast, and how often something is written.
    "train.workers", "train.cache_mb", "train.log_every", "train.save_seconds",
    "train.load_seconds", "train.wait_seconds",
)  # fmt: skip
"""Settings that do not change what is learnt: a study may be continued with others."""

UNSAID = {
    "loss.rpn_weight": 1.0,
    "loss.roi_weight": 1.0,
    "model.flavour": "torchvision",
    "model.keep": 0.0,
    "optim.epsilon": 1.0,
    "optim.clip_by": "global",
    "train.deterministic": False,
    "train.compile": False,
}
"""Settings that came after the first studies, with the value that those had: it stays out of what makes a run this
run, so that what was finished before stays finished."""

PER_CELL = ("loss.name", "train.seed")
SPLITS = ("train", "val", "test")

# Million parameters of Faster R-CNN with each backbone, and optimizer states per weight: for a first guess at
# disk space.
_PARAMETERS = {
    "nano": 2.7,
    "resnet18-fpn": 28.3,
    "resnet50-fpn": 41.5,
    "mobilenet-v3-fpn": 19.4,
    "inception-v2": 13.3,
    "vgg16": 136.9,
}
_STATES = {"adamw": 2, "sgd": 1, "rmsprop": 2, "tf-rmsprop": 2}

# All that a study's own commands write into its folder beside the cells.
_WRITTEN = (
    "plan.json",
    FILE,
    "truth.json",
    "comparison.json",
    "report.html",
    "report.md",
    "tables.tex",
    "results.csv",
    "results.json",
)


def make_plan(
    config: RunConfig,
    *,
    losses: Sequence[str],
    seeds: Sequence[int],
    data: Mapping[str, Mapping[str, Any] | None],
    classes: Sequence[str],
    command: Sequence[str],
    baseline: str | None = None,
    weights: Mapping[str, StageWeights] | None = None,
) -> dict[str, Any]:
    """Return the content of plan.json: every cell with its full settings and its hash.

    Args:
        config: what all cells share; its loss and seed are replaced.
        losses: specifications as in `loss.name`, all different.
        seeds: all different; each is shared by all losses.
        data: for "train", "val" and "test" the facts of the split with its "fingerprint", or None where there
            is none.
        classes: class names in their order.
        command: the words of the command line.
        baseline: the loss all others are compared with; None: the first.
        weights: of a calibration, loss -> stage -> factor, one entry per loss; None: all cells have those of `config`.

    Raises:
        ConfigError: no loss or seed, one named twice, an unknown baseline, or a value out of range.
    """
    losses, seeds = list(losses), list(seeds)
    _require_distinct("--losses", losses)
    _require_distinct("--seeds", seeds)
    baseline = baseline or losses[0]
    if baseline not in losses:
        raise ConfigError(f"--baseline: expected one of {', '.join(losses)}, got {baseline!r}.")
    data = {split: dict(facts) if facts else None for split in SPLITS for facts in [data.get(split)]}
    own = {loss: weight_settings(weights, loss) if weights else {} for loss in losses}
    per_cell = {*PER_CELL, *own[losses[0]]}
    settings = {key: value for key, value in config.flat().items() if key not in per_cell}
    ids = cell_ids(losses)
    cells = []
    for seed in seeds:  # seed by seed, so that an unfinished study has complete pairs
        for loss in losses:
            full = config.replace({"loss.name": loss, "train.seed": seed, **own[loss]}).flat()
            cells.append(
                {
                    "id": f"{ids[loss]}-seed{seed}",
                    "loss": loss,
                    "seed": seed,
                    "hash": cell_hash(full, data),
                    "settings": full,
                }
            )
    return {
        "schema_version": runs.SCHEMA_VERSION,
        "smoothiou": runs.version(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": list(command),
        "losses": losses,
        "baseline": baseline,
        "seeds": seeds,
        "weights": {loss: dict(weights[loss]) for loss in losses} if weights else {},
        "settings": settings,
        "data": data,
        "classes": list(classes),
        "cells": cells,
    }


def _require_distinct(option: str, values: list[Any]) -> None:
    twice = [value for value in values if values.count(value) > 1]
    if twice or not values:
        got = f"{twice[0]!r} twice" if twice else "none"
        raise ConfigError(f"{option}: expected at least one and each once, got {got}.")


def cell_hash(settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Return 12 hex digits: equal for two runs that must give the same result (see `NEUTRAL`).

    Args:
        settings: `RunConfig.flat()`.
        data: per split its facts with "fingerprint", or None.
    """
    return runs.digest({"schema_version": runs.SCHEMA_VERSION, **identity(settings, data)})


def identity(settings: Mapping[str, Any], data: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return what makes a run this run: its settings without the neutral ones, and its data's fingerprints."""
    kept = {k: value for k, value in settings.items() if k not in NEUTRAL and (k, value) not in UNSAID.items()}
    prints = {
        f"data.{split}.fingerprint": facts["fingerprint"] if (facts := data.get(split)) else None for split in SPLITS
    }
    weights = settings.get("model.weights", "none")
    if content := _content(weights):  # the same path may hold other weights tomorrow
        kept["model.weights"] = f"{weights}#{content}"
    return {**kept, **prints}


def _content(weights: str) -> str:
    """Return a short hash of what the named weights hold; "" where that is no file here."""
    if not weights.startswith("tf:"):
        return runs.file_digest(Path(weights)) if Path(weights).is_file() else ""
    # NAME stands for NAME.index and NAME.data-*; it may also be one of these, or their folder.
    path = Path(weights.removeprefix("tf:"))
    name = re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name)
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, f"{glob.escape(name)}.*")
    files = [file for file in sorted(folder.glob(pattern)) if re.search(r"\.(index|data-\d+-of-\d+)$", file.name)]
    return runs.digest([runs.file_digest(file) for file in files]) if files else ""


def cell_ids(losses: Sequence[str]) -> dict[str, str]:
    """Return a readable name for each loss that any file system takes.

    For example "smooth-iou[lam=box]" becomes "smooth-iou-lam-box".
    Names differ even where a file system ignores case. An earlier loss never changes its name when one is
    appended.
    """
    names: dict[str, str] = {}
    for loss in losses:
        name = re.sub(r"[^A-Za-z0-9._]+", "-", loss).strip("-.") or "loss"
        taken = {other.lower() for other in names.values()}
        if len(name) > 80 or name.lower() in taken:
            name = f"{name[:60]}-{runs.digest(loss)}"
        names[loss] = name
    return names


def read_plan(folder: str | Path) -> dict[str, Any]:
    """Return the plan of a study.

    Raises:
        DataError: the folder holds no plan.json, or one that is broken or of another schema; names the key.
    """
    path = Path(folder) / "plan.json"
    if not path.is_file():
        raise DataError(f"{folder}: no study is here (plan.json is missing).", hint="`smoothiou compare` makes one.")
    plan = runs.read_json(path)
    if not isinstance(plan, dict) or plan.get("schema_version") != runs.SCHEMA_VERSION:
        got = plan.get("schema_version") if isinstance(plan, dict) else type(plan).__name__
        raise DataError(f"{path}: expected schema_version {runs.SCHEMA_VERSION}, got {got!r}.")
    kinds = {
        "losses": list,
        "seeds": list,
        "cells": list,
        "classes": list,
        "settings": dict,
        "data": dict,
        "baseline": str,
    }
    for key, kind in kinds.items():
        if not isinstance(plan.get(key), kind):
            raise DataError(f"{path}: {key}: expected a {kind.__name__}, got {type(plan.get(key)).__name__}.")
    if not isinstance(plan.setdefault("weights", {}), dict):
        raise DataError(f"{path}: weights: expected a dict, got {type(plan['weights']).__name__}.")
    for index, cell in enumerate(plan["cells"]):
        missing = [key for key in ("id", "loss", "seed", "hash", "settings") if key not in cell]
        if missing:
            raise DataError(f"{path}: cells[{index}]: {missing[0]} is missing.")
    return plan


def write_or_continue(
    folder: str | Path, plan: Mapping[str, Any], *, overwrite: bool = False, baseline: str | None = None
) -> tuple[dict[str, Any], str]:
    """Write plan.json, or take up the study that lies there.

    A study grows by asking for more losses or seeds: when all other settings agree, the stored plan keeps its
    losses and seeds and gets the new ones after them. Its baseline stays, unless another is named. Settings
    in `NEUTRAL` are taken from the new plan.

    Args:
        folder: of the study.
        plan: from `make_plan`.
        overwrite: delete the study that lies there (its cells and reports, nothing else) and start anew.
        baseline: the baseline that was asked for by name, if any.

    Returns:
        The plan that now holds, and one sentence on what happened ("" for a new study).

    Raises:
        ConfigError: the folder holds another study (differing keys are named), or other files; or `overwrite`
            while a cell is being run.
        DataError: its plan.json is broken.
    """
    folder, plan = Path(folder), dict(plan)
    if not (folder / "plan.json").is_file():
        _refuse_foreign_folder(folder)
        runs.write_json(folder / "plan.json", plan)
        return plan, ""
    if overwrite:
        _delete_study(folder)
        runs.write_json(folder / "plan.json", plan)
        return plan, f"{folder}: the study that was here is deleted; this one starts anew."
    stored = read_plan(folder)
    refuse_other_study(folder, stored, plan)
    grown = _union(stored, plan, baseline)
    message = _what_happened(folder, stored, grown)
    if "extended by" in message:
        words = {"at": plan["created"], "command": plan["command"], "smoothiou": plan["smoothiou"]}
        grown["extended"] = [*stored.get("extended", []), words]
    runs.write_json(folder / "plan.json", grown)
    return grown, message


def refuse_other_study(folder: str | Path, stored: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Raise where a plan cannot continue the stored one: other settings, data, classes or weights.

    Raises:
        ConfigError: every differing key is named; a loss that only one of them has is no difference.
    """
    common = [loss for loss in plan["losses"] if loss in stored["losses"]]
    there, here = (_comparable(study, common) for study in (stored, plan))
    try:
        runs.refuse_other_plan(Path(folder), there, here, what="study")
    except ConfigError as error:
        if there["calibrate"] and not here["calibrate"]:
            error.hint = f"Give --calibrate, with which the study was begun. {error.hint}"
        raise


def _comparable(plan: Mapping[str, Any], losses: Sequence[str]) -> dict[str, Any]:
    weights = plan.get("weights") or {}
    return {
        **UNSAID,
        **identity(plan["settings"], plan["data"]),
        "classes": list(plan["classes"]),
        "calibrate": bool(weights),
        **{f"weights.{loss}.{stage}": weights.get(loss, {}).get(stage, 1.0) for loss in losses for stage in STAGES},
    }


def _union(stored: Mapping[str, Any], plan: Mapping[str, Any], baseline: str | None) -> dict[str, Any]:
    """Return the stored plan with the wanted one's losses and seeds after its own."""
    base = RunConfig().replace(plan["settings"])
    grown = make_plan(
        base,
        losses=list(dict.fromkeys([*stored["losses"], *plan["losses"]])),
        seeds=list(dict.fromkeys([*stored["seeds"], *plan["seeds"]])),
        data=plan["data"],
        classes=plan["classes"],
        command=stored.get("command", plan["command"]),
        baseline=baseline or stored["baseline"],
        weights={**plan["weights"], **stored["weights"]},
    )
    kept = {key: stored[key] for key in ("created", "smoothiou", "extended") if key in stored}
    return {**grown, **kept}


def _what_happened(folder: Path, stored: Mapping[str, Any], grown: Mapping[str, Any]) -> str:
    losses = [loss for loss in grown["losses"] if loss not in stored["losses"]]
    seeds = [str(seed) for seed in grown["seeds"] if seed not in stored["seeds"]]
    news = [f"{name} {', '.join(new)}" for name, new in (("losses", losses), ("seeds", seeds)) if new]
    done = sum(cell_state(folder, cell) == "done" for cell in grown["cells"])
    message = f"{folder}: continued, {done} of {len(grown['cells'])} cells are done"
    if news:
        message += f"; extended by {' and '.join(news)}"
    if grown["baseline"] != stored["baseline"]:
        message += f"; baseline is now {grown['baseline']} (was {stored['baseline']})"
    if stored.get("smoothiou") != runs.version():
        message += f"; begun with smoothiou {stored.get('smoothiou')}, continued with {runs.version()}"
    return message + "."


def _refuse_foreign_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder, found a file.", hint="Choose another with --out.")
    found = sorted(item.name for item in folder.iterdir() if not item.name.startswith(".")) if folder.exists() else []
    if found:
        raise ConfigError(
            f"{folder} is no study but holds {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}.",
            hint="Choose an empty or a new folder with --out.",
        )


def _delete_study(folder: Path) -> None:
    for home in (folder / "cells").glob("*/"):
        with claim(folder, {"id": home.name}) as claimed:
            if claimed is None:
                raise ConfigError(f"{folder}: {home.name} is being run by another process.", hint="Stop it first.")
    for name in ("cells", "gallery"):
        # Half deleted, a cell would be no run and no new folder either: so all go at once, by name, and then for good.
        going = folder / f".{name}.deleted"
        shutil.rmtree(going, ignore_errors=True)
        if (folder / name).exists():
            os.replace(folder / name, going)
            shutil.rmtree(going, ignore_errors=True)
    for name in _WRITTEN:
        (folder / name).unlink(missing_ok=True)


def estimate(plan: Mapping[str, Any], folder: str | Path | None = None, *, jobs: int = 1) -> dict[str, Any]:
    """Return what a study will cost, for `--dry-run`.

    Args:
        plan: from `make_plan` or `write_or_continue`.
        folder: of the study; its finished cells tell seconds and disk space. None: nothing is known yet.
        jobs: cells that run at once.

    Returns:
        cells, done, to_run, steps (still to take), disk_mb (of all cells), disk_free_mb (None without a
        folder), seconds (None as long as no cell is done) and basis: where the estimate comes from, in words.
    """
    cells = plan["cells"]
    done = [cell for cell in cells if folder is not None and cell_state(folder, cell) == "done"]
    to_run = len(cells) - len(done)
    settings = plan["settings"]
    seconds = None
    if folder is not None and done:
        homes = [cell_folder(folder, cell) for cell in done]
        costs = [runs.read_json(home / "result.json").get("cost", {}) for home in homes]
        each = [(cost.get("train_seconds") or 0) + (cost.get("eval_seconds") or 0) for cost in costs]
        seconds = sum(each) / len(each) * -(-to_run // max(1, min(jobs, to_run or 1)))
        megabytes = sum(_size(home) for home in homes) / len(homes) / 1e6
        basis = f"{len(done)} finished cell{'s' if len(done) > 1 else ''}"
    else:
        weights = 4 * _PARAMETERS.get(settings["model.name"], _PARAMETERS["resnet50-fpn"])
        # best.ckpt holds weights, last.ckpt weights and the optimizer's states; 5 MB for all else.
        megabytes = weights * (2 + _STATES.get(settings["optim.name"], 2)) + 5
        basis = "the size of the model; time is known after the first cell"
    return {
        "cells": len(cells),
        "done": len(done),
        "to_run": to_run,
        "steps": to_run * settings["train.steps"],
        "disk_mb": round(megabytes * len(cells)),
        "disk_free_mb": _free_mb(Path(folder)) if folder is not None else None,
        "seconds": seconds,
        "basis": basis,
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _free_mb(folder: Path) -> int:
    there = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.is_dir())
    return round(shutil.disk_usage(there).free / 1e6)
