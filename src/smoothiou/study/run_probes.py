"""The refinement probes that a finished run has recorded."""

from __future__ import annotations

from pathlib import Path

from smoothiou.files import read_json
from smoothiou.metrics.refinement import DEFINITION
from smoothiou.study.probes import Images


def read_probes(folder: Path) -> Images | None:
    """Return the IoU of a run's probes before and after refinement; None where it has none of today's definition."""
    if not all((folder / name).is_file() for name in ("done", "result.json", "localization.json")):
        return None
    if read_json(folder / "result.json")["localization"].get("probe") != DEFINITION:
        return None
    entries = read_json(folder / "localization.json")["images"]
    images = [{key: entry[key] for key in ("image_id", "before", "refined")} for entry in entries]
    return images if any(image["refined"] for image in images) else None
