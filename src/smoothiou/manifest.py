"""Provenance of results: versions, machine, source and command. No torch."""

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
from smoothiou.files import read_json

SCHEMA_VERSION = 1


def version() -> str:
    """Return the installed version of smoothiou."""
    return metadata.version("smoothiou")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        "cores": usable_cores(),
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


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return manifest.json of a run; {} where there is none, or no mapping."""
    path = folder / "manifest.json"
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


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
    from smoothiou.import_object import IN_PROCESS  # `--help` does without

    hint = "Choose another folder with --out, or --overwrite to start it anew."
    if what == "run" and keys == ["train.steps"] and requested[keys[0]] > stored[keys[0]]:
        hint = f"--continue trains it longer, once it is finished. {hint}"
    if IN_PROCESS in differences:
        hint = (
            "An object of a notebook or a script is known to its process alone, so nothing shows that it still is the "
            f"same. {hint} What is in a module and named package.module:object can be continued."
        )
    raise ConfigError(f"{path} holds another {what}: {differences}{more}.", hint=hint)
