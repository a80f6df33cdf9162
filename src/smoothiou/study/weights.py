"""The weights that a study's losses were given by a calibration, and calibration.json, which says how. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothiou import files, manifest
from smoothiou.errors import DataError
from smoothiou.loss_spec import STAGES

FILE = "calibration.json"

SEED = 2**31
"""Of the calibration of a study: far from its own seeds, so that no cell is the run that its weight was measured on."""

StageWeights = Mapping[str, float]


def weight_settings(weights: Mapping[str, StageWeights], loss: str) -> dict[str, float]:
    """Return the settings that give a loss its weights; a stage without one keeps 1.

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
    if not path.is_file():
        return None
    found = files.read_json(path)
    if not isinstance(found, dict) or found.get("schema_version") != manifest.SCHEMA_VERSION:
        got = found.get("schema_version") if isinstance(found, dict) else type(found).__name__
        raise DataError(f"{path}: expected schema_version {manifest.SCHEMA_VERSION}, got {got!r}.")
    kinds = {
        "reference": str, "decides": str, "moments": list, "weights": dict, "losses": dict, "suggested": dict,
        "batches": int, "steps": int, "seed": int,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            raise DataError(f"{path}: {key}: expected a {kind.__name__}, got {type(found.get(key)).__name__}.")
    return found


def how_to_measure(earlier: Mapping[str, Any] | None, *, baseline: str) -> dict[str, Any]:
    """Return the options with which the losses of a study are calibrated: those of its first calibration, if any.

    Args:
        earlier: calibration.json.
        baseline: of the study: the reference of a first calibration.
    """
    if earlier is None:
        return {"reference": baseline, "seed": SEED}
    return {key: earlier[key] for key in ("reference", "seed", "batches", "steps")}


def joined(earlier: Mapping[str, Any] | None, found: Mapping[str, Any], *, new: Sequence[str]) -> dict[str, Any]:
    """Return a calibration with new losses in it; what was found before stays as it was.

    Args:
        earlier: calibration.json before.
        found: a calibration made in the same way.
        new: the losses whose weights are taken from it.
    """
    if earlier is None:
        return dict(found)
    merged = {**earlier}
    for key in ("weights", "losses", "suggested"):
        merged[key] = {**earlier[key], **{loss: found[key][loss] for loss in new}}
    merged["extended"] = [*earlier.get("extended", []), {**found["made_by"], "losses": list(new)}]
    return merged
