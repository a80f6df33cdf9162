"""plan.json: which cells a study has, and whether a study continues the one in its folder. No torch."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou import files, manifest
from smoothiou.engine.config import RunConfig, upgrade
from smoothiou.engine.identity import LATER_DEFAULTS, SPLITS, cell_hash, identity
from smoothiou.errors import ConfigError, DataError
from smoothiou.files import LockedError
from smoothiou.import_object import IN_PROCESS, is_known_here
from smoothiou.loss_spec import STAGES
from smoothiou.study.cells import cell_state, lock_cell
from smoothiou.study.intervals import MARGIN
from smoothiou.study.stage_weights import FILE, StageWeights, weight_settings
from smoothiou.study.strict_json import read_record
from smoothiou.study.until import rule_in_words

if TYPE_CHECKING:
    from smoothiou.data.resplit import Pool

PER_CELL = ("loss.name", "train.seed")
CUT = "data.resplit"
"""Another setting of each cell, its seed, where every seed cuts train and val anew."""

TUNABLE = ("optim.", "loss.")
"""Settings that may differ from loss to loss."""

WRITTEN = (
    "plan.json", FILE, "truth.json", "comparison.json", "report.html", "report.md", "tables.tex", "results.csv",
    "results.json",
)  # fmt: skip
"""All that a study's commands write into its folder beside the cells."""


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
    until: Mapping[str, Any] | None = None,
    cuts: Mapping[int, Mapping[str, Any]] | None = None,
    tuned: Mapping[str, Mapping[str, Any]] | None = None,
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
        until: from `until.stopping_rule`, where seeds are added until the differences are known; else None.
        cuts: from `facts_of_cuts`, seed -> "train" and "val", where each seed cuts them anew; else None.
        tuned: loss -> settings in place of those of `config`, such as `optim.lr`; losses without an entry keep these.
        margin: differences that do not matter: "AP" and "IoU", 0 to 1; None: those of `intervals.MARGIN`.

    Raises:
        ConfigError: no loss or seed, one named twice, an unknown baseline, a value out of range, `train.patience`, or a
            tuned setting that all losses must share.
    """
    losses, seeds = list(losses), list(seeds)
    values: list[Any]
    for option, values in (("--losses", losses), ("--seeds", seeds)):
        twice = [f"{value!r} twice" for value in values if values.count(value) > 1]
        if twice or not values:
            got = twice[0] if twice else "none"
            raise ConfigError(f"{option}: expected at least one and each once, got {got}.")
    if config.train.patience:
        raise ConfigError(
            "train.patience: it ends each training at a step of its own, and losses are compared after the same time.",
            hint="Leave it out (--train.patience 0); `train` takes it.",
        )
    if margin and not all(0 < value < 1 for value in margin.values()):
        raise ConfigError(f"--margin: expected more than 0 and less than 100 points, got {dict(margin)}.")
    baseline = baseline or losses[0]
    if baseline not in losses:
        raise ConfigError(f"--baseline: expected one of {', '.join(losses)}, got {baseline!r}.")
    tuned = {loss: settings for loss, settings in (tuned or {}).items() if loss in losses}
    _refuse_tuned(tuned, calibrated=bool(weights))
    data = {split: dict(facts) if facts else None for split in SPLITS for facts in [data.get(split)]}
    loss_weights = {loss: weight_settings(weights, loss) if weights else {} for loss in losses}
    per_cell = {*PER_CELL, *loss_weights[losses[0]], *([CUT] if cuts else [])}
    settings = {key: value for key, value in config.flat().items() if key not in per_cell}
    ids = cell_ids(losses)
    cells = []
    for seed in seeds:  # seed by seed, so that an unfinished study has complete pairs
        cut = {CUT: seed} if cuts else {}
        for loss in losses:
            full = config.replace({"loss.name": loss, "train.seed": seed, **loss_weights[loss], **cut})
            full = full.replace(tuned.get(loss, {})).flat()
            name, hash_ = f"{ids[loss]}-seed{seed}", cell_hash(full, {**data, **(cuts[seed] if cuts else {})})
            cells.append({"id": name, "loss": loss, "seed": seed, "hash": hash_, "settings": full})
    return {
        "schema_version": manifest.SCHEMA_VERSION,
        "smoothiou": manifest.version(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": list(command),
        "losses": losses,
        "baseline": baseline,
        "seeds": seeds,
        "weights": {loss: dict(weights[loss]) for loss in losses} if weights else {},
        **({"tuned": {loss: dict(settings) for loss, settings in tuned.items()}} if tuned else {}),
        **({"margin": dict(margin)} if margin else {}),
        **({"until": dict(until)} if until else {}),
        **({"cuts": {str(seed): dict(cuts[seed]) for seed in seeds}} if cuts else {}),
        "settings": settings,
        "data": data,
        "classes": list(classes),
        "cells": cells,
    }


def _refuse_tuned(tuned: Mapping[str, Mapping[str, Any]], *, calibrated: bool) -> None:
    """Refuse settings of single losses that would make their results no comparison."""
    if tuned and calibrated:
        raise ConfigError("--tuned and --calibrate both give the losses their weights.", hint="Leave one of them out.")
    for loss, settings in tuned.items():
        for key in settings:
            if not key.startswith(TUNABLE) or key in PER_CELL:
                raise ConfigError(
                    f"--tuned: {loss}: expected settings of {' or '.join(TUNABLE)}, got {key}.",
                    hint="Whatever else differs would be compared with the losses: give it to all (--KEY VALUE).",
                )


def facts_of_cuts(pool: Pool, seeds: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what a plan keeps of each seed's cut of train and val: their fingerprints and numbers of images."""
    return {
        seed: {
            split: {"fingerprint": part.fingerprint, "images": len(part.records)}
            for split, part in zip(("train", "val"), pool.cut(seed), strict=True)
        }
        for seed in seeds
    }


def cuts_in_words(cuts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return in a sentence that each seed cut train and val anew, and how many images it got."""
    numbers = {split: sorted({cut[split]["images"] for cut in cuts.values()}) for split in ("train", "val")}
    train, val = (f"{of[0]} to {of[-1]}" if len(of) > 1 else str(of[0]) for of in numbers.values())
    return (
        f"Each seed cuts train and val anew ({train} and {val} images), the same cut for all losses; test images stay. "
        "So the choice of training images is part of what differs from seed to seed."
    )


def cell_ids(losses: Sequence[str]) -> dict[str, str]:
    """Return a name for each loss that any file system takes: "smooth-iou[lam=box]" becomes "smooth-iou-lam-box".

    Names differ even where a file system ignores case. A loss keeps its name when others are appended.
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
    types = {
        "losses": list, "seeds": list, "cells": list, "classes": list, "settings": dict, "data": dict, "baseline": str,
    }  # fmt: skip
    plan = read_record(path, types)
    if not isinstance(plan.setdefault("weights", {}), dict):  # the first studies have none
        raise DataError(f"{path}: weights: expected a dict, got {type(plan['weights']).__name__}.")
    for seed in plan["seeds"] if "cuts" in plan else ():
        cut = plan["cuts"].get(str(seed)) if isinstance(plan["cuts"], dict) else None
        parts = [cut.get(split) if isinstance(cut, dict) else None for split in ("train", "val")]
        if not all(isinstance(part, dict) and {"fingerprint", "images"} <= part.keys() for part in parts):
            raise DataError(f"{path}: cuts: expected fingerprint and images of train and val of seed {seed}.")
    for index, cell in enumerate(plan["cells"]):
        missing = [key for key in ("id", "loss", "seed", "hash", "settings") if key not in cell]
        if missing:
            raise DataError(f"{path}: cells[{index}]: {missing[0]} is missing.")
        cell["settings"] = upgrade(cell["settings"])
    plan["settings"] = upgrade(plan["settings"])
    return plan


def write_or_continue(
    folder: str | Path, plan: Mapping[str, Any], *, overwrite: bool = False, baseline: str | None = None
) -> tuple[dict[str, Any], str]:
    """Write plan.json, or continue the study in the folder.

    More losses or seeds extend a study: where all other settings agree, the stored plan keeps its losses and seeds
    and the new ones come after them. Its baseline stays, unless another is named. Settings in `NEUTRAL` are taken
    from the new plan.

    Args:
        folder: of the study.
        plan: from `make_plan`.
        overwrite: delete the study in the folder (its cells and reports, nothing else) and start anew.
        baseline: the baseline that was asked for by name, if any.

    Returns:
        The plan of the study, and one sentence on what happened ("" for a new study).

    Raises:
        ConfigError: the folder holds another study (differing keys are named), or other files; or `overwrite`
            while a cell is being run.
        DataError: its plan.json is broken.
    """
    folder = Path(folder)
    continues = (folder / "plan.json").is_file()
    grown, message = continued(folder, plan, overwrite=overwrite, baseline=baseline)
    if overwrite and continues:
        _delete_study(folder)
    files.write_json(folder / "plan.json", grown)
    return grown, message


def continued(
    folder: str | Path, plan: Mapping[str, Any], *, overwrite: bool = False, baseline: str | None = None
) -> tuple[dict[str, Any], str]:
    """Return what `write_or_continue` would write and say, without writing anything.

    Raises:
        ConfigError, DataError: as it does, but for cells that are being run.
    """
    folder, plan = Path(folder), dict(plan)
    if not (folder / "plan.json").is_file():
        _refuse_foreign_folder(folder)
        return plan, ""
    if overwrite:
        return plan, f"{folder}: the earlier study is deleted; this one starts anew."
    stored = read_plan(folder)
    _refuse_lost_objects(folder, stored)
    refuse_other_study(folder, stored, plan)
    before = {**MARGIN, **stored.get("margin", {})}
    if any(before[key] != value for key, value in plan.get("margin", {}).items()):  # it must not follow the results
        raise ConfigError(
            f"--margin: the study in {folder} was begun with {before}, got {plan['margin']}.",
            hint="Leave --margin out, or begin another study with --out.",
        )
    _refuse_other_rule(folder, stored, plan)
    grown = _union(stored, plan, baseline)
    message = _what_happened(folder, stored, grown)
    if len(grown["cells"]) > len(stored["cells"]):
        extension = {"at": plan["created"], "command": plan["command"], "smoothiou": plan["smoothiou"]}
        extension["seeds"] = len(stored["seeds"])  # how many there were when its results could be seen
        grown["extended"] = [*stored.get("extended", []), extension]
    return grown, message


def refuse_other_study(folder: str | Path, stored: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Raise where a plan cannot continue the stored one: other settings, data, classes or weights.

    Raises:
        ConfigError: every differing key is named; a loss that only one of them has is no difference.
    """
    common = [loss for loss in plan["losses"] if loss in stored["losses"]]
    seeds = [seed for seed in plan["seeds"] if seed in stored["seeds"]]
    before, now = (_comparable(study, common, seeds) for study in (stored, plan))
    try:
        manifest.refuse_other_plan(Path(folder), before, now, what="study")
    except ConfigError as error:
        if before["calibrate"] and not now["calibrate"]:
            error.hint = f"Give --calibrate, with which the study was begun. {error.hint}"
        if before["resplit"] and not now["resplit"]:
            error.hint = f"Give --resplit, with which the study was begun. {error.hint}"
        raise


def _refuse_lost_objects(folder: Path, stored: Mapping[str, Any]) -> None:
    """Raise where a study compares losses that were objects of another process: nothing shows what they were."""
    named = [*stored["losses"], str(stored["settings"].get("model.name"))]
    names = re.findall(rf"{IN_PROCESS}[\w.-]+", " ".join(named))
    if lost := [name for name in names if not is_known_here(name)]:
        raise ConfigError(
            f"{folder}: its study was begun with {', '.join(lost)}, known to the process that began it alone.",
            hint="Choose another folder, or --overwrite it. What is in a module and named package.module:object can be "
            "continued.",
        )


def _refuse_other_rule(folder: Path, stored: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Raise where a study would follow another stopping rule than before its results could be seen."""
    before, now = stored.get("until"), plan.get("until")
    hint = "Another rule needs another study: --out."
    if now and now != before:
        if before:
            raise ConfigError(
                f"--until: the study in {folder} was begun with {rule_in_words(before)}, got {rule_in_words(now)}.",
                hint=hint,
            )
        if any(cell_state(folder, cell) == "done" for cell in stored["cells"]):
            raise ConfigError(
                f"--until: the study in {folder} was begun without it, and has results that could be seen.", hint=hint
            )
    if before and not now and not set(plan["seeds"]) <= set(stored["seeds"]):
        raise ConfigError(
            f"--seeds: the study in {folder} adds its seeds by a rule, {rule_in_words(before)}.",
            hint="Give these options again, and it adds what it needs.",
        )


def _comparable(plan: Mapping[str, Any], losses: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    weights, cuts = plan.get("weights") or {}, plan.get("cuts") or {}
    return {
        **LATER_DEFAULTS,
        **identity(plan["settings"], plan["data"]),
        "classes": list(plan["classes"]),
        "calibrate": bool(weights),
        "resplit": bool(cuts),
        **{f"cut.{seed}.{split}": cuts[str(seed)][split] for seed in seeds if cuts for split in ("train", "val")},
        **{
            f"tuned.{loss}.{key}": value
            for loss in losses
            for key, value in (plan.get("tuned") or {}).get(loss, {}).items()
        },
        **{f"weights.{loss}.{stage}": weights.get(loss, {}).get(stage, 1.0) for loss in losses for stage in STAGES},
    }


def _union(stored: Mapping[str, Any], plan: Mapping[str, Any], baseline: str | None) -> dict[str, Any]:
    """Return the stored plan extended by the losses and seeds of another."""
    grown = make_plan(
        RunConfig().replace(plan["settings"]),
        losses=list(dict.fromkeys([*stored["losses"], *plan["losses"]])),
        seeds=list(dict.fromkeys([*stored["seeds"], *plan["seeds"]])),
        data=plan["data"],
        classes=plan["classes"],
        command=stored.get("command", plan["command"]),
        baseline=baseline or stored["baseline"],
        weights={**plan["weights"], **stored["weights"]},
        tuned={**plan.get("tuned", {}), **stored.get("tuned", {})},
        margin=stored.get("margin"),
        until=stored.get("until") or plan.get("until"),
        cuts={int(seed): cut for plan_ in (plan, stored) for seed, cut in plan_.get("cuts", {}).items()},
    )
    return {**grown, **{key: stored[key] for key in ("created", "smoothiou", "extended") if key in stored}}


def _what_happened(folder: Path, stored: Mapping[str, Any], grown: Mapping[str, Any]) -> str:
    added = {key: [str(value) for value in grown[key] if value not in stored[key]] for key in ("losses", "seeds")}
    extensions = [f"{key} {', '.join(values)}" for key, values in added.items() if values]
    done = sum(cell_state(folder, cell) == "done" for cell in grown["cells"])
    message = f"{folder}: continued, {done} of {len(grown['cells'])} cells are done"
    if extensions:
        message += f"; extended by {' and '.join(extensions)}"
    if grown["baseline"] != stored["baseline"]:
        message += f"; baseline is now {grown['baseline']} (was {stored['baseline']})"
    if stored.get("smoothiou") != manifest.version():
        message += f"; begun with smoothiou {stored.get('smoothiou')}, continued with {manifest.version()}"
    return message + "."


def _refuse_foreign_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder, found a file.", hint="Choose another with --out.")
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith(".")) if folder.exists() else []
    if names:
        raise ConfigError(
            f"{folder} is no study but holds {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}.",
            hint="Choose an empty or a new folder with --out.",
        )


def _delete_study(folder: Path) -> None:
    for home in (folder / "cells").glob("*/"):
        try:
            with lock_cell(folder, {"id": home.name}):
                pass
        except LockedError as error:
            raise ConfigError(error.message, hint="Stop it first.") from None
    for name in ("cells", "gallery", "features"):
        # Half deleted, a cell would be no run and no new folder either: so all go at once, by name, and then for good.
        deleted = folder / f".{name}.deleted"
        shutil.rmtree(deleted, ignore_errors=True)
        if (folder / name).exists():
            os.replace(folder / name, deleted)
            shutil.rmtree(deleted, ignore_errors=True)
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)
