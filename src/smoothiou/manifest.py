"""Provenance of results: versions, machine, source, command, and the signature of a number. No torch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from smoothiou.errors import ConfigError

SCHEMA_VERSION = 1

DETECTION = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
"""COCO's metrics, as result.json names them."""

_AREAS = {"AP_small": "small", "AP_medium": "medium", "AP_large": "large"}
_IOUS = {"AP50": ".50", "AP75": ".75"}
_MAXDETS = {"AR1": 1, "AR10": 10}
_BOXES = {
    "mean_iou": "all second-stage boxes, best truth of any class",
    "mean_iou_positive": "second-stage boxes with IoU >= .5",
    "mean_iou_matched": "detections matched at IoU .5",
}
_PROBES = "truths jittered to IoU .5-1, refined once"


def version() -> str:
    """Return the installed version of smoothiou."""
    return metadata.version("smoothiou")


def environment() -> dict[str, Any]:
    """Return the versions and the machine that a result depends on, without importing torch."""
    packages = ("smoothiou", "torch", "torchvision", "numpy", "pillow", "hotcoco", "matplotlib")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def source_state() -> dict[str, Any]:
    """Return the git commit of the source tree and whether it had changes; empty outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def manifest(**facts: Any) -> dict[str, Any]:
    """Return the content of manifest.json: command, source, environment and the given facts."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "source": source_state(),
        **environment(),
        **facts,
    }


def refuse_other_plan(path: Path, stored: Mapping[str, Any], requested: Mapping[str, Any], *, what: str) -> None:
    """Raise when a folder holds another plan than the one asked for, naming every differing key.

    Args:
        path: the folder.
        stored: flat mapping of the plan in the folder.
        requested: flat mapping of the plan that was asked for.
        what: "run" or "study", for the message.

    Raises:
        ConfigError: they differ.
    """
    keys = sorted(key for key in {*stored, *requested} if stored.get(key) != requested.get(key))
    if not keys:
        return
    differences = "; ".join(f"{key}: {stored.get(key)!r} there, {requested.get(key)!r} asked for" for key in keys[:8])
    more = f" (+{len(keys) - 8} more)" if len(keys) > 8 else ""
    raise ConfigError(
        f"{path} holds another {what}: {differences}{more}.",
        hint="Choose another folder with --out, or --overwrite to start it anew.",
    )


def signature(metric: str, *, engine: str, data: Mapping[str, Any], seeds: int | Sequence[int], version: str) -> str:
    """Return how a number was computed, so that it can be compared with others: "AP|coco|iou:.50-.95|...".

    Args:
        metric: a metric of detection or localization, as in result.json.
        engine: what computed it ("hotcoco-1.3.0").
        data: of the test split: "name", "split", "fingerprint", "images".
        seeds: the seed of one run ("seed:0"), or all seeds that a mean runs over ("seeds:3").
        version: of smoothiou.
    """
    if metric in DETECTION:
        iou, area = _IOUS.get(metric, ".50-.95"), _AREAS.get(metric, "all")
        how = f"coco|iou:{iou}|area:{area}|maxdet:{_MAXDETS.get(metric, 100)}|engine:{engine}"
    else:
        how = f"localization|boxes:{_BOXES.get(metric, _PROBES)}"
    seed = f"seed:{seeds}" if isinstance(seeds, int) else f"seeds:{len(seeds)}"
    split = f"{data['name']}/{data['split']}#{data['fingerprint']}"
    return f"{metric}|{how}|data:{split}|imgs:{data['images']}|{seed}|smoothiou:{version}"
