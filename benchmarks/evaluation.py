"""COCO's metrics against pycocotools on the same detections: time, equality to the last bit, memory, share of `eval`.

    python benchmarks/evaluation.py [--images 5000] [--each 100] [--rounds 3] [--json FILE]

Both get the same lists of dictionaries, as `predictions.json` holds them, and give COCO's nine numbers; ours checks
every entry besides. pycocotools writes into what it is given, so every call gets a copy, made while the clock stands
still. Memory is what an evaluation adds, at its largest, to what a process of its own held before: truth, detections,
and the libraries, which a small evaluation has loaded. What a detector takes for an image is measured with `nano` at
320 x 240 pixels, the fastest one there is: the share stated is the largest.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Report, arguments, interleaved, median, ratio

KEYS = {0: "AP", 1: "AP50", 2: "AP75", 3: "AP_small", 4: "AP_medium", 5: "AP_large", 6: "AR1", 7: "AR10", 8: "AR100"}
MEMORY = """
import json, sys
sys.path.insert(0, sys.argv[2])
import torch
from evaluation import ours, scene, theirs
from smoothiou.engine.devices import forget_peak_memory, peak_memory_mb
evaluate, host = ours if sys.argv[3] == "ours" else theirs, torch.device("cpu")
evaluate(*scene(2, 2))
truth, detections = json.load(open(sys.argv[1]))
forget_peak_memory(host)
before = peak_memory_mb(host)
evaluate(truth, detections)
print(peak_memory_mb(host) - before)
"""


def scene(images: int, each: int, *, classes: int = 20, boxes: int = 7) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return truth and detections: truth boxes shifted at random, a sixth of them of another class."""
    draw = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        size = np.exp(draw.uniform(np.log(12), np.log(300), (boxes, 2)))
        truth = np.c_[draw.uniform(0, 640 - size), size]
        labels = draw.integers(1, classes + 1, boxes)
        for box, label in zip(truth.tolist(), labels.tolist(), strict=True):
            row = {"id": len(annotations) + 1, "image_id": image, "category_id": label, "bbox": box}
            annotations.append({**row, "area": box[2] * box[3], "iscrowd": 0})
        chosen = draw.integers(0, boxes, each)
        found = truth[chosen] + draw.normal(0, 0.15, (each, 4)) * np.tile(truth[chosen][:, 2:], 2)
        found[:, 2:] = found[:, 2:].clip(min=1)
        kinds = np.where(draw.random(each) < 5 / 6, labels[chosen], draw.integers(1, classes + 1, each))
        each_row = zip(kinds.tolist(), found.round(3).tolist(), draw.random(each).round(6).tolist(), strict=True)
        detections += [{"image_id": image, "category_id": k, "bbox": b, "score": s} for k, b, s in each_row]
    categories = [{"id": k, "name": str(k)} for k in range(1, classes + 1)]
    pictures = [{"id": k, "width": 640, "height": 640} for k in range(1, images + 1)]
    return {"images": pictures, "annotations": annotations, "categories": categories}, detections


def copy_of(truth: dict[str, Any], detections: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the same with dictionaries of its own, into which an engine may write."""
    return {key: [dict(row) for row in rows] for key, rows in truth.items()}, [dict(row) for row in detections]


def ours(truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of `smoothiou eval`."""
    from smoothiou.metrics import evaluate_in_full

    return evaluate_in_full(truth, detections)[0]


def theirs(truth: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, float]:
    """Return pycocotools' numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[place]) for place, name in KEYS.items()}


def memory_mb(truth: Any, detections: Any, which: str) -> float:
    """Return by how much an evaluation raises the memory that a process holds, at its largest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.json"
        path.write_text(json.dumps([truth, detections]))
        here = str(Path(__file__).parent)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), here, which], capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def seconds_per_image(device: str, images: int = 24) -> float:
    """Return what `nano` takes for an image, with everything that `eval` asks of it but the metrics."""
    from smoothiou.detectors import build_detector
    from smoothiou.engine.devices import choose_placement
    from smoothiou.engine.inference import run_detector

    place = choose_placement(device, "auto")
    torch.manual_seed(0)
    model: Any = build_detector("nano", num_classes=3)
    model.to(place.device, memory_format=torch.channels_last).eval()
    pictures = [torch.randint(0, 256, (3, 240, 320), dtype=torch.uint8) for _ in range(images)]
    probes = [(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))] * images

    def run() -> None:
        list(run_detector(model, pictures, probes=probes, batch_size=8, placement=place))

    run()
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) / images


def main() -> None:
    """Measure and print the tables."""
    options = arguments(
        __doc__,
        images={"type": int, "default": 5000},
        each={"type": int, "default": 100, "help": "detections of an image"},
        rounds={"type": int, "default": 3},
    )
    report = Report("Evaluation against pycocotools", options.device)
    truth, detections = scene(options.images, options.each)
    found: dict[str, dict[str, float]] = {}
    given: list[Any] = []

    def lay_out(name: str) -> None:
        given[:] = copy_of(truth, detections)

    def keep(name: str, function: Any) -> Any:
        def run() -> None:
            found[name] = function(*given)

        return run

    engines = {"pycocotools": keep("theirs", theirs), "smoothiou": keep("ours", ours)}
    times = interleaved(engines, rounds=options.rounds, before=lay_out)
    different = [
        key
        for key, value in found["theirs"].items()
        if not (value == found["ours"][key] or (value == -1 and math.isnan(found["ours"][key])))
    ]
    if different:
        raise SystemExit(f"not the same numbers: {', '.join(different)}")
    peer = times["pycocotools"]
    rows = [
        [
            name,
            f"{median(taken):.2f}",
            f"{median(taken, cpu=True):.2f}",
            ratio(peer, taken),
            ratio(peer, taken, cpu=True),
        ]
        for name, taken in times.items()
    ]
    report.table(
        f"{options.images} images of {options.each} detections",
        ["engine", "s", "CPU s", "pycocotools / this, wall", "pycocotools / this, CPU"],
        rows,
        f"Nine numbers, equal to the last bit (AP {found['ours']['AP']:.6f}). Medians of {options.rounds} rounds.",
    )
    image = seconds_per_image(options.device)
    engine = median(times["smoothiou"])
    share = engine / (engine + options.images * image)
    report.table(
        "Share of `smoothiou eval`",
        ["detector, ms an image", "metrics, ms an image", "share of the metrics"],
        [[f"{1000 * image:.1f}", f"{1000 * engine / options.images:.2f}", f"{100 * share:.1f} %"]],
    )
    sizes = [options.images // 10, options.images // 5, 2 * options.images // 5]
    rows = []
    for count in sizes:
        part = scene(count, options.each)
        rows.append([count, *(f"{memory_mb(*part, which):.0f}" for which in ("theirs", "ours"))])
    report.table("Memory beyond truth and detections, MiB", ["images", "pycocotools", "smoothiou"], rows)
    report.write(options.json)


if __name__ == "__main__":
    main()
