"""The DIoU paper's regression experiment: boxes run down a loss for 200 steps, without a detector.

    B  <-  B - rate * (2 - IoU) * dL/dB        B = (cx, cy, w, h); rate .1, after step 160 .01, after step 180 .001

All cases are one batch: the lambda of `smooth-iou` is their mean IoU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from smoothiou.data.box_list import read_box_list
from smoothiou.errors import ConfigError, did_you_mean
from smoothiou.lab.cases import centres_for, make_cases
from smoothiou.lab.descent import STEPS, descend
from smoothiou.lab.pairs import function_of_boxes, value_and_gradient
from smoothiou.lab.published import PUBLISHED, similarity
from smoothiou.lab.real_boxes import simulate_boxes
from smoothiou.losses import LOSSES, from_spec
from smoothiou.manifest import version
from smoothiou.progress import Progress

DEFAULT_LOSSES = ("iou", "giou", "diou", "ciou", "smooth-iou", "huber")

Gradient = Callable[[Tensor, Tensor], Tensor]
"""From boxes and targets (N, 4) to dL/dboxes (N, 4)."""
Result = dict[str, Any]


def exact_gradient(spec: str) -> Gradient:
    """Return the gradient of a loss by autograd.

    Raises:
        ConfigError: no such loss or option, or it cannot be called on boxes.
    """
    on_boxes = function_of_boxes(spec, from_spec(spec))

    def gradient(boxes: Tensor, targets: Tensor) -> Tensor:
        return value_and_gradient(lambda leaf: on_boxes(leaf, targets, box_format="cxcywh"), boxes)[1]

    return gradient


def published_gradient(spec: str) -> Gradient:
    """Return what the DIoU paper's code takes for the gradient of a loss.

    Raises:
        ConfigError: the code has no such loss.
    """
    if spec not in PUBLISHED:
        raise ConfigError(f"{spec}: the published code has no such loss.", hint=did_you_mean(spec, PUBLISHED))
    return lambda boxes, targets: -PUBLISHED[spec](boxes, targets)


def simulate(
    loss: str, *, gradients: Literal["exact", "published"] = "exact", centres: int = 40, seed: int = 0
) -> Result:
    """Run the experiment with one loss.

    Args:
        loss: as on the command line, `giou` or `smooth-iou[lam=box]`.
        gradients: `exact`: the loss's own; `published`: what the paper's code computes in its place.
        centres: of anchors; each has 343 cases.
        seed: of the anchor centres.

    Returns:
        The `Trace` as a dictionary, with `kind`, `loss`, `gradients`, `cases`, `seed`, `seconds` and `signature`.

    Raises:
        ConfigError: there is no such loss, or it has no gradient of this kind.
        DivergedError: a box became infinite or NaN.
    """
    gradient = exact_gradient(loss) if gradients == "exact" else published_gradient(loss)
    cases, began = make_cases(centres, seed=seed), time.monotonic()
    trace = descend(
        cases.anchors,
        cases.targets,
        direction=lambda boxes, iou: (2 - iou)[:, None] * gradient(boxes, cases.targets),
        iou=similarity,
    )
    parts = (f"loss:{loss}", f"gradients:{gradients}", f"cases:{len(cases)}", f"seed:{seed}", "float32")
    return {
        "kind": "regression", "loss": loss, "gradients": gradients, "cases": len(cases), "seed": seed, "steps": STEPS,
        **asdict(trace), "seconds": time.monotonic() - began,
        "signature": "|".join(("regression error", *parts, f"smoothiou:{version()}")),
    }  # fmt: skip


def simulate_all(
    losses: Sequence[str] | None,
    *,
    gradients: Literal["exact", "published", "both"],
    cases: int,
    seed: int,
    boxes: Path | None,
    match_gradient: bool,
    quiet: bool,
) -> list[Result]:
    """Run the experiment, and on real boxes its successor, with every loss.

    Args:
        losses: as on the command line, `all` for every built-in loss; None: iou, giou, diou, ciou, smooth-iou, huber.
        gradients: exact, published (for losses that the paper's code has), or both.
        cases: of each simulation, rounded up to whole anchor centres where there are no real boxes.
        seed: of the anchors.
        boxes: annotation file or data set for the successor; None: the original experiment alone.
        match_gradient: see `simulate_boxes`.
        quiet: no progress.

    Returns:
        Results in the order of the losses: published, exact, then real boxes.

    Raises:
        ConfigError: a loss, a number of cases or a combination that does not exist.
        DataError: the boxes cannot be read.
    """
    centres, names = centres_for(cases), expand_losses(losses)
    published = published_losses(losses, gradients) if gradients != "exact" else []
    exact = names if gradients != "published" else ()
    # Every wrong loss is reported before the first simulation starts.
    for loss in exact:
        exact_gradient(loss)
    for loss in names if boxes is not None else ():
        from_spec(loss)
    box_list = read_box_list(boxes) if boxes is not None else None

    def run() -> Iterator[Result]:
        for loss in published:
            yield simulate(loss, gradients="published", centres=centres, seed=seed)
        for loss in exact:
            yield simulate(loss, centres=centres, seed=seed)
        if box_list is not None:
            gt_boxes = np.array(box_list.boxes, dtype=np.float64)
            for loss in names:
                yield simulate_boxes(
                    loss, gt_boxes, source=box_list.name, cases=cases, seed=seed, match_gradient=match_gradient
                )

    results, total = [], len(published) + len(exact) + len(names) * (box_list is not None)
    with Progress("simulation", total=total, quiet=quiet, transient=True) as progress:
        for result in run():
            results.append(result)
            progress.update(len(results), text=result_name(result), force=len(results) == total)
    return results


def result_name(result: Result) -> str:
    """Return what a result is of, for people."""
    if result["kind"] == "boxes":
        return f"{result['loss']} on {result['source']}"
    return f"{result['loss']}, {'published code' if result['gradients'] == 'published' else 'exact'}"


def expand_losses(losses: Sequence[str] | None) -> tuple[str, ...]:
    """Return the losses that were asked for, each once; `all` stands for every built-in loss."""
    if losses is None:
        return DEFAULT_LOSSES
    return tuple(dict.fromkeys(name for loss in losses for name in (LOSSES if loss == "all" else (loss,))))


def published_losses(losses: Sequence[str] | None, gradients: str) -> list[str]:
    """Return the losses that the published code has; GIoU brings its corrected variant along.

    Raises:
        ConfigError: only published gradients were asked for, of a loss that has none.
    """
    names = expand_losses(losses)
    missing = [loss for loss in names if loss not in PUBLISHED]
    if gradients == "published" and missing and losses is not None and "all" not in losses:
        raise ConfigError(
            f"--gradients published: the published code has no {missing[0]}.",
            hint=f"It has {', '.join(PUBLISHED)}; leave the others out, or use --gradients both.",
        )
    chosen = [loss for loss in names if loss in PUBLISHED]
    if "giou" in chosen and "giou-clamped" not in chosen:
        chosen.insert(chosen.index("giou") + 1, "giou-clamped")
    return chosen
