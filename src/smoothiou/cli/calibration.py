"""The calibration of a study: what is known of it, what is still to be measured, and where it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError
from smoothiou.files import write_json
from smoothiou.loss_spec import STAGES
from smoothiou.study import read_calibration, read_plan, refuse_other_study
from smoothiou.study.weights import FILE, StageWeights, how_to_measure, joined

if TYPE_CHECKING:
    from smoothiou.engine.open_data import Splits


class Calibration:
    """The weights of a study's losses: those it was begun with stand, those of new losses are measured once.

    Args:
        config: what all cells share.
        folder: of the study.
        losses: that were asked for.
        overwrite: whether the study that lies there will be deleted.

    Attributes:
        new: the losses that are still to be measured.
        weights: loss -> stage -> factor; 1 for those until they are.

    Raises:
        ConfigError: a weight is set by hand, too.
    """

    def __init__(self, config: RunConfig, folder: Path, losses: Sequence[str], *, overwrite: bool) -> None:
        for stage in STAGES:
            key = f"loss.{stage}_weight"
            if config.flat()[key] != 1:
                raise ConfigError(
                    f"--calibrate finds {key} for each loss, and {config.flat()[key]:g} was set.",
                    hint="Leave one of them out; loss.weight stays as a factor on all.",
                )
        self.config, self.folder, self.losses = config, folder, losses
        self.stored = read_plan(folder) if (folder / "plan.json").is_file() and not overwrite else None
        self.earlier = read_calibration(folder) if self.stored else None
        known: Mapping[str, StageWeights] = self.stored["weights"] if self.stored else {}
        self.new = [loss for loss in losses if loss not in known]
        ones = dict.fromkeys(config.loss.stages, 1.0)
        self.weights = {loss: known.get(loss, ones) for loss in losses}
        self.found: dict[str, Any] | None = None

    def find(
        self, plan: Mapping[str, Any], splits: Splits, *, quiet: bool, say: Callable[[str], object]
    ) -> Mapping[str, StageWeights]:
        """Return the weights after measuring what is new.

        Args:
            plan: of the study, with the weights that are known.
            splits: its data.
            quiet: no progress.
            say: is told what happens.

        Raises:
            ConfigError: the folder holds another study (found before anything is measured), or a loss has no gradient.
        """
        if self.stored:
            refuse_other_study(self.folder, self.stored, plan)
        if not self.new:
            return self.weights
        from smoothiou.lab.calibrate import propose_weights

        how = how_to_measure(self.earlier, baseline=self.stored["baseline"] if self.stored else plan["baseline"])
        say(f"Calibrating {', '.join(self.new)} against {how['reference']}.")
        found = propose_weights(self.config, losses=self.new, **how, splits=splits, quiet=quiet)
        self.found = joined(self.earlier, found, new=self.new)
        self.weights = {**self.weights, **{loss: found["weights"][loss] for loss in self.new}}
        for loss in self.new:
            say(f"  {loss}: " + ", ".join(f"{stage} x {weight:g}" for stage, weight in self.weights[loss].items()))
        return self.weights

    def write(self) -> None:
        """Write calibration.json into the study's folder, if anything was measured."""
        if self.found is not None:
            write_json(self.folder / FILE, self.found)
