"""The tables of a study's report, each built once for HTML, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.report.metric import (
    DETECTION,
    INTERVAL_NOTE,
    LOCALIZATION,
    METRICS,
    NOTHING,
    PARTS,
    Metric,
    conclusion_words,
    margin_words,
    method_words,
    uncertainty_shares,
)
from smoothiou.report.provenance import weights_sentence
from smoothiou.report.refinement_tables import refined_table, refinement_table
from smoothiou.report.table import Cell, Row, Table
from smoothiou.study.results import rule_of

BOOTSTRAPPED = ("AP", "AP50", "AP75", "mean_iou", "refined_mean_iou")
STAGES = {"rpn": "first stage", "roi": "second stage"}


def all_tables(study: LoadedStudy) -> dict[str, Table]:
    """Return key -> table in the order of the report; what was not measured is a table without rows."""
    tables = (
        localization_table(study),
        proposals_table(study),
        refined_table(study.probe),
        refinement_table(study.probe),
        detection_table(study),
        differences_table(study),
        images_table(study),
        errors_table(study),
        cost_table(study),
        weights_table(study),
        runs_table(study),
        data_table(study),
    )
    return {table.key: table for table in tables}


def result_table(study: LoadedStudy) -> Table:
    """Return one small table for a paper: AP, AP75 and the difference in AP with its interval."""
    ap, ap75 = METRICS["AP"], METRICS["AP75"]
    rows = []
    for loss in study.losses:
        entries, entry = study.summary["summary"].get(loss, {}), study.difference(loss, "AP")
        cells = [_mean_cell(entries.get(metric.key) or {}, metric, strong=False) for metric in (ap, ap75)]
        difference = (
            [Cell(ap.format(entry["mean"], signed=True)), Cell(ap.interval(entry))] if entry else [Cell("")] * 2
        )
        rows.append(Row(loss, [*cells, *difference], loss))
    seeds = len(study.seeds)
    notes = [
        f"Mean over {seeds} seed{'s' * (seeds != 1)} in %, its standard deviation beneath; difference paired by "
        "seed, its 95% interval over seeds and test images."
    ]
    columns = [ap.name, ap75.name, f"AP − {study.baseline}", "95% interval"]
    return Table("result", "The result", "loss", columns, rows, notes)


def localization_table(study: LoadedStudy) -> Table:
    """Return the paper's Table 2 for this study: mean IoU of all proposed boxes, its variants beside it."""
    notes = [
        "Mean IoU, all boxes: every second-stage box of every test image, with no score threshold and no "
        "suppression, against the ground-truth box it overlaps most; low values are expected (the paper's Table 2).",
        "Positives only: those of them above IoU 0.5. Matched: detections matched to a ground-truth box at IoU 0.5. "
        "Refined: ground-truth boxes, shifted and scaled at random, after one pass of the second stage; then the "
        "share of these above an IoU, in %.",
    ]
    return _metric_table(study, LOCALIZATION, "localization", "Localization: how well boxes lie", notes)


def proposals_table(study: LoadedStudy) -> Table:
    """Return what the mean IoU of all boxes is made of; without rows where no run has measured it."""
    caption = "The same mean IoU of all boxes, split by proposals"
    if not any(study.seed_values(loss, PARTS[0].key) for loss in study.losses):
        return Table("proposals", caption, "loss", [], [])
    notes = [
        "The mean IoU of all boxes is that of their proposals, plus what the second stage adds on proposals below IoU "
        ".5, which training never regresses, plus what it adds on the others, which it is trained on; each is divided "
        "by the number of all boxes. A loss of the second stage can speak in the last part alone."
    ]
    return _metric_table(study, PARTS, "proposals", caption, notes)


def detection_table(study: LoadedStudy) -> Table:
    """Return the paper's Table 3 for this study: COCO's AP and AR in %, with the row of wins first."""
    note, wins = "COCO's metrics in %.", []
    if study.candidates:
        note += (
            " Wins: on how many seeds, of those that every loss finished, a loss is the best; a tie counts for none."
        )
        for loss in study.losses:
            counts = [study.summary["wins"].get(metric.key, {}).get(loss, 0) for metric in DETECTION]
            wins.append(Row(f"Wins: {loss}", [Cell(str(count), value=count) for count in counts], loss, "wins"))
    return _metric_table(study, DETECTION, "detection", "Detection: what is found", [note], wins)


def _metric_table(
    study: LoadedStudy, metrics: Sequence[Metric], key: str, caption: str, notes: list[str], wins: Sequence[Row] = ()
) -> Table:
    rows = [*wins]
    best = {metric.key: distinguishable_best(study, metric.key) for metric in metrics}
    for loss in study.losses:
        entries = study.summary["summary"].get(loss, {})
        cells = [_mean_cell(entries.get(m.key) or {}, m, strong=best[m.key] == loss) for m in metrics]
        rows.append(Row(loss, cells, loss, "loss"))
    for candidate in study.candidates:
        cells = [_difference_cell(study.difference(candidate, metric.key), metric) for metric in metrics]
        rows.append(Row(f"{candidate} − {study.baseline}", cells, candidate, "difference"))
    notes = [
        *notes,
        "Mean over seeds, its standard deviation beneath; differences are paired by seed, beneath them their 95% "
        "interval over seeds and test images. Bold: the best mean, and only where the interval of its difference "
        "leaves out 0.",
    ]
    return Table(key, caption, "loss", [metric.name for metric in metrics], rows, notes)


def distinguishable_best(study: LoadedStudy, key: str) -> str | None:
    """Return the loss with the best mean, if its interval against the baseline leaves out 0."""
    means = {loss: fmean(values.values()) for loss in study.losses if (values := study.seed_values(loss, key))}
    if len(means) < 2:
        return None
    best = max(means, key=lambda loss: means[loss])
    candidates = [best] if best != study.baseline else [loss for loss in means if loss != best]
    kind = "better" if best != study.baseline else "worse"
    entries = [study.difference(candidate, key) for candidate in candidates]
    return best if all(entry and conclusion_words(entry)[1] == kind for entry in entries) else None


def differences_table(study: LoadedStudy) -> Table:
    """Return the paired differences, each with its interval over seeds and images and what follows from it."""
    several = len(study.candidates) > 1
    rows = []
    for candidate in study.candidates:
        for metric in METRICS.values():
            entry = study.difference(candidate, metric.key)
            if entry is None:
                continue
            conclusion, kind = conclusion_words(entry)
            cells = [
                Cell(metric.format(entry["mean"], signed=True), value=entry["mean"]),
                Cell(metric.interval(entry), value=entry.get("low")),
                Cell(conclusion, kind=kind),
                Cell(margin_words(entry), value=entry["margin"]),
                Cell(uncertainty_shares(entry), value=entry["from_seeds"], kind="wrap"),
                Cell(method_words(entry)),
                Cell(f"{entry['wins']} of {entry['n']}", value=entry["wins"]),
            ]
            rows.append(Row(metric.full_name, [Cell(candidate), *cells] if several else cells, candidate))
    columns = ["mean difference", "95% interval", "conclusion", "margin", "of the uncertainty", "method", "seeds won"]
    notes = [
        INTERVAL_NOTE,
        "Both losses of a pair share initial weights, data order and augmentation. Margin: a difference that does not "
        "matter. Seeds only: nothing is known by image, and the interval is too narrow by that part. Method: Student's "
        "t, or Dunnett's critical value where several losses share one baseline.",
    ]
    if rule := rule_of(study.plan)["words"]:
        notes.append(rule)
    columns = ["candidate", *columns] if several else columns
    return Table("differences", f"Paired differences to {study.baseline}", "metric", columns, rows, notes)


def images_table(study: LoadedStudy) -> Table:
    """Return the interval over test images of single pairs of runs, for candidates with one seed.

    With more seeds the table of differences holds both uncertainties, and results.csv the pairs.
    """
    bootstrap = study.summary.get("bootstrap") or []
    entries = {(row["candidate"], row["seed"], row["metric"]): row for row in bootstrap}
    pairs = dict.fromkeys((candidate, seed) for candidate, seed, _ in entries)
    single = [candidate for candidate in study.candidates if len(study.paired(candidate)) == 1]
    rows = []
    for candidate, seed in (pair for pair in pairs if pair[0] in single):
        cells = []
        for key in BOOTSTRAPPED:
            entry, metric = entries.get((candidate, seed, key)) or {}, METRICS[key]
            mean = entry.get("difference")
            cells.append(
                Cell(NOTHING)
                if mean is None
                else Cell(metric.format(mean, signed=True), metric.interval(entry), value=mean)
            )
        rows.append(Row(f"{candidate}, seed {seed}", cells, candidate))
    resamples = sorted({row["resamples"] for row in bootstrap if row.get("resamples")})
    times = f" ({', '.join(map(str, resamples))} times)" if resamples else ""
    note = (
        f"One pair of runs: the test images were drawn anew with replacement{times}. The interval says how far the "
        "difference of these two runs could move with other images, and nothing of other seeds."
    )
    columns = [METRICS[key].full_name for key in BOOTSTRAPPED]
    return Table("images", "One seed: other test images alone, 95% intervals", "pair of runs", columns, rows, [note])


def errors_table(study: LoadedStudy) -> Table:
    """Return what each kind of error costs, the localization error first."""
    errors = study.summary.get("errors") or []
    kinds = list(errors[0]["gains"]) if errors else []
    rows = []
    for loss in study.losses:
        gains = [row["gains"] for row in errors if row["loss"] == loss]
        cells = [_spread_cell([gain[kind] for gain in gains], "{:.2f}", 100) for kind in kinds]
        if gains:
            rows.append(Row(loss, cells, loss, "loss"))
    note = (
        "How much AP50 would rise, in points, were one kind of error repaired (TIDE); mean over seeds. Localization: "
        "right class, IoU 0.1 to 0.5. Gains do not add up, because repairs overlap."
    )
    return Table("errors", "What errors cost", "loss", kinds, rows, [note])


def cost_table(study: LoadedStudy) -> Table:
    """Return the time per step, training, evaluation and memory of each loss."""
    kinds = (
        ("seconds_per_step", "seconds per step", "{:.3f}", 1.0),
        ("train_seconds", "training, minutes", "{:.2f}", 1 / 60),
        ("eval_seconds", "evaluation, seconds", "{:.1f}", 1.0),
        ("peak_memory_mb", "peak memory, MB", "{:.0f}", 1.0),
        ("steps", "steps", "{:.0f}", 1.0),
    )
    rows = []
    for loss in study.losses:
        costs = [result.get("cost") or {} for result in study.results(loss).values()]
        cells = []
        for key, _, form, scale in kinds:
            cell = _spread_cell([cost.get(key) for cost in costs], form, scale)
            spread = f" {cell.detail}" if cell.detail and key != "steps" else ""
            cells.append(Cell(cell.text + spread, value=cell.value))
        devices = sorted({f"{cost.get('device', '?')}, {cost.get('precision', '?')}" for cost in costs})
        rows.append(Row(loss, [*cells, Cell("; ".join(devices) or NOTHING)], loss))
    note = "Mean ± standard deviation over the finished runs; on a busy machine times say little."
    return Table("cost", "Cost of a run", "loss", [*(name for _, name, _, _ in kinds), "device"], rows, [note])


def weights_table(study: LoadedStudy) -> Table:
    """Return the weight of each loss in each stage with the gradients it was derived from."""
    weights: Mapping[str, Mapping[str, float]] = study.plan.get("weights") or {}
    calibration = study.calibration
    moments = [moment["name"] for moment in calibration["moments"]] if calibration else []
    columns = ["weight", *(f"{word}, {name}" for name in moments for word in ("pull", "ratio"))]
    published = calibration is not None and any(calibration["suggested"].values())
    if published:
        columns.append("in the literature")
    rows = []
    for stage in next(iter(weights.values()), {}):
        for loss in study.losses:
            weight = weights.get(loss, {}).get(stage)
            cells = [Cell(NOTHING if weight is None else f"{weight:g}", value=weight, strong=True)]
            if calibration:
                entries = calibration["losses"].get(loss, {}).get(stage, {})
                cells += [cell for name in moments for cell in _pull_cells(entries.get(name))]
            if calibration and published:
                source = calibration["suggested"].get(loss)
                cells.append(
                    Cell(f"{source['weight']:g}", str(source.get("source") or ""), value=source["weight"])
                    if source
                    else Cell(NOTHING)
                )
            rows.append(Row(f"{loss}, {STAGES[stage]}", cells, loss, stage))
    notes = [
        weights_sentence(study),
        "Pull: the length of the gradient of a stage's box loss by the four deltas of one positive box, on average "
        "over the positives of all measured batches.",
        "Ratio: the reference's pull divided by the loss's, on the same boxes of the same detector; beneath, the "
        "middle half over single batches. The weight is the last ratio, with three digits. As boxes get better Huber's "
        "pull fades and an overlap loss's does not, so no weight fits a whole training.",
    ]
    return Table("weights", "Weights of the losses", "loss", columns, rows, notes)


def runs_table(study: LoadedStudy) -> Table:
    """Return every run of the plan, failed ones too."""
    metrics = [METRICS[key] for key in ("AP", "mean_iou", "refined_mean_iou")]
    planned = {cell["id"]: cell["settings"] for cell in study.plan["cells"]}
    rows = []
    for cell in study.summary["cells"]:
        result = cell.get("result") or {}
        values = {**(result.get("metrics") or {}), **(result.get("localization") or {})}
        rate = (result.get("optim") or {}).get("lr", planned[cell["id"]].get("optim.lr"))
        cells = [
            Cell(str(cell["status"]), kind="" if result else "worse"),
            Cell(NOTHING if rate is None else f"{rate:g}", value=rate),
            *(Cell(m.format(values.get(m.key)), value=values.get(m.key)) for m in metrics),
        ]
        rows.append(Row(cell["id"], cells, cell["loss"]))
    columns = ["status", "learning rate", *(metric.full_name for metric in metrics)]
    return Table("runs", "Every run", "run", columns, rows)


def data_table(study: LoadedStudy) -> Table:
    """Return what was trained and tested on, with everything that was left out."""
    rows = []
    for role, split in (study.plan.get("data") or {}).items():
        if split:
            counts = split.get("counts") or {}
            counts = {**counts, "clipped": (counts.get("faults") or {}).get("overhang", 0)}
            keys = ("images", "images_without_boxes", "boxes", "dropped", "clipped", "difficult", "crowd")
            cells = [Cell(f"{split.get('name')}/{split.get('split')}"), Cell(str(split.get("fingerprint")))]
            rows.append(Row(role, cells + [Cell(str(counts.get(k, NOTHING)), value=counts.get(k)) for k in keys]))
    columns = ["set", "fingerprint", "images", "without boxes", "boxes", "dropped", "clipped", "difficult", "crowd"]
    note = (
        "Dropped: boxes or images that could not be used. Clipped: boxes that reached beyond their image. "
        "Difficult and crowd boxes are neither trained on nor counted."
    )
    return Table("data", "Images and boxes", "used for", columns, rows, [note])


def _mean_cell(entry: Mapping[str, Any], metric: Metric, *, strong: bool) -> Cell:
    if entry.get("mean") is None:
        return Cell(NOTHING)
    spread = f"± {metric.format(entry['sd'])}" if entry.get("sd") is not None else ""
    return Cell(metric.format(entry["mean"]), spread, strong=strong, value=entry["mean"])


def _difference_cell(entry: Mapping[str, Any] | None, metric: Metric) -> Cell:
    if entry is None:
        return Cell(NOTHING)
    text, interval = metric.format(entry["mean"], signed=True), metric.interval(entry).strip(NOTHING)
    return Cell(text, interval, value=entry["mean"], kind=conclusion_words(entry)[1])


def _spread_cell(values: Sequence[float | None], form: str, scale: float) -> Cell:
    """Return mean and standard deviation of the values that are there."""
    scaled = [scale * value for value in values if value is not None]
    if not scaled:
        return Cell(NOTHING)
    spread = f"± {form.format(stdev(scaled))}" if len(scaled) > 1 else ""
    return Cell(form.format(fmean(scaled)), spread, value=fmean(scaled))


def _pull_cells(entry: Mapping[str, Any] | None) -> list[Cell]:
    if entry is None:
        return [Cell(NOTHING), Cell(NOTHING)]
    spread = f"[{entry['low']:.3g}, {entry['high']:.3g}]"
    return [
        Cell(f"{entry['mean']:.3g}", value=entry["mean"]),
        Cell(f"{entry['ratio']:.3g}", spread, value=entry["ratio"]),
    ]
