"""A box loss behind `torch.compile`: the same formula as few kernels, two to three times as fast as eager."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from smoothiou.errors import ConfigError, SmoothIoUError
from smoothiou.losses.base import BoxLoss
from smoothiou.losses.lam import world_size


def compile_loss(loss: BoxLoss) -> BoxLoss:
    """Compile a box loss at its first call; one graph serves every number of boxes.

    The first call takes seconds (up to a minute with a cold cache). Fewer than two boxes are computed eagerly, since
    torch makes a graph of its own for one box and one for none. A loss that cannot be compiled, for example without
    a C compiler, runs eagerly after a warning. A compiled gradient cannot be differentiated again: that raises a
    ConfigError in the backward pass.

    Args:
        loss: any callable (pred_deltas, target_deltas, *, weights, anchors) -> (K,).

    Returns:
        A loss with the same attributes and, for a module, the same state_dict.
    """
    return loss if isinstance(loss, CompiledLoss) else CompiledLoss(loss)


class CompiledLoss(nn.Module):
    """What `compile_loss` returns."""

    def __init__(self, loss: BoxLoss) -> None:
        super().__init__()
        self.loss = loss
        self.info = getattr(loss, "info", None)
        self.needs_images = getattr(loss, "needs_images", False)
        self.needs_image_sizes = getattr(loss, "needs_image_sizes", False)
        self.stateful = getattr(loss, "stateful", False)
        self._graphs: dict[int, BoxLoss] = {}

    @property
    def last_lambda(self) -> Tensor | None:
        """Lambda of the last call, of a loss that has one."""
        return getattr(self.loss, "last_lambda", None)

    def forward(self, pred_deltas: Tensor, target_deltas: Tensor, **arguments: Any) -> Tensor:
        """Loss (K,) of deltas (K, 4)."""
        if pred_deltas.ndim != 2 or pred_deltas.shape[0] < 2:
            return self.loss(pred_deltas, target_deltas, **arguments)
        value = self._compiled(pred_deltas, target_deltas, **arguments)
        if value.requires_grad:
            value.register_hook(_refuse_double_backward)
        return value

    def _compiled(self, pred_deltas: Tensor, target_deltas: Tensor, **arguments: Any) -> Tensor:
        # Whether lambda is reduced is decided while the graph is made: one that was made before the process group
        # would go on with each rank's own lambda.
        world = world_size()
        if world in self._graphs:
            return self._graphs[world](pred_deltas, target_deltas, **arguments)
        compiled = torch.compile(_with_new_code(self.loss), dynamic=True)
        try:
            with warnings.catch_warnings():
                # A detector's deltas are no leaves, and torch warns of its own look at their .grad while it traces.
                warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
                value = compiled(pred_deltas, target_deltas, **arguments)
        except SmoothIoUError:
            raise
        except Exception as error:
            value = self.loss(pred_deltas, target_deltas, **arguments)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            warnings.warn(f"The box loss could not be compiled and runs eagerly: {reason}", UserWarning, stacklevel=2)
            compiled = self.loss
        self._graphs[world] = compiled
        return value

    def on_boxes(self, pred: Tensor, target: Tensor, **arguments: Any) -> Tensor:
        """Loss (K,) of boxes (K, 4), eagerly."""
        on_boxes: Callable[..., Tensor] = getattr(self.loss, "on_boxes")  # noqa: B009
        return on_boxes(pred, target, **arguments)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """State of the loss itself, so that checkpoints do not depend on compilation."""
        return self.loss.state_dict(*args, **kwargs) if isinstance(self.loss, nn.Module) else {}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Load the state of the loss itself."""
        return self.loss.load_state_dict(state_dict, *args, **kwargs) if isinstance(self.loss, nn.Module) else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_graphs": {}}


def _refuse_double_backward(grad: Tensor) -> None:
    if torch.is_grad_enabled():  # create_graph=True
        raise ConfigError(
            "A compiled box loss cannot be differentiated twice.", hint="Use the loss itself, without compile_loss."
        )


def _with_new_code(loss: BoxLoss) -> Callable[..., Tensor]:
    """A function that calls the loss and has a code object of its own, since torch keeps at most 8 graphs for each."""

    def call(pred_deltas: Tensor, target_deltas: Tensor, **arguments: Any) -> Tensor:
        return loss(pred_deltas, target_deltas, **arguments)

    return types.FunctionType(call.__code__.replace(), call.__globals__, call.__name__, None, call.__closure__)
