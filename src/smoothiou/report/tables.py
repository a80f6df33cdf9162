"""The tables of a report, each built once; HTML, Markdown and LaTeX are spellings of the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from smoothiou.report.cells import NOTHING, Cell, Row, Table, interval, verdict_words, write
from smoothiou.report.material import DETECTION, LOCALIZATION, METRICS, Material, Metric, full_name

BOOTSTRAPPED = ("AP", "AP50", "AP75", "mean_iou", "refined_mean_iou")


def localization_table(material: Material) -> Table:
    """Return the paper's Table 2 for this study: mean IoU of all proposed boxes, its variants beside it."""
    notes = [
        "Mean IoU, all boxes: every second-stage box of every test image, with no score threshold and no "
        "suppression, against the truth box it overlaps most; low values are expected (the paper's Table 2).",
        "Positives only: those of them above IoU 0.5. Matched: detections matched to a truth box at IoU 0.5. "
        "Refined: truth boxes, shifted and scaled at random, after one pass of the second stage; then the "
        "share of these above an IoU, in %.",
    ]
    return _metric_table(material, LOCALIZATION, "localization", "Localization: how well boxes lie", notes, wins=False)


def detection_table(material: Material) -> Table:
    """Return the paper's Table 3 for this study: COCO's AP and AR in %, with the row of wins first."""
    notes = [
        "COCO's metrics in %. Wins: on how many seeds, of those that every loss finished, a loss is the best; "
        "a tie counts for none."
        if material.candidates
        else "COCO's metrics in %."
    ]
    return _metric_table(material, DETECTION, "detection", "Detection: what is found", notes, wins=True)


def _metric_table(
    material: Material, metrics: Sequence[Metric], key: str, caption: str, notes: list[str], *, wins: bool
) -> Table:
    rows = []
    if wins and material.candidates:
        for loss in material.losses:
            counts = [material.summary["wins"].get(metric.key, {}).get(loss, 0) for metric in metrics]
            cells = [Cell(str(count), value=count) for count in counts]
            rows.append(Row(f"Wins: {loss}", cells, loss, "wins"))
    best = {metric.key: distinguishable_best(material, metric.key) for metric in metrics}
    for loss in material.losses:
        cells = []
        for metric in metrics:
            entry = material.summary["summary"].get(loss, {}).get(metric.key) or {}
            cells.append(_mean_cell(entry, metric, strong=best[metric.key] == loss))
        rows.append(Row(loss, cells, loss, "loss"))
    for candidate in material.candidates:
        cells = [_difference_cell(material.difference(candidate, metric.key), metric) for metric in metrics]
        rows.append(Row(f"{candidate} − {material.baseline}", cells, candidate, "difference"))
    notes = [
        *notes,
        "Mean over seeds, its standard deviation beneath; differences are paired by seed, their 95% t-interval "
        "over seeds beneath. Bold: the best mean, and only where the interval of its difference leaves out zero.",
    ]
    return Table(key, caption, "loss", [metric.name for metric in metrics], rows, notes)


def seeds_table(material: Material) -> Table:
    """Return the first source of doubt: would another seed tell another story?"""
    several = len(material.candidates) > 1
    rows = []
    for candidate in material.candidates:
        for metric in METRICS.values():
            entry = material.difference(candidate, metric.key)
            if entry is None:
                continue
            verdict, kind = verdict_words(entry)
            rows.append(
                Row(
                    full_name(metric),
                    [
                        *([Cell(candidate)] if several else []),
                        Cell(write(entry["mean"], metric, signed=True), value=entry["mean"]),
                        Cell(interval(entry, metric), value=entry.get("low")),
                        Cell(f"{entry['wins']} of {entry['n']}", value=entry["wins"]),
                        Cell(verdict, kind=kind),
                    ],
                    candidate,
                )
            )
    columns = [
        *(["candidate"] if several else []),
        "mean difference",
        "95% interval over seeds",
        "seeds won",
        "verdict",
    ]
    note = (
        "Doubt from training: both losses of a pair share initial weights, data order and augmentation; the "
        "interval says how far the mean difference could move with other seeds. It knows nothing of the choice "
        "of test images."
    )
    return Table("seeds", f"Other seeds: paired differences to {material.baseline}", "metric", columns, rows, [note])


def images_table(material: Material) -> Table:
    """Return the second source of doubt: would other test images tell another story?"""
    found = {(row["candidate"], row["seed"], row["metric"]): row for row in material.summary.get("bootstrap") or []}
    rows = []
    for candidate, seed in dict.fromkeys((candidate, seed) for candidate, seed, _ in found):
        cells = []
        for key in BOOTSTRAPPED:
            entry = found.get((candidate, seed, key))
            if entry is None or entry.get("difference") is None:
                cells.append(Cell(NOTHING))
                continue
            metric = METRICS[key]
            cells.append(
                Cell(
                    write(entry["difference"], metric, signed=True),
                    interval(entry, metric),
                    value=entry["difference"],
                )
            )
        rows.append(Row(f"{candidate}, seed {seed}", cells, candidate))
    resamples = sorted({row["resamples"] for row in found.values() if row.get("resamples")})
    often = f" ({', '.join(map(str, resamples))} times)" if resamples else ""
    note = (
        f"Doubt from the test set: for each pair of runs the test images were drawn anew with "
        f"replacement{often}; the interval says how far the difference of these two runs could move with "
        "other images. It knows nothing of other seeds."
    )
    columns = [full_name(METRICS[key]) for key in BOOTSTRAPPED]
    return Table("images", "Other test images: paired bootstrap, 95% intervals", "pair of runs", columns, rows, [note])


def errors_table(material: Material) -> Table:
    """Return what each kind of error costs, the localization error first; no rows where it was not computed."""
    found = material.summary.get("errors") or []
    kinds = list(found[0]["gains"]) if found else []
    rows = []
    for loss in material.losses:
        gains = [row["gains"] for row in found if row["loss"] == loss]
        if gains:
            cells = []
            for kind in kinds:
                values = [100 * gain[kind] for gain in gains if gain[kind] is not None]
                spread = f"± {stdev(values):.2f}" if len(values) > 1 else ""
                cells.append(Cell(f"{fmean(values):.2f}", detail=spread, value=fmean(values)) if values else NOTHING)
            rows.append(Row(loss, cells, loss, "loss"))
    note = (
        "How much AP50 would rise, in points, were one kind of error repaired (TIDE); mean over seeds. Localization: "
        "right class, IoU 0.1 to 0.5. Gains do not add up, because repairs overlap."
    )
    return Table("errors", "What errors cost", "loss", kinds, rows, [note])


def cost_table(material: Material) -> Table:
    """Return what each loss cost: time per step, training, evaluation, memory."""
    kinds = (
        ("seconds_per_step", "seconds per step", "{:.3f}", 1.0),
        ("train_seconds", "training, minutes", "{:.2f}", 1 / 60),
        ("eval_seconds", "evaluation, seconds", "{:.1f}", 1.0),
        ("peak_memory_mb", "peak memory, MB", "{:.0f}", 1.0),
        ("steps", "steps", "{:.0f}", 1.0),
    )
    rows = []
    for loss in material.losses:
        costs = [result.get("cost") or {} for result in material.results(loss).values()]
        cells = []
        for key, _, form, scale in kinds:
            values = [scale * cost[key] for cost in costs if cost.get(key) is not None]
            spread = f" ± {form.format(stdev(values))}" if len(values) > 1 and key != "steps" else ""
            cells.append(Cell(form.format(fmean(values)) + spread, value=fmean(values)) if values else Cell(NOTHING))
        where = sorted({f"{cost.get('device', '?')}, {cost.get('precision', '?')}" for cost in costs})
        rows.append(Row(loss, [*cells, Cell("; ".join(where) or NOTHING)], loss))
    note = "Mean ± standard deviation over the finished runs; on a busy machine times say little."
    return Table("cost", "Cost of a run", "loss", [*(name for _, name, _, _ in kinds), "device"], rows, [note])


def runs_table(material: Material) -> Table:
    """Return every run of the plan, failed ones too."""
    shown = ("AP", "mean_iou", "refined_mean_iou")
    planned = {cell["id"]: cell["settings"] for cell in material.plan["cells"]}
    rows = []
    for cell in material.summary["cells"]:
        result = cell.get("result") or {}
        values = {**(result.get("metrics") or {}), **(result.get("localization") or {})}
        rate = (result.get("optim") or {}).get("lr", planned[cell["id"]].get("optim.lr"))
        rows.append(
            Row(
                cell["id"],
                [
                    Cell(str(cell["status"]), kind="" if result else "worse"),
                    Cell(NOTHING if rate is None else f"{rate:g}", value=rate),
                    *(Cell(write(values.get(key), METRICS[key]), value=values.get(key)) for key in shown),
                ],
                cell["loss"],
            )
        )
    columns = ["status", "learning rate", *(full_name(METRICS[key]) for key in shown)]
    return Table("runs", "Every run", "run", columns, rows)


def data_table(material: Material) -> Table:
    """Return what was learnt from and tested on, with everything that was left out."""
    rows = []
    for role, split in (material.plan.get("data") or {}).items():
        if split:
            counts = split.get("counts") or {}
            cells = [Cell(f"{split.get('name')}/{split.get('split')}"), Cell(str(split.get("fingerprint")))]
            for key in ("images", "images_without_boxes", "boxes", "dropped"):
                cells.append(Cell(str(counts.get(key, NOTHING)), value=counts.get(key)))
            clipped = (counts.get("faults") or {}).get("overhang", 0)
            cells.append(Cell(str(clipped), value=clipped))
            for key in ("difficult", "crowd"):
                cells.append(Cell(str(counts.get(key, NOTHING)), value=counts.get(key)))
            rows.append(Row(role, cells))
    columns = [
        "set",
        "fingerprint",
        "images",
        "without boxes",
        "boxes",
        "dropped",
        "clipped",
        "difficult",
        "crowd",
    ]
    note = (
        "Dropped: boxes or images that could not be used. Clipped: boxes that reached beyond their image. "
        "Difficult and crowd boxes are neither learnt from nor counted."
    )
    return Table("data", "Images and boxes", "used for", columns, rows, [note])


def distinguishable_best(material: Material, key: str) -> str | None:
    """Return the loss with the best mean, if its interval against the baseline leaves out 0."""
    means = {loss: fmean(values.values()) for loss in material.losses if (values := material.seed_values(loss, key))}
    if len(means) < 2:
        return None
    best = max(means, key=lambda loss: means[loss])
    rivals = [best] if best != material.baseline else [loss for loss in means if loss != best]
    wanted = "better" if best != material.baseline else "worse"
    entries = [material.difference(rival, key) for rival in rivals]
    return best if all(entry and verdict_words(entry)[1] == wanted for entry in entries) else None


def _mean_cell(entry: dict[str, Any], metric: Metric, *, strong: bool) -> Cell:
    if entry.get("mean") is None:
        return Cell(NOTHING)
    spread = f"± {write(entry['sd'], metric)}" if entry.get("sd") is not None else ""
    return Cell(write(entry["mean"], metric), spread, strong=strong, value=entry["mean"])


def _difference_cell(entry: dict[str, Any] | None, metric: Metric) -> Cell:
    if entry is None:
        return Cell(NOTHING)
    return Cell(
        write(entry["mean"], metric, signed=True),
        interval(entry, metric).strip(NOTHING),
        value=entry["mean"],
        kind=verdict_words(entry)[1],
    )
