"""A fair successor of the regression experiment: real boxes, in the frame in which detectors learn.

The original has targets of one size, and its metric, L1 on (x, y, w, h), is what Huber descends. Here the targets
are the boxes of an annotation file. Around each stand anchors whose IoU with it is spread evenly over .1 to .9,
and the codes (dx, dy, dw, dh) run down each loss exactly as a detector calls it. Measured is overlap, beside L1.

A loss's scale is arbitrary and plain descent feels it: so each loss is multiplied by one number that makes the mean
norm of its first gradient that of Huber, and is run at a quarter and at four times that scale, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothiou.boxes import DELTA_WEIGHTS, deltas_iou, encode_boxes
from smoothiou.errors import DataError, DivergedError, SmoothIoUError
from smoothiou.files import digest
from smoothiou.lab.descent import rates
from smoothiou.lab.keep import LOSSES, Computed, Kept, keep
from smoothiou.lab.share import THRESHOLDS, single_threaded
from smoothiou.loss_spec import parse_loss
from smoothiou.losses import load_loss
from smoothiou.losses.catalogue import CATALOGUE
from smoothiou.manifest import version

CASES = 20_000
IOU_RANGE = (0.1, 0.9)
SPEEDS = (0.25, 1.0, 4.0)
FOUND = 0.9
SIDE_EDGES = (0.0, 16.0, 32.0, 64.0, 128.0, 256.0, float("inf"))
RATIO_EDGES = (0.0, 1 / 3, 1 / 2, 2 / 3, 1.5, 2.0, 3.0, float("inf"))
IOU_EDGES = tuple(np.linspace(*IOU_RANGE, 9).round(3).tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposals:
    """Anchors around real boxes.

    Args:
        anchors: (K, 4) corners in pixels.
        targets: (K, 4) corners in pixels.
        iou: (K,) of each anchor with its target.
    """

    anchors: Tensor
    targets: Tensor
    iou: Tensor


def draw_proposals(truths: np.ndarray, *, cases: int = CASES, seed: int = 0) -> Proposals:
    """Return one anchor per case: shifted and resized until its IoU with its target is a number drawn evenly.

    Each case draws a direction (shifts along x and y in target sides, logarithms of two size factors, all even
    in [-1, 1]) and an IoU in [.1, .9]; how far it goes in that direction is then solved for by bisection.

    Args:
        truths: (N, 4) corners in pixels; every box is used equally often, give or take one.
        cases: K.
        seed: of order, directions and IoUs.

    Raises:
        DataError: no box at all, or one without an area.
    """
    truths = np.asarray(truths, dtype=np.float64).reshape(-1, 4)
    if not len(truths):
        raise DataError("There is no box to simulate with.")
    if not np.all(truths[:, 2:] - truths[:, :2] > 0):
        raise DataError("A box without an area came to the simulation.", hint="Leave such boxes out.")
    random = np.random.default_rng(seed)
    order = random.permutation(len(truths))
    chosen = truths[order[np.arange(cases) % len(truths)]]
    direction = random.uniform(-1, 1, (cases, 4))
    wanted = random.uniform(*IOU_RANGE, cases)
    near, far = np.zeros(cases), np.ones(cases)
    while np.any(outside := _iou(_moved(direction, far)) > wanted):
        far[outside] *= 2
    for _ in range(50):
        middle = (near + far) / 2
        too_far = _iou(_moved(direction, middle)) < wanted
        near, far = np.where(too_far, near, middle), np.where(too_far, middle, far)
    moved = _moved(direction, near)
    size = chosen[:, 2:] - chosen[:, :2]
    anchors = np.concatenate((chosen[:, :2] + moved[:, :2] * size, chosen[:, :2] + moved[:, 2:] * size), axis=1)
    return Proposals(
        anchors=torch.from_numpy(anchors).float(),
        targets=torch.from_numpy(chosen).float(),
        iou=torch.from_numpy(_iou(moved)).float(),
    )


def _moved(direction: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return corners (K, 4) in the frame where the target is the unit square."""
    step = direction * distance[:, None]
    half = 0.5 * np.exp(np.clip(step[:, 2:], -30, 30))
    return np.concatenate((0.5 + step[:, :2] - half, 0.5 + step[:, :2] + half), axis=1)


def _iou(boxes: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes with the unit square."""
    overlap = np.prod(np.clip(np.minimum(boxes[:, 2:], 1) - np.maximum(boxes[:, :2], 0), 0, None), axis=1)
    return overlap / (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + 1 - overlap)


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeDescent:
    """What became of the codes after 0, 1, ... steps; see `descend_codes`."""

    error: list[float]
    mean_iou: list[float]
    above: dict[float, list[float]]
    iou: np.ndarray
    found_at: np.ndarray


def descend_codes(
    loss: Callable[..., Tensor],
    proposals: Proposals,
    *,
    factor: float,
    on_step: Callable[[int, float, float], None] | None = None,
) -> CodeDescent:
    """Let codes run down a loss for 200 steps from 0, that is, from the anchors: codes -= rate * factor * dL/dcodes.

    All cases are one batch: a loss with a batch lambda takes it over all of them.

    Args:
        loss: loss(pred_deltas, target_deltas, *, weights, anchors) -> (K,).
        proposals: where to start and where to end.
        factor: on the loss.
        on_step: told after each step: its number, mean L1 error in code units and mean IoU.

    Returns:
        Mean L1 error of the codes, mean IoU and shares above .5, .75 and .9 per step; the final IoU (K,), and the
        step (K,) after which a box's IoU was first above .9, 201 if never.

    Raises:
        DivergedError: a code became infinite or no number.
    """
    target = encode_boxes(proposals.targets, proposals.anchors)
    codes = torch.zeros_like(target)
    error: list[float] = []
    mean_iou: list[float] = []
    above: dict[float, list[float]] = {threshold: [] for threshold in THRESHOLDS}
    never = sum(1 for _ in rates())
    found_at = torch.full((len(target),), never)
    iou = torch.zeros(len(target))
    for number, rate in enumerate(rates()):
        if rate:
            codes = codes - rate * factor * code_gradient(loss, codes, target, proposals.anchors)
        iou = deltas_iou(codes, target)
        error.append((codes - target).abs().sum(-1).mean().item())
        mean_iou.append(iou.mean().item())
        for threshold, shares in above.items():
            shares.append((iou > threshold).float().mean().item())
        found_at = torch.where((iou > FOUND) & (found_at == never), number, found_at)
        if not error[-1] < float("inf"):
            raise DivergedError(f"A code became infinite or no number in step {number} of the simulation.")
        if on_step and number:
            on_step(number, error[-1], mean_iou[-1])
    return CodeDescent(error=error, mean_iou=mean_iou, above=above, iou=iou.numpy(), found_at=found_at.numpy())


def code_gradient(loss: Callable[..., Tensor], codes: Tensor, target: Tensor, anchors: Tensor) -> Tensor:
    """Return the gradient (K, 4) of the sum of a loss, called as a detector calls it."""
    leaf = codes.detach().requires_grad_()
    return torch.autograd.grad(loss(leaf, target, weights=DELTA_WEIGHTS, anchors=anchors).sum(), leaf)[0]


def matching_factor(loss: Callable[..., Tensor], proposals: Proposals, *, name: str) -> float:
    """Return the number that gives a loss's first gradient the mean norm of Huber's.

    Raises:
        SmoothIoUError: the loss has no gradient at all there.
    """
    target = encode_boxes(proposals.targets, proposals.anchors)
    own, reference = (
        code_gradient(each, torch.zeros_like(target), target, proposals.anchors).norm(dim=1).mean().item()
        for each in (loss, load_loss("huber"))
    )
    if not 0 < own < float("inf"):
        raise SmoothIoUError(
            f"{name}: the mean norm of its first gradient is {own:g}, which cannot be matched.",
            hint="Run it with --no-match-gradient.",
        )
    return reference / own


def simulate_boxes(
    loss: str,
    truths: np.ndarray,
    *,
    out: str | Path,
    source: str,
    cases: int = CASES,
    seed: int = 0,
    match_gradient: bool = True,
    on_step: Callable[[int, float, float], None] | None = None,
) -> Kept:
    """Run the successor with one loss on real boxes, or return what lies in `out` already.

    Args:
        loss: as on the command line.
        truths: (N, 4) corners in pixels.
        out: folder of results, one folder in it for each.
        source: where the boxes are from, for people.
        cases: anchors, spread over the boxes.
        seed: of the anchors.
        match_gradient: whether the loss is scaled to Huber's first gradient; if not, by its suggested weight.
        on_step: told after each step of each speed: a running number, mean L1 error and mean IoU.

    Raises:
        ConfigError: there is no such loss.
        DivergedError: a code became infinite or no number at the loss's own scale.
    """
    name, options = parse_loss(loss)
    function = load_loss(name, **options)
    config = {
        "kind": "boxes", "loss": loss, "source": source, "boxes": len(truths), "cases": cases, "seed": seed,
        "match_gradient": match_gradient, "fingerprint": digest(np.asarray(truths, dtype=np.float64).tolist()),
    }  # fmt: skip

    def compute() -> Computed:
        with single_threaded():
            return run()

    def run() -> Computed:
        proposals = draw_proposals(truths, cases=cases, seed=seed)
        began = time.monotonic()
        weight = getattr(CATALOGUE.get(name), "weight", 1.0)
        factor = matching_factor(function, proposals, name=loss) if match_gradient else weight
        runs: dict[float, CodeDescent | None] = {}
        for place, speed in enumerate(SPEEDS):
            runs[speed] = None
            try:
                told = _counting_on(on_step, place)
                # Anew each time: a loss may remember what it has seen.
                runs[speed] = descend_codes(load_loss(name, **options), proposals, factor=factor * speed, on_step=told)
            except DivergedError:
                if speed == 1:
                    raise  # a faster descent may well fail, and the result says so
        return _summary(runs, proposals, config, factor=factor, seconds=time.monotonic() - began)

    return keep(Path(out), config, compute, code=("lab/descent.py", "lab/share.py", "lab/real_boxes.py", *LOSSES))


def _counting_on(
    on_step: Callable[[int, float, float], None] | None, place: int
) -> Callable[[int, float, float], None] | None:
    steps = sum(1 for rate in rates() if rate)
    return on_step and (lambda number, error, iou: on_step(place * steps + number, error, iou))


def _summary(
    runs: dict[float, CodeDescent | None],
    proposals: Proposals,
    config: dict[str, Any],
    *,
    factor: float,
    seconds: float,
) -> Computed:
    main = runs[1.0]
    assert main is not None
    sides = (proposals.targets[:, 2:] - proposals.targets[:, :2]).double().numpy()
    side, ratio, start = np.sqrt(sides.prod(1)), sides[:, 0] / sides[:, 1], proposals.iou.double().numpy()
    signature = "|".join(
        (
            "boxes descent", f"loss:{config['loss']}", f"cases:{config['cases']}", f"boxes:{config['fingerprint']}",
            f"seed:{config['seed']}", f"matched:{config['match_gradient']}", "float32", f"smoothiou:{version()}",
        )
    )  # fmt: skip
    result = {
        "steps": len(main.error) - 1,
        "factor": factor,
        "speeds": {
            f"{speed:g}": run
            and {
                "error": run.error,
                "mean_iou": run.mean_iou,
                "above": {f"{threshold:g}": shares for threshold, shares in run.above.items()},
            }
            for speed, run in runs.items()
        },
        "maps": {
            "iou_edges": list(IOU_EDGES),
            "side_edges": list(SIDE_EDGES),
            "ratio_edges": list(RATIO_EDGES),
            "counts_by_side": _by(start, side, SIDE_EDGES, None),
            "steps_by_side": _by(start, side, SIDE_EDGES, main.found_at),
            "iou_by_side": _by(start, side, SIDE_EDGES, main.iou),
            "counts_by_ratio": _by(start, ratio, RATIO_EDGES, None),
            "steps_by_ratio": _by(start, ratio, RATIO_EDGES, main.found_at),
            "iou_by_ratio": _by(start, ratio, RATIO_EDGES, main.iou),
        },
        "seconds": seconds,
        "signature": signature,
    }
    return result, {"start_iou": start.astype(np.float32), "final_iou": main.iou, "found_at": main.found_at}


def _by(start: np.ndarray, kind: np.ndarray, edges: Sequence[float], values: np.ndarray | None) -> list[list[Any]]:
    """Return means of values, or counts, per (IoU of the anchor, kind of the target); None where there is no case."""
    rows, columns = np.digitize(start, IOU_EDGES[1:-1]), np.digitize(kind, edges[1:-1])
    cells = []
    for row in range(len(IOU_EDGES) - 1):
        inside = [(rows == row) & (columns == column) for column in range(len(edges) - 1)]
        if values is None:
            cells.append([int(cell.sum()) for cell in inside])
        else:
            cells.append([float(values[cell].mean()) if cell.any() else None for cell in inside])
    return cells
