"""What is wrong with detector, device or losses, met before anything is written or trained."""

from __future__ import annotations

from collections.abc import Sequence

from smoothiou.engine.config import RunConfig


def check(config: RunConfig, *, losses: Sequence[str]) -> None:
    """Meet what is wrong with detector, device or losses before anything is written or trained.

    Raises:
        ConfigError: an unknown detector, kind of weights, device, loss or option of a loss; a loss that fails or
            gives another shape than one number per box.
    """
    from smoothiou.detectors.box_loss import try_loss
    from smoothiou.detectors.build import check_name_and_weights
    from smoothiou.engine.devices import choose_place
    from smoothiou.loss_spec import parse_loss, stage_losses
    from smoothiou.losses import load_loss

    check_name_and_weights(config.model.name, config.model.weights)
    choose_place(config.train.device, config.train.precision)
    for loss in dict.fromkeys(part for spec in losses for part in stage_losses(spec).values()):
        name, options = parse_loss(loss)
        try_loss(load_loss(name, **options), name=loss)
