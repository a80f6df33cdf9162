"""Which layers of a backbone keep their weights, by one word: `none`, `stem`, `backbone`, or up to a named layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from smoothiou.detectors.frozen_body import freeze_body
from smoothiou.detectors.mixin import Mixin, mix_in
from smoothiou.errors import ConfigError, did_you_mean


def freeze_layers(model: nn.Module, word: str, *, stem: str = "") -> None:
    """Freeze the first layers of a detector's backbone in place, and train all others of it.

    Frozen batch norms use their stored statistics in training too, and leave them as they are. A pyramid on top of
    the backbone, the RPN and the second stage are always trained. A backbone that is frozen as a whole computes image
    by image (see `FrozenBody`).

    Args:
        model: a torchvision Faster R-CNN.
        word: "none", "stem", "backbone" for all of it, or the name of a layer, for it and all before it.
        stem: the last layer of the stem; "" for the first layer.

    Raises:
        ConfigError: a word that the detector does not know.
    """
    body = backbone_body(model)
    layers = {name: child for name, child in body.named_children() if child.state_dict()}
    names = list(layers)
    counts = {"none": 0, "stem": names.index(stem) + 1 if stem else 1, "backbone": len(names)}
    counts |= {name: number for number, name in enumerate(names, 1)}
    if word not in counts:
        guess = did_you_mean(word, counts)
        hint = guess if guess.startswith("Did") else "A layer is frozen with all before it."
        raise ConfigError(f"model.freeze: expected auto or one of {', '.join(counts)}, got {word!r}.", hint=hint)
    for number, layer in enumerate(layers.values()):
        frozen = number < counts[word]
        layer.requires_grad_(not frozen)
        if frozen:
            _hold_statistics(layer)
    if counts[word] == len(names):
        freeze_body(body)


def backbone_body(model: nn.Module) -> nn.Module:
    """Return the backbone without a pyramid on top of it."""
    backbone: Any = model.backbone
    return getattr(backbone, "body", backbone)


class HeldStatistics(Mixin):
    """A batch norm that uses its stored statistics in training too."""

    def train(self, mode: bool = True) -> Any:
        """Stay in eval mode."""
        return super().train(False)


def _hold_statistics(layer: nn.Module) -> None:
    for module in layer.modules():
        if getattr(module, "track_running_stats", False):
            mix_in(module, HeldStatistics)
            module.train()
