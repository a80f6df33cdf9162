"""The weights of the losses: what they are, what they were found from, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smoothiou.report.cells import NOTHING, Cell, Row, Table
from smoothiou.report.material import Material

STAGES = {"rpn": "first stage", "roi": "second stage"}

_NOTES = (
    "Pull: the length of the gradient of a stage's box loss by the four deltas of one positive box, on average over "
    "the positives of all measured batches.",
    "Ratio: the reference's pull divided by the loss's, on the same boxes of the same detector; beneath, the middle "
    "half over single batches. The weight is the last ratio, with three digits. As boxes get better Huber's pull fades "
    "and an overlap loss's does not, so no weight fits a whole training.",
)


def weights_sentence(material: Material) -> str:
    """Return in one sentence whether losses were weighted, and against what."""
    plan, found = material.plan, material.calibration
    if not plan.get("weights"):
        return f"Not calibrated: every loss at weight {_common_weight(plan)}."
    if found is None:
        return "Calibrated, each stage of each loss with its own weight; calibration.json, which says how, is missing."
    where = f"{found['decides']} of training with {found['reference']}" if found["steps"] else "before training"
    return (
        f"Calibrated: each stage of each loss has the weight with which it pulls at its boxes as strongly as "
        f"{found['reference']} does at weight 1, measured {where} on {found['batches']} batches."
    )


def weights_table(material: Material) -> Table:
    """Return the weight of each loss in each stage with the gradients it was found from; no rows without weights."""
    weights: Mapping[str, Mapping[str, float]] = material.plan.get("weights") or {}
    found = material.calibration
    moments = [moment["name"] for moment in found["moments"]] if found else []
    columns = ["weight", *(f"{word}, {name}" for name in moments for word in ("pull", "ratio"))]
    published = found is not None and any(found["suggested"].values())
    if published:
        columns.append("in the literature")
    rows = []
    for stage in next(iter(weights.values()), {}):
        for loss in material.losses:
            weight = weights.get(loss, {}).get(stage)
            cells = [Cell(NOTHING if weight is None else f"{weight:g}", value=weight, strong=True)]
            if found:
                entries = found["losses"].get(loss, {}).get(stage, {})
                cells += [cell for name in moments for cell in _measured(entries.get(name))]
            if found and published:
                cells.append(_literature(found["suggested"].get(loss)))
            rows.append(Row(f"{loss}, {STAGES[stage]}", cells, loss, stage))
    return Table("weights", "Weights of the losses", "loss", columns, rows, [weights_sentence(material), *_NOTES])


def _measured(entry: Mapping[str, Any] | None) -> list[Cell]:
    if entry is None:
        return [Cell(NOTHING), Cell(NOTHING)]
    spread = f"[{entry['low']:.3g}, {entry['high']:.3g}]"
    return [
        Cell(f"{entry['mean']:.3g}", value=entry["mean"]),
        Cell(f"{entry['ratio']:.3g}", spread, value=entry["ratio"]),
    ]


def _literature(suggested: Mapping[str, Any] | None) -> Cell:
    if not suggested:
        return Cell(NOTHING)
    return Cell(f"{suggested['weight']:g}", str(suggested.get("source") or ""), value=suggested["weight"])


def _common_weight(plan: Mapping[str, Any]) -> str:
    """Return the weight that all losses share: one number, or one for each stage."""
    settings = plan.get("settings") or {}
    common = settings.get("loss.weight", 1.0)
    rpn, roi = (common * settings.get(f"loss.{stage}_weight", 1.0) for stage in ("rpn", "roi"))
    return f"{rpn:g}" if rpn == roi else f"{rpn:g} in the first stage and {roi:g} in the second"
