"""Where a study's numbers come from: settings, learning rates, weights, machines, and the runs that failed."""

from __future__ import annotations

from typing import Any

from smoothiou.report.loaded_study import LoadedStudy
from smoothiou.study.plan import CUT


def differing_settings(study: LoadedStudy) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the settings beside loss and seed that differ between runs: (key, [(value, runs)])."""
    cells = {cell["id"]: cell.get("settings") or {} for cell in study.plan["cells"]}
    differing = []
    for key in dict.fromkeys(key for settings in cells.values() for key in settings):
        groups: dict[str, list[str]] = {}
        for cell, settings in cells.items():
            groups.setdefault(repr(settings.get(key)), []).append(cell)
        # A new cut of train and val belongs to its seed; the notes name it.
        if len(groups) > 1 and key not in ("loss.name", "train.seed", *([CUT] if "cuts" in study.plan else [])):
            differing.append((key, [(value, ", ".join(ids)) for value, ids in groups.items()]))
    return differing


def rate_sentence(study: LoadedStudy) -> str:
    """Return whether learning rates were equal, and what that means for the comparison."""
    pairs = [(cell["loss"], (cell.get("settings") or {}).get("optim.lr")) for cell in study.plan["cells"]]
    pairs += [(cell["loss"], (cell["result"].get("optim") or {}).get("lr")) for cell in study.finished]
    rates: dict[str, set[float]] = {}
    for loss, rate in pairs:
        if rate is not None:
            rates.setdefault(loss, set()).add(rate)
    distinct = set[float]().union(*rates.values())
    if not distinct:
        return "No run has recorded its learning rate."
    if len(distinct) == 1:
        return (
            f"Every run had the same learning rate, {distinct.pop():g}: no loss was tuned on its own. A loss "
            "that would do better at another rate is not shown at its best."
        )
    listed = "; ".join(f"{loss}: {', '.join(f'{rate:g}' for rate in sorted(each))}" for loss, each in rates.items())
    return (
        f"Learning rates differ ({listed}). Whether tuning was equal these files cannot say: a difference "
        "between losses may come from the rate, unless each loss was given the same number of trials."
    )


def weights_sentence(study: LoadedStudy) -> str:
    """Return whether losses were weighted, and against what."""
    calibration = study.calibration
    if not study.plan.get("weights"):
        settings = study.plan.get("settings") or {}
        common = settings.get("loss.weight", 1.0)
        rpn, roi = (f"{common * settings.get(f'loss.{stage}_weight', 1.0):g}" for stage in ("rpn", "roi"))
        weight = rpn if rpn == roi else f"{rpn} in the first stage and {roi} in the second"
        if tuned := study.plan.get("tuned"):
            each = "; ".join(
                f"{loss}: {', '.join(f'{key} {value}' for key, value in settings.items())}"
                for loss, settings in tuned.items()
            )
            return (
                f"Losses have settings of their own (--tuned). {each}. All others: weight {weight}, as the recipe says."
            )
        return f"Not calibrated: every loss at weight {weight}."
    if calibration is None:
        return "Calibrated, each stage of each loss with its own weight; calibration.json, which says how, is missing."
    reference = calibration["reference"]
    moment = f"{calibration['decides']} of training with {reference}" if calibration["steps"] else "before training"
    return (
        "Calibrated: each stage of each loss has the weight with which it pulls at its boxes as strongly as "
        f"{reference} does at weight 1, measured {moment} on {calibration['batches']} batches."
    )


def failures(study: LoadedStudy) -> list[dict[str, Any]]:
    """Return the runs without a result, each with its error in one line."""
    reasons = {"partial": "stopped before its end; it can be continued"}
    return [
        {key: cell[key] for key in ("id", "status")}
        | {"error": cell.get("error") or reasons.get(cell["status"], "not started")}
        for cell in study.unfinished
    ]


def machines(study: LoadedStudy) -> list[tuple[str, str, bool]]:
    """Return (what, value, whether all runs agree) for versions and machines."""
    facts: dict[str, list[str]] = {}
    for cell in study.summary["cells"]:
        manifest, result = study.manifests.get(cell["id"]) or {}, cell.get("result") or {}
        versions = manifest.get("versions") or result.get("versions") or {}
        pairs = [(f"version of {name}", value) for name, value in versions.items()]
        keys = ("platform", "processor", "cores", "device", "device_reason", "precision")
        pairs += [(key.replace("_", " "), manifest.get(key)) for key in keys]
        source = manifest.get("source") or {}
        if source.get("commit"):
            pairs.append(("source", f"{source['commit'][:12]}{' with changes' if source.get('dirty') else ''}"))
        for name, value in pairs:
            if value not in (None, ""):
                facts.setdefault(name, []).append(str(value))
    return [(name, " / ".join(dict.fromkeys(values)), len(set(values)) == 1) for name, values in facts.items()]
