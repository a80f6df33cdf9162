"""Whether a study continues, extends or replaces the one in its folder, or is refused. No torch."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothiou import files, manifest
from smoothiou.engine.config import RunConfig
from smoothiou.engine.identity import LATER_DEFAULTS, identity
from smoothiou.errors import ConfigError
from smoothiou.files import LockedError
from smoothiou.import_object import IN_PROCESS, is_registered
from smoothiou.loss_spec import STAGES
from smoothiou.study.cells import cell_state, lock_cell
from smoothiou.study.intervals import MARGIN
from smoothiou.study.plan import make_plan, read_plan
from smoothiou.study.stage_weights import FILE
from smoothiou.study.until import rule_in_words

WRITTEN = (
    "plan.json", FILE, "truth.json", "comparison.json", "report.html", "report.md", "tables.tex", "results.csv",
    "results.json",
)  # fmt: skip
"""All that a study's commands write into its folder beside the cells."""


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
    _refuse_other_margin(folder, stored, plan)
    _refuse_other_rule(folder, stored, plan)
    grown = _union(stored, plan, baseline)
    if len(grown["cells"]) > len(stored["cells"]):
        extension = {"at": plan["created"], "command": plan["command"], "smoothiou": plan["smoothiou"]}
        extension["seeds"] = len(stored["seeds"])  # how many there were when its results could be seen
        grown["extended"] = [*stored.get("extended", []), extension]
    return grown, _changes_in_words(folder, stored, grown)


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
        for option in ("calibrate", "resplit"):
            if before[option] and not now[option]:
                error.hint = f"Give --{option}, with which the study was begun. {error.hint}"
        raise


def _refuse_lost_objects(folder: Path, stored: Mapping[str, Any]) -> None:
    """Raise where a study compares losses that were objects of another process: nothing shows what they were."""
    named = [*stored["losses"], str(stored["settings"].get("model.name"))]
    names = re.findall(rf"{IN_PROCESS}[\w.-]+", " ".join(named))
    if lost := [name for name in names if not is_registered(name)]:
        raise ConfigError(
            f"{folder}: its study was begun with {', '.join(lost)}, known to the process that began it alone.",
            hint="Choose another folder, or --overwrite it. What is in a module and named package.module:object can be "
            "continued.",
        )


def _refuse_other_margin(folder: Path, stored: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Raise where the margin would be another than before the results could be seen."""
    before = {**MARGIN, **stored.get("margin", {})}
    if any(before[key] != value for key, value in plan.get("margin", {}).items()):
        raise ConfigError(
            f"--margin: the study in {folder} was begun with {before}, got {plan['margin']}.",
            hint="Leave --margin out, or begin another study with --out.",
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


def _changes_in_words(folder: Path, stored: Mapping[str, Any], grown: Mapping[str, Any]) -> str:
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
