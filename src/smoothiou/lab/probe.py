"""The refinement probe of trained runs: IoU before and after for every box, compared between runs box by box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.faults import refuse_long
from smoothiou.data.records import Dataset
from smoothiou.detectors import refine
from smoothiou.engine.config import RunConfig, read_run_config
from smoothiou.engine.devices import Placement
from smoothiou.engine.evaluate import OpenedRun, open_run
from smoothiou.engine.measure import facts_of, probes_of
from smoothiou.engine.open_data import open_measured, other_data
from smoothiou.errors import CheckpointError, ConfigError, DataError
from smoothiou.files import finite, read_json
from smoothiou.manifest import SCHEMA_VERSION, manifest
from smoothiou.metrics.overlap import aligned_iou
from smoothiou.progress import track
from smoothiou.study.cells import cell_folder, cell_state
from smoothiou.study.plan import read_plan
from smoothiou.study.probes import Images, compare_probes, read_probes


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbedRun:
    """One run and its probes.

    Args:
        folder: of the run.
        loss: of its settings.
        seed: of its settings.
        data: of the probes: name, split, fingerprint, images, boxes.
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
    data: str | None = None,
    split: str | None = None,
    device: str | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare runs by how well their second stages refine the same jittered gt boxes.

    Args:
        folders: of runs, or of studies, which stand for their finished cells. Runs of one loss and several seeds are
            a group, and groups are paired by seed; where a loss and seed occur twice, each run is its own group.
        baseline: the group that others are compared with; None: the first.
        checkpoint: "last" or "best".
        data: instead of the runs' own.
        split: instead of each run's own test split.
        device: instead of the runs' own.
        fresh: compute the probes also where a run has recorded them.
        quiet: no progress.

    Returns:
        What `compare_probes` gives, with "data" and the "runs" that it came from.

    Raises:
        CheckpointError: a folder is no run, or its weights do not fit.
        DataError: runs of different data or classes, or a split without boxes.
        ConfigError: nothing was named, or an unknown baseline.
    """
    expanded = list(_expand(folders))
    twice = [folder for folder in expanded if expanded.count(folder) > 1]
    if twice or not expanded:
        raise ConfigError(
            f"probe: expected runs, each once, got {f'{twice[0]} twice' if twice else 'none'}.",
            hint="Name folders of runs, or of a study with finished cells.",
        )
    runs = [
        _probe_run(folder, data=data, checkpoint=checkpoint, split=split, device=device, fresh=fresh, quiet=quiet)
        for folder in expanded
    ]
    for run in runs[1:]:
        _require_same_data(runs[0], run)
    names = _group_names(runs)
    groups: dict[str, dict[int, Images]] = {}
    for name, run in zip(names, runs, strict=True):
        groups.setdefault(name, {})[run.seed] = run.images
    if baseline is not None and baseline not in groups:
        raise ConfigError(f"--baseline: expected one of {', '.join(groups)}, got {baseline!r}.")
    return finite(
        {
            "schema_version": SCHEMA_VERSION,
            **compare_probes(groups, baseline=baseline or names[0]),
            "data": runs[0].data,
            "checkpoint": checkpoint,
            "runs": [
                {"folder": str(run.folder), "group": name, "loss": run.loss, "seed": run.seed}
                for name, run in zip(names, runs, strict=True)
            ],
            "manifest": manifest(),
        }
    )


def _expand(folders: Sequence[str | Path]) -> Iterator[Path]:
    """Yield the folders of runs; a study stands for its finished cells, the baseline's first."""
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


def _probe_run(
    folder: Path, *, data: str | None, checkpoint: str, split: str | None, device: str | None, fresh: bool, quiet: bool
) -> ProbedRun:
    """Return a run's probes: those that it recorded when it ended, else computed now."""
    if not (folder / "config.toml").is_file():
        raise CheckpointError(
            f"{folder}: no run and no study (no config.toml, no plan.json there).",
            hint="Name a folder that `smoothiou train` or `smoothiou compare` has written.",
        )
    config = read_run_config(folder)
    images = None if fresh or data or split or checkpoint != "last" else read_probes(folder)
    if images is not None:
        facts = read_json(folder / "result.json")["data"]["test"]
    else:
        opened = open_run(folder, checkpoint=checkpoint, device=device)
        test = open_measured(other_data(opened.config.data, data), split)
        require_classes(folder, opened, test)
        require_boxes(test)
        refuse_long(test, max_size=opened.config.model.max_size)
        images, facts = probe(opened, test, label=folder.name, quiet=quiet), facts_of(test)
    return ProbedRun(folder=folder, loss=config.loss.name, seed=config.train.seed, data=facts, images=images)


def probe(opened: OpenedRun, data: Dataset, *, label: str, quiet: bool = False) -> Images:
    """Return the IoU of every probe of a split before and after the second stage of a run's detector.

    Args:
        opened: the run.
        data: the split.
        label: of the progress line.
        quiet: no progress.
    """
    entries = _entries(opened.model, data, opened.config, opened.placement)
    return list(track(entries, total=len(data.records), label=f"{label}  image", quiet=quiet))


def _entries(model: nn.Module, data: Dataset, config: RunConfig, placement: Placement) -> Iterator[dict[str, Any]]:
    images, size = DetectionDataset(data, cache_mb=0), config.eval.batch_size
    for start in range(0, len(images), size):
        batch = range(start, min(start + size, len(images)))
        probes = [probes_of(data.records[n], n + 1, data.classes) for n in batch]
        pixels = [images[n][0].to(placement.device).float().div_(255) for n in batch]
        boxes = [
            (torch.from_numpy(before).float().to(placement.device), torch.from_numpy(labels))
            for before, labels, _ in probes
        ]
        with torch.inference_mode(), placement.autocast():
            refined = refine(model, pixels, boxes)
        for n, (before, _, gt_boxes), after in zip(batch, probes, refined, strict=True):
            yield image_entry(n + 1, before, after.double().cpu().numpy(), gt_boxes)


def image_entry(image_id: int, before: np.ndarray, after: np.ndarray, gt_boxes: np.ndarray) -> dict[str, Any]:
    """Return an image's entry: the IoU of its probes with their gt boxes, before and after, with five decimals."""
    ious = {"before": aligned_iou(before, gt_boxes), "refined": aligned_iou(after, gt_boxes)}
    return {"image_id": image_id, **{key: value.round(5).tolist() for key, value in ious.items()}}


def require_classes(folder: Path, opened: OpenedRun, data: Dataset) -> None:
    """Refuse data whose classes are not those that a run was trained on.

    Raises:
        DataError: names both.
    """
    if data.classes != opened.classes:
        raise DataError(
            f"{folder}: trained on the classes {', '.join(opened.classes)}, but {opened.config.data.path} now has "
            f"{', '.join(data.classes)}.",
            hint="The data has changed since the run was trained; train again, or put the data back.",
        )


def require_boxes(data: Dataset) -> None:
    """Refuse a split that has nothing to probe.

    Raises:
        DataError: no box, or only ignored ones.
    """
    if not any(not box.ignored for record in data.records for box in record.boxes):
        raise DataError(
            f"{data.name}/{data.split}: there is no box to refine ({len(data.records)} images).",
            hint="Name a split that has boxes with --split.",
        )


def _require_same_data(first: ProbedRun, other: ProbedRun) -> None:
    if first.data["fingerprint"] != other.data["fingerprint"]:
        names = [f"{run.folder} on {run.data['name']}/{run.data['split']}" for run in (first, other)]
        fingerprints = f"{first.data['fingerprint']} and {other.data['fingerprint']}"
        raise DataError(
            f"probe: {names[0]} and {names[1]}: other images, boxes or classes ({fingerprints}), so boxes do not pair "
            "up.",
            hint="Name runs that are tested on the same data.",
        )


def _group_names(runs: Sequence[ProbedRun]) -> list[str]:
    """Return the group of each run: its loss, or its folder where a loss and seed occur twice."""
    if len({(run.loss, run.seed) for run in runs}) == len(runs):
        return [run.loss for run in runs]
    names = [run.folder.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]
