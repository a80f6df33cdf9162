"""Where the numbers come from: signatures, settings, machines, learning rates, and the runs that failed."""

from __future__ import annotations

from typing import Any

from smoothiou.report.material import Material


def differing_settings(material: Material) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the settings beside loss and seed that differ between runs: (key, [(value, runs)])."""
    cells = material.plan["cells"]
    keys = list(dict.fromkeys(key for cell in cells for key in cell.get("settings") or {}))
    found = []
    for key in keys:
        if key in ("loss.name", "train.seed"):
            continue
        groups: dict[str, list[str]] = {}
        for cell in cells:
            groups.setdefault(repr((cell.get("settings") or {}).get(key)), []).append(cell["id"])
        if len(groups) > 1:
            found.append((key, [(value, ", ".join(ids)) for value, ids in groups.items()]))
    return found


def rate_sentence(material: Material) -> str:
    """Return whether learning rates were equal, and what that means for the comparison."""
    rates: dict[str, set[float]] = {}
    for cell in material.plan["cells"]:
        rate = (cell.get("settings") or {}).get("optim.lr")
        if rate is not None:
            rates.setdefault(cell["loss"], set()).add(rate)
    for cell in material.finished:
        rate = (cell["result"].get("optim") or {}).get("lr")
        if rate is not None:
            rates.setdefault(cell["loss"], set()).add(rate)
    if not rates:
        return "No run has recorded its learning rate."
    if len(set().union(*rates.values())) == 1:
        rate = next(iter(rates.values()))
        return (
            f"Every run had the same learning rate, {next(iter(rate)):g}: no loss was tuned on its own. A loss "
            "that would do better at another rate is not shown at its best."
        )
    listed = "; ".join(f"{loss}: {', '.join(f'{rate:g}' for rate in sorted(found))}" for loss, found in rates.items())
    return (
        f"Learning rates differ ({listed}). Whether tuning was equal these files cannot say: a difference "
        "between losses may come from the rate, unless each loss was given the same number of trials."
    )


def failures(material: Material) -> list[dict[str, Any]]:
    """Return the runs without a result, each with its error in one line."""
    found = []
    for cell in material.unfinished:
        other = "stopped before its end; it can be continued" if cell["status"] == "partial" else "not started"
        found.append({"id": cell["id"], "status": cell["status"], "error": cell.get("error") or other})
    return found


def surroundings(material: Material) -> list[tuple[str, str, bool]]:
    """Return (what, value, whether all runs agree) for versions and machines."""
    found: dict[str, list[str]] = {}
    for cell in material.summary["cells"]:
        manifest = material.manifests.get(cell["id"]) or {}
        result = cell.get("result") or {}
        facts = {
            f"version of {name}": value
            for name, value in (manifest.get("versions") or result.get("versions") or {}).items()
        }
        for key in ("platform", "processor", "cores", "device", "device_reason", "precision"):
            facts[key.replace("_", " ")] = manifest.get(key)
        source = manifest.get("source") or {}
        if source.get("commit"):
            facts["source"] = f"{source['commit'][:12]}{' with changes' if source.get('dirty') else ''}"
        for name, value in facts.items():
            if value not in (None, ""):
                found.setdefault(name, []).append(str(value))
    return [(name, " / ".join(dict.fromkeys(values)), len(set(values)) == 1) for name, values in found.items()]
