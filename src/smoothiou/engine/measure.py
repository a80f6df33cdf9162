"""All metrics of a detector on a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.export import to_coco
from smoothiou.data.records import Dataset, Record
from smoothiou.engine.config import RunConfig
from smoothiou.engine.devices import Placement
from smoothiou.engine.distributed import broadcast_buffers, gather
from smoothiou.engine.inference import ImageOutput, coco_rows, run_detector, shard
from smoothiou.manifest import version
from smoothiou.metrics import (
    ImageLocalization,
    engine,
    evaluate_in_full,
    jittered_probes,
    localize_image,
    summarize,
)
from smoothiou.metrics.refinement import PROBES_PER_BOX
from smoothiou.metrics.signature import signature
from smoothiou.progress import track


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The metrics of one detector on one split.

    Args:
        metrics, ap_by_iou, per_class: COCO's numbers, 0 to 1.
        localization: how tightly boxes fit (`metrics.localization.summarize`).
        images: the per-image records that the paired bootstrap needs.
        predictions: detections in COCO's results format.
        data: the split.
    """

    metrics: dict[str, float]
    ap_by_iou: dict[str, float]
    per_class: dict[str, float]
    localization: dict[str, Any]
    images: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    data: Dataset

    def numbers(self, *, seed: int) -> dict[str, Any]:
        """Return the measured part of a result.json, with its signature."""
        return {
            "metrics": self.metrics,
            "ap_by_iou": self.ap_by_iou,
            "per_class": self.per_class,
            "localization": self.localization,
            "signature": signature("AP", engine=engine(), data=facts_of(self.data), seeds=seed, version=version()),
        }


def facts_of(data: Dataset) -> dict[str, Any]:
    """Return the facts about a test split that stand in a result."""
    counts = {"images": len(data.records), "boxes": sum(len(record.boxes) for record in data.records)}
    return {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, **counts}


def measure(
    model: nn.Module,
    data: Dataset,
    config: RunConfig,
    placement: Placement,
    *,
    label: str,
    quiet: bool,
    refine: bool = True,
) -> Measurement | None:
    """Run a detector once over a split, each process over its shard, and compute all metrics.

    Args:
        model: a detector of `build_detector`.
        data: the split.
        config: settings of the run.
        placement: device, precision and rank.
        label: of the progress line.
        quiet: no progress.
        refine: whether to refine probes, too.

    Returns:
        The numbers, to the last bit those of one process; None in the processes of rank above 0.
    """
    model.eval()
    broadcast_buffers(model, placement)
    per_box = PROBES_PER_BOX if refine else 0
    probes = [probes_of(record, number, data.classes, per_box) for number, record in enumerate(data.records, 1)]
    batch_size = config.eval.batch_size
    indices = shard(len(data.records), batch_size=batch_size, placement=placement)
    outputs = run_detector(
        model,
        Images(DetectionDataset(data, cache_mb=0)),
        probes=[(boxes, labels) for boxes, labels, _ in probes],
        batch_size=batch_size,
        placement=placement,
    )
    shard_results = []
    for index, output in zip(
        indices, track(outputs, total=len(indices), label=f"{label}  image", quiet=quiet), strict=True
    ):
        boxes, _, origins = probes[index]
        image = _localize(index + 1, data.records[index], data.classes, output, boxes, origins)
        shard_results.append((index, image, coco_rows(output.boxes, output.scores, output.labels, image_id=index + 1)))
    results = gather(shard_results, placement)
    if results is None:
        return None
    results.sort(key=lambda result: result[0])
    images = [image for _, image, _ in results]
    predictions = [row for _, _, rows in results for row in rows]
    metrics, by_iou, per_class = evaluate_in_full(to_coco(data), predictions)
    return Measurement(
        metrics=metrics,
        ap_by_iou=by_iou,
        per_class=per_class,
        localization=summarize(images),
        images=[image.record() for image in images],
        predictions=predictions,
        data=data,
    )


def measure_val(
    model: nn.Module, val: Dataset | None, config: RunConfig, placement: Placement, *, label: str, quiet: bool
) -> tuple[str, dict[str, Any], list[dict[str, Any]]] | None:
    """Return what the best scores are chosen on: name, truth and detections of the val split; None without one."""
    if val is None:
        return None
    measurement = measure(model, val, config, placement, label=f"{label}  val", quiet=quiet, refine=False)
    return ("val", to_coco(val), measurement.predictions) if measurement else None


def probes_of(
    record: Record, number: int, classes: Sequence[str], per_box: int = PROBES_PER_BOX
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probes of an image (P, 4), their labels (P,), and the ground-truth box of each (P, 4).

    Args:
        record: the image.
        number: its number in the split, from 1, which decides the draws.
        classes: names; the label of the first is 1.
        per_box: probes per ground-truth box.
    """
    counted = [box for box in record.boxes if not box.ignored]
    gt_boxes = np.array([box.xyxy for box in counted], dtype=np.float64).reshape(-1, 4)
    boxes = jittered_probes(gt_boxes, image_id=number, image_size=(record.width, record.height), per_box=per_box)
    labels = np.array([classes.index(box.label) + 1 for box in counted], dtype=np.int64)
    return boxes, np.repeat(labels, per_box), np.repeat(gt_boxes, per_box, axis=0)


def _localize(
    number: int,
    record: Record,
    classes: Sequence[str],
    output: ImageOutput,
    probes: np.ndarray,
    origins: np.ndarray,
) -> ImageLocalization:
    return localize_image(
        number,
        gt_boxes=[box.xyxy for box in record.boxes],
        gt_labels=[classes.index(box.label) + 1 for box in record.boxes],
        difficult=[box.difficult for box in record.boxes],
        crowd=[box.crowd for box in record.boxes],
        raw_boxes=output.raw_boxes,
        proposals=output.proposals,
        detection_boxes=output.boxes,
        detection_scores=output.scores,
        detection_labels=output.labels,
        probe_gts=origins,
        probe_boxes=probes,
        refined_boxes=output.refined,
    )


class Images(Sequence[Tensor]):
    """The images of a data set without their targets."""

    def __init__(self, images: DetectionDataset) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self.images[index][0]
