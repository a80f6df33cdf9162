"""A detector and a split in, every number about it out."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from smoothiou.data.dataset import DetectionDataset
from smoothiou.data.export import to_coco
from smoothiou.data.records import Dataset, Record
from smoothiou.detectors import detect
from smoothiou.engine.config import RunConfig
from smoothiou.engine.detect import ImageOutput, coco_results, own_images, run_detector
from smoothiou.engine.devices import Place
from smoothiou.engine.distributed import gathered
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
from smoothiou.progress import LiveLine, clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What was measured on one split.

    Args:
        metrics, ap_by_iou, per_class: COCO's numbers, 0 to 1.
        localization: how tightly boxes fit (`evaluate.localization.summarize`).
        images: the per-image records that the paired bootstrap needs.
        predictions: detections in COCO's results format.
        data: what was measured on.
    """

    metrics: dict[str, float]
    ap_by_iou: dict[str, float]
    per_class: dict[str, float]
    localization: dict[str, Any]
    images: list[dict[str, Any]]
    predictions: list[dict[str, Any]]
    data: Dataset

    def facts(self) -> dict[str, Any]:
        """Return what was measured on."""
        return facts_of(self.data)

    def numbers(self, *, seed: int) -> dict[str, Any]:
        """Return the part of a result.json that was measured, with its signature."""
        return {
            "metrics": self.metrics,
            "ap_by_iou": self.ap_by_iou,
            "per_class": self.per_class,
            "localization": self.localization,
            "signature": signature("AP", engine=engine(), data=self.facts(), seeds=seed, version=version()),
        }


def facts_of(data: Dataset) -> dict[str, Any]:
    """Return what a result says of the split it was measured on."""
    counts = {"images": len(data.records), "boxes": sum(len(record.boxes) for record in data.records)}
    return {"name": data.name, "split": data.split, "fingerprint": data.fingerprint, **counts}


def measure(
    model: nn.Module, data: Dataset, config: RunConfig, place: Place, *, label: str, quiet: bool, refine: bool = True
) -> Measurement:
    """Run a detector once over a split and compute all metrics, in this process alone.

    Args: as in `measure_together`.
    """
    measured = measure_together(
        model, data, config, replace(place, rank=0, world=1), label=label, quiet=quiet, refine=refine
    )
    assert measured is not None
    return measured


def measure_together(
    model: nn.Module, data: Dataset, config: RunConfig, place: Place, *, label: str, quiet: bool, refine: bool = True
) -> Measurement | None:
    """Run a detector once over a split, each process over its share of the images, and compute all metrics of all.

    Args:
        model: a detector of `build_detector`.
        data: the split.
        config: settings of the run.
        place: where to compute.
        label: what is measured, for the progress line.
        quiet: no progress.
        refine: whether to refine probes, too.

    Returns:
        The numbers, to the last bit those of one process; None in the processes of rank above 0.
    """
    model.eval()
    each = PROBES_PER_BOX if refine else 0
    probes = [probes_of(record, number, data.classes, each) for number, record in enumerate(data.records, 1)]
    share = {"batch_size": config.eval.batch_size, "rank": place.rank, "world": place.world}
    own = own_images(len(data.records), **share)
    outputs: list[ImageOutput] = list(
        with_progress(
            run_detector(
                functools.partial(detect, model),
                _Images(DetectionDataset(data, cache_mb=0)),
                probes=[(boxes, labels) for boxes, labels, _ in probes],
                device=place.device,
                precision=place.precision,
                **share,
            ),
            total=len(own),
            label=label,
            quiet=quiet,
        )
    )
    seen = []
    for number, output in zip(own, outputs, strict=True):
        boxes, _, origins = probes[number]
        image = _localize(number + 1, data.records[number], data.classes, output, boxes, origins)
        seen.append((number, image, coco_results(output, image_id=number + 1)))
    everything = gathered(seen, place)
    if everything is None:
        return None
    everything.sort(key=lambda one: one[0])
    localized = [image for _, image, _ in everything]
    truth, predictions = to_coco(data), [row for _, _, rows in everything for row in rows]
    metrics, by_iou, per_class = evaluate_in_full(truth, predictions)
    return Measurement(
        metrics=metrics,
        ap_by_iou=by_iou,
        per_class=per_class,
        localization=summarize(localized),
        images=[image.record() for image in localized],
        predictions=predictions,
        data=data,
    )


def probes_of(
    record: Record, number: int, classes: Sequence[str], each: int = PROBES_PER_BOX
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probes of an image, their labels, and the truth each was jittered from.

    Args:
        record: the image.
        number: its number in the split, from 1, which decides the draws.
        classes: names; the label of the first is 1.
        each: probes per truth.
    """
    wanted = [box for box in record.boxes if not box.ignored]
    truths = np.array([box.xyxy for box in wanted], dtype=np.float64).reshape(-1, 4)
    boxes = jittered_probes(truths, image_id=number, image_size=(record.width, record.height), per_box=each)
    labels = np.array([classes.index(box.label) + 1 for box in wanted], dtype=np.int64)
    return boxes, np.repeat(labels, each), np.repeat(truths, each, axis=0)


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
        detection_boxes=output.boxes,
        detection_scores=output.scores,
        detection_labels=output.labels,
        probe_gts=origins,
        probe_boxes=probes,
        refined_boxes=output.refined,
    )


class _Images(Sequence[Tensor]):
    """The images of a data set without their targets."""

    def __init__(self, images: DetectionDataset) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self.images[index][0]


def with_progress(items: Iterator[Any], *, total: int, label: str, quiet: bool, noun: str = "image") -> Iterator[Any]:
    """Give the items, and a live line with ETA that counts them."""
    with LiveLine(quiet=quiet) as line:
        for done, item in enumerate(items, 1):
            if line.is_due(forced=line.live and done == total):
                left = clock(line.spent / done * (total - done))
                line.show(f"{label}  {noun} {done}/{total}  ETA {left}", share=done / total)
            yield item
