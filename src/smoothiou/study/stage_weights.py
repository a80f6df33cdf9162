"""The weights that a study's losses got from a calibration, and calibration.json, which records it. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothiou.loss_spec import STAGES
from smoothiou.study.strict_json import read_record

FILE = "calibration.json"

SEED = 2**31
"""Of the calibration of a study: far from its own seeds, so that no cell is the run that its weight was measured on."""

StageWeights = Mapping[str, float]


def weight_settings(weights: Mapping[str, StageWeights], loss: str) -> dict[str, float]:
    """Return the settings `loss.STAGE_weight` of a loss; a stage without a weight keeps 1.

    Args:
        weights: loss -> stage -> factor.
        loss: one of them.
    """
    return {f"loss.{stage}_weight": float(weights[loss].get(stage, 1.0)) for stage in STAGES}


def read_calibration(folder: str | Path) -> dict[str, Any] | None:
    """Return calibration.json of a study, or None where there is none.

    Raises:
        DataError: the file is broken, or of another schema; names the key.
    """
    path = Path(folder) / FILE
    types = {
        "reference": str, "decides": str, "moments": list, "weights": dict, "losses": dict, "suggested": dict,
        "batches": int, "steps": int, "seed": int,
    }  # fmt: skip
    return read_record(path, types) if path.is_file() else None


def calibration_options(earlier: Mapping[str, Any] | None, *, baseline: str) -> dict[str, Any]:
    """Return the options with which the losses of a study are calibrated: those of its first calibration, if any.

    Args:
        earlier: calibration.json.
        baseline: of the study, which is the reference of its first calibration.
    """
    if earlier is None:
        return {"reference": baseline, "seed": SEED}
    return {key: earlier[key] for key in ("reference", "seed", "batches", "steps")}


def merge_calibrations(
    earlier: Mapping[str, Any] | None, later: Mapping[str, Any], *, new: Sequence[str]
) -> dict[str, Any]:
    """Return a calibration extended by losses; what it holds of the others stays as it was.

    Args:
        earlier: calibration.json before.
        later: a calibration with the same options.
        new: the losses that are taken from it.
    """
    if earlier is None:
        return dict(later)
    merged = {**earlier}
    for key in ("weights", "losses", "suggested"):
        merged[key] = {**earlier[key], **{loss: later[key][loss] for loss in new}}
    merged["extended"] = [*earlier.get("extended", []), {**later["made_by"], "losses": list(new)}]
    return merged
