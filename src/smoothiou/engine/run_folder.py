"""The folder of a run: which run it holds, what may be deleted in it, and a lock for the process at work."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import tomli_w

from smoothiou.engine.config import RunConfig, upgrade
from smoothiou.engine.identity import LATER_DEFAULTS
from smoothiou.errors import ConfigError
from smoothiou.files import LOCK, PART, lock_folder, read_json, write_json, write_text
from smoothiou.manifest import read_manifest, refuse_other_plan

# A cell's folder may hold these before its run begins.
BEFORE = {"config.toml", "log.txt", "error.txt", LOCK}
# Files of a run in the order in which they are deleted: first it is no longer finished, last it is no longer a run.
WRITTEN = (
    "done", "result.json", "predictions.json", "localization.json", "metrics.csv", "last.ckpt", "previous.ckpt",
    "best.ckpt", "error.txt", "wandb.txt", "mlflow.txt", "manifest.json",
)  # fmt: skip


def lock_run_folder(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes out of a run folder while a run works in it."""
    return lock_folder(folder, doing="is training here")


def prepare_folder(
    folder: Path, config: RunConfig, identity: Mapping[str, Any], *, overwrite: bool, longer: bool = False
) -> dict[str, Any] | None:
    """Return the result where the run is done; else make the folder ready to begin or continue.

    Args:
        folder: of the run.
        config: its settings.
        identity: of the run (see identity.py).
        overwrite: delete the run in the folder (its files, nothing else) and start anew.
        longer: go on where the run in the folder differs in fewer steps alone.

    Raises:
        ConfigError: the folder holds another run, with the differing settings named, or other files.
    """
    manifest = read_manifest(folder)
    if "identity" in manifest:
        if overwrite:
            for name in [*(path.name for path in folder.glob("*.ckpt.damaged*")), *WRITTEN]:
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        else:
            stored = {**LATER_DEFAULTS, **upgrade(manifest["identity"])}
            before, steps = stored.get("train.steps"), config.train.steps
            if longer and isinstance(before, int) and before < steps:
                refuse_other_plan(folder, {**stored, "train.steps": steps}, {**LATER_DEFAULTS, **identity}, what="run")
                _refuse_unfinished(folder, manifest, before)
                _reopen(folder, manifest, before)
                stored["train.steps"] = steps
            refuse_other_plan(folder, stored, {**LATER_DEFAULTS, **identity}, what="run")
            if (folder / "done").is_file():
                return read_json(folder / "result.json")
    elif folder.is_dir() and any(path.name not in BEFORE and path.suffix != PART for path in folder.iterdir()):
        raise ConfigError(f"{folder} holds files that are no run.", hint="Choose another folder with --out.")
    (folder / "error.txt").unlink(missing_ok=True)
    kept = config.replace({"train.feature_folder": ""})  # of a study, which may be elsewhere or gone tomorrow
    write_text(folder / "config.toml", tomli_w.dumps(kept.nested()))
    return None


def _refuse_unfinished(folder: Path, manifest: Mapping[str, Any], steps: int) -> None:
    """Refuse to train a run longer that is not at its end, or that has ended before it."""
    if not (folder / "done").is_file():
        if steps not in manifest.get("continued_from", []):
            hint = f"Give it to its end first: --steps {steps}."
            raise ConfigError(f"{folder} is not finished, and --continue trains a finished run longer.", hint=hint)
        return
    taken = read_json(folder / "result.json").get("cost", {}).get("steps", steps)
    if taken < steps:
        raise ConfigError(
            f"{folder} was ended by train.patience after step {taken} of {steps}: more steps would not be taken.",
            hint=f"Begin another run with its weights: --weights {folder}.",
        )


def _reopen(folder: Path, manifest: dict[str, Any], before: int) -> None:
    """Take back that a run is finished, and note at which step it was; its checkpoint stays."""
    earlier = [*manifest.get("continued_from", []), before]
    identity = {**manifest["identity"], "train.steps": before}
    write_json(folder / "manifest.json", {**manifest, "identity": identity, "continued_from": earlier})
    for name in ("done", "result.json", "predictions.json", "localization.json"):
        (folder / name).unlink(missing_ok=True)


def continued_from(folder: Path, config: RunConfig) -> list[int]:
    """Return the steps at which a run was finished before it was continued with more; none for most."""
    steps = read_manifest(folder).get("continued_from", [])
    return [step for step in dict.fromkeys(steps) if isinstance(step, int) and step < config.train.steps]
