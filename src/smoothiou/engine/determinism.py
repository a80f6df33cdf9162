"""`train.deterministic`: the same bits each time, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from smoothiou.errors import SmoothIoUError


@contextmanager
def deterministic(enabled: bool) -> Iterator[None]:
    """Let torch use only operations that give the same bits each time, and let it fail where it has none.

    Random numbers are functions of (seed, step) with or without this (seeding.py), and on a CPU sums are in the
    same order each time for the same number of threads; it is a GPU whose additions come in any order. There, RoIAlign
    becomes the product with a sparse matrix that it is on a CPU.

    Args:
        enabled: `train.deterministic`; False changes nothing.
    """
    if not enabled:
        yield
        return
    # cuBLAS reads it when it starts, which is at the first product on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


def determinism_fault(error: Exception) -> SmoothIoUError | None:
    """Return the error where an operation has no deterministic form; None for other errors."""
    text = str(error)
    if not isinstance(error, RuntimeError) or "does not have a deterministic implementation" not in text:
        return None
    return SmoothIoUError(
        f"train.deterministic: {text.split('.')[0]}.",
        hint="Train without --deterministic, on the CPU, or another detector.",
    )
