"""RMSProp as TensorFlow 1 computes it, which torch's of the same name is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from smoothiou.errors import ConfigError


class TensorFlowRMSprop(torch.optim.Optimizer):
    """RMSProp with TensorFlow's start, epsilon and learning rate.

        mean square  s <- decay s + (1 - decay) g^2              s = 1 at first
        velocity     v <- momentum v + lr g / sqrt(s + eps)      v = 0 at first
        weight       w <- w - v

    `torch.optim.RMSprop` starts with s = 0, so that its first step is 3.2 lr however small the gradient; adds eps to
    the root and not inside it; and multiplies by the rate outside of v, so that a lower rate brakes at once, where
    here the velocity gained under the old one runs out. With TensorFlow's default, eps = 1, and gradients well below 1
    this is close to SGD with momentum.

    Args:
        params: parameters or groups of them, as torch's optimizers take them.
        lr: learning rate; may change between steps.
        decay: share of the mean square that stays, 0 or more and below 1.
        momentum: share of the velocity that stays, 0 or more and below 1.
        eps: added to the mean square, above 0.
        weight_decay: times the weight, added to its gradient.

    Raises:
        ConfigError: a number outside its range.

    Reference:
        Hinton, Neural networks for machine learning, lecture 6e; TensorFlow's `ApplyRMSProp`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value, fits, expected in (
            ("lr", lr, lr >= 0, "0 or more"),
            ("decay", decay, 0 <= decay < 1, "0 or more and below 1"),
            ("momentum", momentum, 0 <= momentum < 1, "0 or more and below 1"),
            ("eps", eps, eps > 0, "more than 0"),
            ("weight_decay", weight_decay, weight_decay >= 0, "0 or more"),
        ):
            if not fits:
                raise ConfigError(f"{name}: expected {expected}, got {value!r}.")
        options = {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Change every parameter that has a gradient, and return what the closure returned, if there is one.

        Args:
            closure: computes the loss anew, with gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["mean_square"] = torch.ones_like(parameter, memory_format=torch.preserve_format)
            state["velocity"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        mean_square, velocity = state["mean_square"], state["velocity"]
        mean_square.mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        root = mean_square.add(group["eps"]).sqrt_()
        velocity.mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
        parameter.sub_(velocity)
