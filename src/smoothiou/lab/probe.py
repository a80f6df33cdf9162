"""Runs in, what the refinement probe says of them out: a number per box, compared between runs box by box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.records import Dataset
from smoothiou.detectors import refine
from smoothiou.engine.config import RunConfig, build_config
from smoothiou.engine.devices import Place
from smoothiou.engine.evaluate import OpenedRun, open_run
from smoothiou.engine.measure import facts_of, probes_of, with_progress
from smoothiou.engine.open_data import open_split, open_test
from smoothiou.errors import CheckpointError, ConfigError, DataError
from smoothiou.files import finite, read_json
from smoothiou.manifest import SCHEMA_VERSION, manifest
from smoothiou.metrics.overlap import aligned_iou
from smoothiou.study.cells import cell_folder, cell_state
from smoothiou.study.plan import read_plan
from smoothiou.study.probes import Images, compare_probes, read_probes


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """One run and its probes.

    Args:
        folder: of the run.
        loss, seed: of its settings.
        data: what was measured on: name, split, fingerprint, images, boxes.
        images: IoU before and after of every probe (`localization.json`).
    """

    folder: Path
    loss: str
    seed: int
    data: dict[str, Any]
    images: Images


def probe_runs(
    folders: Sequence[str | Path],
    *,
    baseline: str | None = None,
    checkpoint: str = "last",
    split: str | None = None,
    device: str | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare runs by what their second stages make of the same jittered truth boxes.

    Args:
        folders: of runs, or of studies, which stand for their finished cells. Runs of one loss and several seeds are
            a group, and groups are paired by seed; where a loss and seed occur twice, each run stands alone.
        baseline: the group that others are compared with; None: the first.
        checkpoint: "last" or "best".
        split: instead of each run's own test split.
        device: instead of the runs' own.
        fresh: measure anew also where a run holds what it measured when it ended.
        quiet: no progress.

    Returns:
        What `compare_probes` gives, with "data" and the "runs" that it came from.

    Raises:
        CheckpointError: a folder is no run, or its weights do not fit.
        DataError: runs of different data or classes, or a split without boxes.
        ConfigError: nothing was named, or an unknown baseline.
    """
    found = list(_expanded(folders))
    twice = [folder for folder in found if found.count(folder) > 1]
    if twice or not found:
        got = f"{twice[0]} twice" if twice else "none"
        raise ConfigError(
            f"probe: expected runs, each once, got {got}.",
            hint="Name folders of runs, or of a study with finished cells.",
        )
    runs = [
        _probed(folder, checkpoint=checkpoint, split=split, device=device, fresh=fresh, quiet=quiet) for folder in found
    ]
    for run in runs[1:]:
        _require_same_data(runs[0], run)
    names = _names(runs)
    groups: dict[str, dict[int, Images]] = {}
    for name, run in zip(names, runs, strict=True):
        groups.setdefault(name, {})[run.seed] = run.images
    return finite(
        {
            "schema_version": SCHEMA_VERSION,
            **compare_probes(groups, baseline=_chosen(baseline, groups)),
            "data": runs[0].data,
            "checkpoint": checkpoint,
            "runs": [
                {"folder": str(run.folder), "group": name, "loss": run.loss, "seed": run.seed}
                for name, run in zip(names, runs, strict=True)
            ],
            "manifest": manifest(),
        }
    )


def probe(
    model: nn.Module, data: Dataset, config: RunConfig, place: Place, *, label: str, quiet: bool = False
) -> Images:
    """Return the IoU of every probe of a split before and after a detector's second stage.

    Args:
        model: a detector of `build_detector`.
        data: the split.
        config: settings of the run.
        place: where to compute.
        label: what is measured, for the progress line.
        quiet: no progress.
    """
    each = with_progress(_probed_images(model, data, config, place), total=len(data.records), label=label, quiet=quiet)
    return list(each)


def _probed_images(model: nn.Module, data: Dataset, config: RunConfig, place: Place) -> Iterator[dict[str, Any]]:
    images, size = DetectionDataset(data, cache_mb=0), config.eval.batch_size
    for start in range(0, len(images), size):
        numbers = range(start, min(start + size, len(images)))
        probes = [probes_of(data.records[n], n + 1, data.classes) for n in numbers]
        inputs = [images[n][0].to(place.device).float().div_(255) for n in numbers]
        wanted = [(torch.from_numpy(b).float().to(place.device), torch.from_numpy(own)) for b, own, _ in probes]
        with (
            torch.inference_mode(),
            torch.autocast(place.device.type, torch.bfloat16, enabled=place.precision == "bf16"),
        ):
            refined = refine(model, inputs, wanted)
        for n, (before, _, truths), after in zip(numbers, probes, refined, strict=True):
            yield entry(n + 1, before, after.double().cpu().numpy(), truths)


def entry(number: int, before: np.ndarray, after: np.ndarray, truths: np.ndarray) -> dict[str, Any]:
    """Return an image's entry: the IoU of its probes with their truths, before and after, with five decimals."""
    ious = {"before": aligned_iou(before, truths), "refined": aligned_iou(after, truths)}
    return {"image_id": number, **{key: value.round(5).tolist() for key, value in ious.items()}}


def require_classes(folder: Path, opened: OpenedRun, data: Dataset) -> None:
    """Refuse data whose classes are not those that a run has learnt.

    Raises:
        DataError: names both.
    """
    if data.classes != opened.classes:
        raise DataError(
            f"{folder}: has learnt {', '.join(opened.classes)}, but {opened.config.data.path} now holds "
            f"{', '.join(data.classes)}.",
            hint="The data has changed since the run was trained; train again, or put the data back.",
        )


def require_boxes(data: Dataset) -> None:
    """Refuse a split that has nothing to probe.

    Raises:
        DataError: no box, or none that has to be found.
    """
    if not any(not box.ignored for record in data.records for box in record.boxes):
        raise DataError(
            f"{data.name}/{data.split}: there is no box to refine ({len(data.records)} images).",
            hint="Name a split that has boxes with --split.",
        )


def _expanded(folders: Sequence[str | Path]) -> Iterator[Path]:
    """Give the folders of runs; a study stands for its finished cells, the baseline's first."""
    for folder in map(Path, folders):
        if not (folder / "plan.json").is_file():
            yield folder
            continue
        plan = read_plan(folder)
        done = [cell for cell in plan["cells"] if cell_state(folder, cell) == "done"]
        if not done:
            raise DataError(f"{folder}: no cell of this study is done.", hint="Give `smoothiou compare` again.")
        for cell in sorted(done, key=lambda cell: cell["loss"] != plan["baseline"]):
            yield cell_folder(folder, cell)


def _probed(
    folder: Path, *, checkpoint: str, split: str | None, device: str | None, fresh: bool, quiet: bool
) -> Probed:
    """Return a run's probes: those that it measured when it ended, else measured now."""
    if not (folder / "config.toml").is_file():
        raise CheckpointError(
            f"{folder}: no run and no study (no config.toml, no plan.json there).",
            hint="Name a folder that `smoothiou train` or `smoothiou compare` has written.",
        )
    config = build_config(str(folder / "config.toml"), {})
    images = None if fresh or split or checkpoint != "last" else read_probes(folder)
    if images is not None:
        data = read_json(folder / "result.json")["data"]["test"]
        return Probed(folder=folder, loss=config.loss.name, seed=config.train.seed, data=data, images=images)
    opened = open_run(folder, checkpoint=checkpoint, device=device)
    test = open_split(opened.config.data, split) if split else open_test(opened.config.data)
    require_classes(folder, opened, test)
    require_boxes(test)
    images = probe(opened.model, test, opened.config, opened.place, label=folder.name, quiet=quiet)
    return Probed(folder=folder, loss=config.loss.name, seed=config.train.seed, data=facts_of(test), images=images)


def _require_same_data(first: Probed, other: Probed) -> None:
    if first.data["fingerprint"] != other.data["fingerprint"]:
        places = [f"{run.folder} on {run.data['name']}/{run.data['split']}" for run in (first, other)]
        prints = f"{first.data['fingerprint']} and {other.data['fingerprint']}"
        raise DataError(
            f"probe: {places[0]} and {places[1]}: other images, boxes or classes ({prints}), so boxes do not pair up.",
            hint="Name runs that are tested on the same data.",
        )


def _names(runs: Sequence[Probed]) -> list[str]:
    """Return the group of each run: its loss, or its folder where a loss and seed occur twice."""
    if len({(run.loss, run.seed) for run in runs}) == len(runs):
        return [run.loss for run in runs]
    names = [run.folder.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _chosen(baseline: str | None, groups: Mapping[str, Any]) -> str:
    if baseline is not None and baseline not in groups:
        raise ConfigError(f"--baseline: expected one of {', '.join(groups)}, got {baseline!r}.")
    return baseline or next(iter(groups))
