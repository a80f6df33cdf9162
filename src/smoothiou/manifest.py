"""What a run remembers about its surroundings: versions, machine, source and command. No torch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from smoothiou.errors import ConfigError

SCHEMA_VERSION = 1


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
        pass  # not Linux: the platform module's word is all there is
    return platform.processor() or platform.machine()


def source_state() -> dict[str, Any]:
    """Return the git commit of the source tree and whether it had changes; empty outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        ask = ["git", "-C", str(here)]
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
        if commit.returncode:
            return {}
        changes = subprocess.run(
            [*ask, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"commit": commit.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def manifest(**facts: Any) -> dict[str, Any]:
    """Return what a run folder remembers: the command, source, surroundings and the given facts."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "source": source_state(),
        **environment(),
        **facts,
    }


def refuse_other_plan(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], *, what: str) -> None:
    """Raise when a folder holds another plan than the one asked for, naming every differing key.

    Args:
        path: the folder.
        found: flat mapping of the plan that lies there.
        wanted: flat mapping of the plan that was asked for.
        what: "run" or "study", for the message.
    """
    keys = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if not keys:
        return
    shown = "; ".join(f"{key}: {found.get(key)!r} there, {wanted.get(key)!r} asked for" for key in keys[:8])
    more = f" (+{len(keys) - 8} more)" if len(keys) > 8 else ""
    raise ConfigError(
        f"{path} holds another {what}: {shown}{more}.",
        hint="Choose another folder with --out, or --overwrite to start it anew.",
    )
