"""plan.json: which cells a study has. No torch."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou import files, manifest
from smoothiou.engine.config import RunConfig, upgrade
from smoothiou.engine.identity import SPLITS, cell_hash
from smoothiou.errors import ConfigError, DataError
from smoothiou.study.stage_weights import StageWeights, weight_settings
from smoothiou.study.strict_json import read_record

if TYPE_CHECKING:
    from smoothiou.data.resplit import Pool

PER_CELL = ("loss.name", "train.seed")
CUT = "data.resplit"
"""Another setting of each cell, its seed, where every seed cuts train and val anew."""

TUNABLE = ("optim.", "loss.")
"""Settings that may differ from loss to loss."""


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
    tuned = {loss: settings for loss, settings in (tuned or {}).items() if loss in losses}
    _refuse_options(config, losses, seeds, baseline=baseline, margin=margin or {})
    _refuse_tuned(tuned, calibrated=bool(weights))
    baseline = baseline or losses[0]
    data = {split: dict(facts) if facts else None for split in SPLITS for facts in [data.get(split)]}
    loss_weights = {loss: weight_settings(weights, loss) if weights else {} for loss in losses}
    ids, cells = cell_ids(losses), []
    for seed in seeds:  # seed by seed, so that an unfinished study has complete pairs
        cut, parts = ({CUT: seed}, {**data, **cuts[seed]}) if cuts else ({}, data)
        for loss in losses:
            changes = {"loss.name": loss, "train.seed": seed, **loss_weights[loss], **cut, **tuned.get(loss, {})}
            full = config.replace(changes).flat()
            cell = {"id": f"{ids[loss]}-seed{seed}", "loss": loss, "seed": seed, "hash": cell_hash(full, parts)}
            cells.append({**cell, "settings": full})
    per_cell = {*PER_CELL, *loss_weights[baseline], *([CUT] if cuts else [])}
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
        "settings": {key: value for key, value in config.flat().items() if key not in per_cell},
        "data": data,
        "classes": list(classes),
        "cells": cells,
    }


def _refuse_options(
    config: RunConfig, losses: list[str], seeds: list[int], *, baseline: str | None, margin: Mapping[str, float]
) -> None:
    values: list[Any]
    for option, values in (("--losses", losses), ("--seeds", seeds)):
        twice = [f"{value!r} twice" for value in values if values.count(value) > 1]
        if twice or not values:
            raise ConfigError(f"{option}: expected at least one and each once, got {twice[0] if twice else 'none'}.")
    if config.train.patience:
        raise ConfigError(
            "train.patience: it ends each training at a step of its own, and losses are compared after the same time.",
            hint="Leave it out (--train.patience 0); `train` takes it.",
        )
    for value in margin.values():
        if not 0 < value < 1:
            raise ConfigError(f"--margin: expected more than 0 and less than 100 points, got {100 * value:g}.")
    if baseline and baseline not in losses:
        raise ConfigError(f"--baseline: expected one of {', '.join(losses)}, got {baseline!r}.")


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
