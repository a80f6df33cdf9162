"""plan.json: which cells a study has, and whether a study continues the one that lies there. No torch."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothiou import files, manifest
from smoothiou.engine.config import RunConfig
from smoothiou.engine.identity import SPLITS, UNSAID, cell_hash, identity
from smoothiou.errors import ConfigError, DataError
from smoothiou.loss_spec import STAGES
from smoothiou.study.cells import cell_state, claim
from smoothiou.study.intervals import MARGIN
from smoothiou.study.weights import FILE, StageWeights, weight_settings

PER_CELL = ("loss.name", "train.seed")

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
    margin: Mapping[str, float] | None = None,
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
        margin: differences that do not matter: "AP" and "IoU", 0 to 1; None: those of `intervals.MARGIN`.

    Raises:
        ConfigError: no loss or seed, one named twice, an unknown baseline, or a value out of range.
    """
    losses, seeds = list(losses), list(seeds)
    _require_distinct("--losses", losses)
    _require_distinct("--seeds", seeds)
    if margin and not all(0 < value < 1 for value in margin.values()):
        raise ConfigError(f"--margin: expected more than 0 and less than 100 points, got {dict(margin)}.")
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
        "schema_version": manifest.SCHEMA_VERSION,
        "smoothiou": manifest.version(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": list(command),
        "losses": losses,
        "baseline": baseline,
        "seeds": seeds,
        "weights": {loss: dict(weights[loss]) for loss in losses} if weights else {},
        **({"margin": dict(margin)} if margin else {}),
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
            name = f"{name[:60]}-{files.digest(loss)}"
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
    plan = files.read_json(path)
    if not isinstance(plan, dict) or plan.get("schema_version") != manifest.SCHEMA_VERSION:
        got = plan.get("schema_version") if isinstance(plan, dict) else type(plan).__name__
        raise DataError(f"{path}: expected schema_version {manifest.SCHEMA_VERSION}, got {got!r}.")
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
        files.write_json(folder / "plan.json", plan)
        return plan, ""
    if overwrite:
        _delete_study(folder)
        files.write_json(folder / "plan.json", plan)
        return plan, f"{folder}: the study that was here is deleted; this one starts anew."
    stored = read_plan(folder)
    refuse_other_study(folder, stored, plan)
    before = {**MARGIN, **stored.get("margin", {})}
    if any(before[key] != value for key, value in plan.get("margin", {}).items()):  # it must not follow the results
        raise ConfigError(
            f"--margin: the study in {folder} was begun with {before}, got {plan['margin']}.",
            hint="Leave --margin out, or begin another study with --out.",
        )
    grown = _union(stored, plan, baseline)
    message = _what_happened(folder, stored, grown)
    if "extended by" in message:
        words = {"at": plan["created"], "command": plan["command"], "smoothiou": plan["smoothiou"]}
        words["seeds"] = len(stored["seeds"])  # how many there were when its results could be seen
        grown["extended"] = [*stored.get("extended", []), words]
    files.write_json(folder / "plan.json", grown)
    return grown, message


def refuse_other_study(folder: str | Path, stored: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Raise where a plan cannot continue the stored one: other settings, data, classes or weights.

    Raises:
        ConfigError: every differing key is named; a loss that only one of them has is no difference.
    """
    common = [loss for loss in plan["losses"] if loss in stored["losses"]]
    there, here = (_comparable(study, common) for study in (stored, plan))
    try:
        manifest.refuse_other_plan(Path(folder), there, here, what="study")
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
        margin=stored.get("margin"),
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
    if stored.get("smoothiou") != manifest.version():
        message += f"; begun with smoothiou {stored.get('smoothiou')}, continued with {manifest.version()}"
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
