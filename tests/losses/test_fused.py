"""The Triton kernels: by Triton's interpreter in a process of its own, and on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smoothiou import losses
from smoothiou.boxes import fused

HERE = Path(__file__).parent
CASES = str(HERE / "fused_cases.py")
CONTRACT = ("-p", "tests.losses.on_kernels", *(str(HERE / name) for name in ("test_on_boxes.py", "test_every_loss.py")))
ROOT = HERE.parents[1]

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed here")


def run(*command: str, **environment: str) -> str:
    """Run Python in the repository, and return what it prints."""
    found = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-4000:]
    return found.stdout


@needs_triton
@pytest.mark.slow
def test_the_kernels_by_triton_s_interpreter():
    said = run("-m", "pytest", CASES, "-q", "-n", "0", "-rs", TRITON_INTERPRET="1")
    assert "[100%]" in said


@needs_triton
@pytest.mark.slow
def test_the_kernels_keep_the_contract_of_every_loss_by_triton_s_interpreter():
    said = run(
        "-m", "pytest", *CONTRACT, "-q", "-n", "0", "-W", "ignore::RuntimeWarning", TRITON_INTERPRET="1"
    )  # fmt: skip
    assert "[100%]" in said


@needs_triton
@pytest.mark.gpu
def test_the_kernels_on_a_gpu():
    run("-m", "pytest", CASES, "-q", "-n", "0")


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from smoothiou.boxes import kernels
from smoothiou.boxes.fused import KINDS
from smoothiou.losses import kernels as own_kernels

WEIGHTS = {f"weight_{k}": "fp32" for k in "xywh"}
OUTER = {"grad": "*fp32", "gradient": "*fp32", "count": "i32", "grad_stride": "i32", "steepest": "fp32"}
BETWEEN = {"iou": "*fp32", "huber": "*fp32", "parts": "*fp32", "count": "i32"}


def rows(width, anchors=None):
    return {"pred": "*" + width, "target": "*" + width, **({"anchors": anchors} if anchors else {})}


CASES = []
for kind in KINDS:
    for of_deltas, anchored, width in ((False, False, "fp32"), (True, True, "bf16")):
        given = {"KIND": kind, "DELTAS": of_deltas, "ANCHORED": anchored, **({} if anchored else {"anchors": None})}
        own = {**rows(width, "*fp32" if anchored else None), **WEIGHTS}
        CASES += [(kernels.forward, {**own, "value": "*fp32", "count": "i32"}, given)]
        CASES += [(kernels.backward, {**own, **OUTER, "gradient": "*" + width}, given)]
for of_deltas, width in ((False, "fp32"), (True, "fp32"), (True, "fp16")):
    CASES += [(own_kernels.both, {**rows(width), **BETWEEN, **WEIGHTS, "delta": "fp32"}, {"DELTAS": of_deltas})]
    CASES += [
        (own_kernels.mixed_backward, {**rows(width), "lam": "*fp32", **OUTER, "gradient": "*" + width, **WEIGHTS,
         "delta": "fp32", "iou_weight": "fp32"}, {"LAMBDA": way, "DELTAS": of_deltas}) for way in ("one", "each")
    ]
CASES += [
    (own_kernels.mixed, {**BETWEEN, "lam": "*fp32", "value": "*fp32", "part_count": "i32", "iou_weight": "fp32"},
     {"LAMBDA": way, "WIDTH": own_kernels.MOST_PARTS}) for way in ("mean", "one", "each")
]
# What Triton makes of whole numbers that are 1: constants, which have no methods of tensors. Here: of a single box.
ONE = {name: 1 for name in ("count", "grad_stride", "part_count")}
CASES += [
    (kernel, {name: type for name, type in types.items() if name not in ONE},
     {**constants, **{name: 1 for name in ONE if name in types}}) for kernel, types, constants in CASES[-9:]
]
for kernel, types, constants in CASES:
    names = kernel.arg_names
    constants = {**constants, "BLOCK": kernels.BLOCK}
    source = ASTSource(
        kernel,
        {name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(k,): [["tt.divisibility", 16]] for k, name in enumerate(names) if types.get(name, "").startswith("*")},
    )
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=kernels.EXACT).asm["ptx"]
    assert "fma.rn" not in ptx, kernel
    if types.get("pred") == "*fp32":  # a row of four numbers in one instruction
        assert ".v4.b32" in ptx, kernel
print("compiled", len(CASES))
"""


@needs_triton
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its assembler on Linux only")
def test_the_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    """To machine code of sm_90: no multiplication fused with an addition, rows loaded at once."""
    script = tmp_path / "compile_kernels.py"
    script.write_text(COMPILE)
    assert run(str(script), TRITON_CACHE_DIR=str(tmp_path / "cache"), TRITON_INTERPRET="0") == "compiled 49\n"


def test_triton_is_not_imported_before_it_is_needed():
    code = (
        "import sys, torch; before = 'triton' in sys.modules; from smoothiou.losses import LOSSES, iou_loss;"
        "iou_loss(torch.zeros(1, 4), torch.zeros(1, 4)); LOSSES['smooth-iou']()(torch.zeros(1, 4), torch.zeros(1, 4));"
        "assert before or 'triton' not in sys.modules; assert 'smoothiou.boxes.kernels' not in sys.modules"
    )
    run("-c", code)


@needs_triton
def test_where_triton_cannot_build_torch_computes_and_says_so_once(monkeypatch):
    # As in a container with a GPU and without a C compiler.
    pred, target = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[1.0, 1, 5, 5]])
    expected = losses.iou_loss(pred, target), losses.smooth_iou_loss(pred, target)

    def fail():
        raise RuntimeError("Failed to find C compiler.\nPlease specify it.")

    monkeypatch.setattr(fused, "INTERPRETED", True)
    monkeypatch.setattr(fused, "kernels", fail)
    fused._starts.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"no kernel on cpu \(RuntimeError: Failed to find C compiler\.\)"):
            assert torch.equal(losses.iou_loss(pred, target), expected[0])
        assert torch.equal(losses.smooth_iou_loss(pred, target), expected[1])
    finally:
        fused._starts.cache_clear()
