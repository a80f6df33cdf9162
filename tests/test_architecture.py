"""Imports run one way, read from the source, so that every room can be understood alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "smoothiou"

# room -> rooms it may import; every room may import itself, errors, inputs and live.
ALLOWED = {
    "errors": set(),
    "inputs": set(),
    "live": set(),
    "loss_spec": set(),
    "config": {"loss_spec"},
    "runs": {"config"},
    "claims": {"runs"},
    "boxes": set(),
    "losses": {"boxes", "config", "loss_spec"},
    "detectors": {"losses", "boxes", "config", "loss_spec"},
    "data": {"config", "runs"},
    "train": {"config", "runs"},
    "evaluate": {"config", "runs"},
    "study": {"config", "loss_spec", "runs", "claims"},
    "lab": {"boxes", "losses", "config", "loss_spec", "runs"},
    "report": {"config", "runs", "study"},
    "cli": {
        "config",
        "loss_spec",
        "runs",
        "study",
        "report",
        "losses.catalogue",
        "losses.explain",
        "lab",
        "experiment",
        "data.fetch",
        "data.doctor",
    },
    "experiment": {
        "boxes",
        "config",
        "loss_spec",
        "runs",
        "claims",
        "losses",
        "detectors",
        "data",
        "train",
        "evaluate",
        "study",
        "lab",
    },
    "__init__": {"runs", "losses", "detectors", "data", "evaluate"},
    "__main__": {"cli"},
}
WITHOUT_TORCH = (
    "errors",
    "inputs",
    "live",
    "loss_spec",
    "config",
    "runs",
    "claims",
    "study",
    "report",
    "cli",
    "data",
    "losses/catalogue",
)
TORCH_FILES = {"data/dataset.py"}
# torchvision downloads, and is met only when a download was asked for.
TORCH_INSIDE_FUNCTIONS = {"data/fetch.py"}


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return (imported module, at module level) for every import of a file."""
    tree = ast.parse(path.read_text())
    # What stands under TYPE_CHECKING is never run.
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(f"{node.module}.{alias.name}", id(node) not in inside) for alias in node.names]
    return found


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", files(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_imports_run_one_way(path: Path):
    here = room(path)
    assert here in ALLOWED, f"{here} is a room that the design does not know"
    for module, _ in imports(path):
        if not module.startswith("smoothiou."):
            continue
        inner = module.removeprefix("smoothiou.")
        target = inner.split(".")[0]
        allowed = target in {here, "errors", "inputs", "live"} or any(inner.startswith(a) for a in ALLOWED[here])
        assert allowed, f"{path.name} imports {module}; {here} may import {sorted(ALLOWED[here])}"


def files_without_torch() -> list[Path]:
    named = {path: path.relative_to(SOURCE).as_posix() for path in files()}
    return [path for path, name in named.items() if name.startswith(WITHOUT_TORCH) and name not in TORCH_FILES]


@pytest.mark.parametrize("path", files_without_torch(), ids=lambda p: p.relative_to(SOURCE).as_posix())
def test_rooms_without_torch_stay_without_torch(path: Path):
    lazy = path.relative_to(SOURCE).as_posix() in TORCH_INSIDE_FUNCTIONS
    heavy = [m for m, top in imports(path) if m.split(".")[0] in {"torch", "torchvision"} and (top or not lazy)]
    assert not heavy, f"{path} imports {heavy}"


def test_only_one_file_knows_the_coco_engine():
    knowing = [p.relative_to(SOURCE).as_posix() for p in files() if any(m.startswith("hotcoco") for m, _ in imports(p))]
    assert knowing == ["evaluate/coco.py"]


def test_only_the_command_line_knows_cyclopts():
    knowing = {room(p) for p in files() if any(m.startswith("cyclopts") for m, _ in imports(p))}
    assert knowing == {"cli"}


def test_importing_the_package_and_its_torch_free_rooms_leaves_torch_out():
    code = (
        "import sys, smoothiou, smoothiou.cli, smoothiou.study, smoothiou.report, smoothiou.data, smoothiou.config;"
        "import smoothiou.losses.catalogue;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
