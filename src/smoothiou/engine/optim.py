"""Optimizers and learning rates; the rate is a plain function of the step, so there is no schedule state to lose."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from smoothiou.engine.sections import OptimConfig
from smoothiou.engine.tf_rmsprop import TensorFlowRMSprop


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe, without weight decay on biases and norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Decaying a bias or the scale of a norm pulls a layer towards the wrong function, not towards a simpler one.
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.name == "adamw":
        # One pass over all weights in place of a dozen operations for each of them.
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    if config.name == "tf-rmsprop":
        return TensorFlowRMSprop(groups, lr=config.lr, decay=0.9, momentum=config.momentum, eps=config.epsilon)
    return torch.optim.RMSprop(groups, lr=config.lr, momentum=config.momentum, alpha=0.9)


def learning_rate(config: OptimConfig, *, step: int, steps: int) -> float:
    """Return the rate of a step (counted from 0).

    warmup-cosine: a linear rise over the first `warmup` share, then half a cosine down to 0. step: divided by 10 every
    `step_every` steps (paper, section 4). constant: `lr`.
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "step":
        return config.lr * 0.1 ** (step // config.step_every)
    rise = max(1, round(config.warmup * steps))
    if step < rise:
        return config.lr * (step + 1) / rise
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Write the rate into every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[nn.Parameter], *, largest: float, each: bool = False) -> torch.Tensor:
    """Scale gradients to a norm of at most `largest` (0: leave them), and return their global norm before that.

    Args:
        parameters: of the model; those without a gradient are left out.
        largest: norm.
        each: limit the gradient of each parameter by itself, as TensorFlow's `slim` does, and not all together.
    """
    parameters = list(parameters)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest > 0 and each:
        for gradient in gradients:
            gradient.mul_((largest / (gradient.norm() + 1e-6)).clamp(max=1.0))
    elif largest > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
