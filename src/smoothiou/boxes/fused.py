"""Losses of overlap on a GPU in one kernel each way, chosen by itself for CUDA tensors when Triton is installed.

The kernels (`kernels.py`) take rows of float32 or of half precision, as they are, and give the numbers of the torch
formulas, which stay the reference, and are what runs for everything else: other devices and types, no boxes at all,
`torch.compile`, `torch.func`, gradients that are differentiated again, and machines where Triton cannot build.
SMOOTHIOU_FUSED=0 in the environment switches the kernels off.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor, is_legacy_batchedtensor

if TYPE_CHECKING:
    from smoothiou.boxes.by_hand import OfBoxes, OfDeltas

KINDS = ("overlap", "iou", "giou", "diou", "ciou", "ciou-tcyb", "efficient-iou")
"""Measures that there are kernels for; the first is IoU itself."""
SWITCH = "SMOOTHIOU_FUSED"
TYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST = 2**29
"""Boxes of which every number still has an index in 32 bits."""
STEEPEST = 3.0e38
"""A slope that no float32 box reaches: a kernel keeps slopes below a number, which matters in half precision only."""

# Triton's interpreter runs the kernels on a CPU, slowly: the tests have it.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def serves(kernel: str | None, pred: Tensor, target: Tensor) -> bool:
    """Return whether a kernel computes the measure of that name for these rows (K, 4)."""
    if not (pred.is_cuda or INTERPRETED) or torch.compiler.is_compiling():
        return False
    return (
        kernel in KINDS
        and type(pred) in (Tensor, nn.Parameter)
        and type(target) in (Tensor, nn.Parameter)
        and pred.device == target.device
        and pred.device.type != "meta"
        and pred.dtype in TYPES
        and target.dtype in TYPES
        and 0 < pred.shape[0] < MOST
        and os.environ.get(SWITCH, "") not in ("0", "off")
        and not torch._C._are_functorch_transforms_active()
        and _starts(pred.device)
    )


@functools.cache
def _starts(device: torch.device) -> bool:
    """Return whether Triton is there and a kernel starts on a device, which is tried once.

    Triton comes with torch, but builds its launchers with a C compiler, which many containers with a GPU do not have.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    row = torch.zeros(1, 4, device=device)
    try:
        jit = kernels()
        with torch.cuda.device_of(row):
            jit.forward[grid(row)](
                row, row, None, row.new_empty(1), 1, 1.0, 1.0, 1.0, 1.0, "iou", False, False, BLOCK=jit.BLOCK,
                **jit.EXACT,
            )  # fmt: skip
    except Exception as error:  # whatever a compiler meets on a machine that is not ours
        reason = (str(error).strip().splitlines() or [""])[0]
        warnings.warn(
            f"Triton starts no kernel on {device} ({type(error).__name__}: {reason}), so box losses are computed by "
            f"torch. {SWITCH}=0 in the environment says that this is meant.",
            stacklevel=2,
        )
        return False
    return True


def kernels() -> ModuleType:
    """Return the kernels; the first call imports Triton."""
    return importlib.import_module("smoothiou.boxes.kernels")


class Overlap(torch.autograd.Function):
    """A loss of overlap, one launch forward and one backward."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor, anchors: Tensor | None, loss: OfBoxes | OfDeltas) -> Tensor:
        """Return the losses (K,)."""
        anchors = None if anchors is None else anchors.detach().contiguous()
        ctx.loss = loss
        ctx.save_for_backward(pred, target, anchors)
        value = torch.empty(pred.shape[0], dtype=torch.float32, device=pred.device)
        jit = kernels()
        with torch.cuda.device_of(pred):
            jit.forward[grid(pred)](
                pred, target, anchors, value, pred.shape[0], *kind_of(loss, anchors), BLOCK=jit.BLOCK, **jit.EXACT
            )
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient with the predictions, and with targets that learn."""
        pred, target, anchors = ctx.saved_tensors
        (grad,) = grad_outputs
        loss = ctx.loss
        if by_formula(grad):
            slopes = loss.differentiable(pred, target, anchors)
            to_target = None
            if ctx.needs_input_grad[1]:
                to_target = (loss.differentiable(target, pred, anchors) * grad.unsqueeze(1)).to(target.dtype)
            return (slopes * grad.unsqueeze(1)).to(pred.dtype), to_target, None, None
        to_target = _gradient(loss, target, pred, anchors, grad) if ctx.needs_input_grad[1] else None
        return _gradient(loss, pred, target, anchors, grad), to_target, None, None


def _gradient(loss: OfBoxes | OfDeltas, pred: Tensor, target: Tensor, anchors: Tensor | None, grad: Tensor) -> Tensor:
    gradient, grad = torch.empty_like(pred), in_one_piece(grad)
    jit = kernels()
    with torch.cuda.device_of(pred):
        jit.backward[grid(pred)](
            pred,
            target,
            anchors,
            grad,
            gradient,
            pred.shape[0],
            grad.stride(0),
            steepest_of(loss),
            *kind_of(loss, anchors),
            BLOCK=jit.BLOCK,
            **jit.EXACT,
        )
    return gradient


def by_formula(grad: Tensor) -> bool:
    """Return whether a gradient is wanted as a function of the boxes, or many are at once: torch's formula has both."""
    return torch.is_grad_enabled() or is_batchedtensor(grad) or is_legacy_batchedtensor(grad)


def in_one_piece(grad: Tensor) -> Tensor:
    """Return a gradient (K,) whose numbers lie one behind the other, or are all the same one."""
    return grad if grad.stride(0) in (0, 1) else grad.contiguous()


def steepest_of(loss: OfBoxes | OfDeltas) -> float:
    """Return the largest slope that a kernel may write."""
    return STEEPEST if loss.steepest is None else loss.steepest


def grid(rows: Tensor) -> tuple[int]:
    """Return how many programs there are for rows (K, 4)."""
    return (-(-rows.shape[0] // kernels().BLOCK),)


def kind_of(loss: OfBoxes | OfDeltas, anchors: Tensor | None) -> tuple[float | str | bool | None, ...]:
    """Return what every kernel of overlap must know: four weights, the measure, whether of deltas, of anchors."""
    weights = getattr(loss, "weights", None)
    return *(weights or (1.0,) * 4), loss.kernel, weights is not None, anchors is not None
