"""The calibration of a study's losses: known weights stand, those of new losses are measured and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.engine.config import RunConfig
from smoothiou.errors import ConfigError
from smoothiou.files import write_json
from smoothiou.loss_spec import STAGES
from smoothiou.study import read_calibration, read_plan, refuse_other_study
from smoothiou.study.stage_weights import FILE, StageWeights, calibration_options, merge_calibrations

if TYPE_CHECKING:
    from smoothiou.engine.open_data import Splits


class Calibration:
    """The weights of a study's losses.

    Args:
        config: what all cells share.
        folder: of the study.
        losses: that were asked for.
        overwrite: whether the study in the folder will be deleted.

    Attributes:
        new: the losses that are still to be measured.
        weights: loss -> stage -> factor; 1 for losses that are still to be measured.

    Raises:
        ConfigError: a weight is set by hand, too.
    """

    def __init__(self, config: RunConfig, folder: Path, losses: Sequence[str], *, overwrite: bool) -> None:
        settings = config.flat()
        for key in (f"loss.{stage}_weight" for stage in STAGES):
            if settings[key] != 1:
                raise ConfigError(
                    f"--calibrate finds {key} for each loss, and {settings[key]:g} was set.",
                    hint="Leave one of them out; loss.weight stays as a factor on all.",
                )
        self.config, self.folder = config, folder
        self.stored = read_plan(folder) if (folder / "plan.json").is_file() and not overwrite else None
        self.earlier = read_calibration(folder) if self.stored else None
        known: Mapping[str, StageWeights] = self.stored["weights"] if self.stored else {}
        self.new = [loss for loss in losses if loss not in known]
        self.weights = {loss: known.get(loss, dict.fromkeys(config.loss.stages, 1.0)) for loss in losses}
        self.calibration: dict[str, Any] | None = None

    def measure(
        self, plan: Mapping[str, Any], splits: Splits, *, quiet: bool, say: Callable[[str], object]
    ) -> Mapping[str, StageWeights]:
        """Return the weights after measuring those of new losses.

        Args:
            plan: of the study, with the weights that are known.
            splits: its data.
            quiet: no progress.
            say: called with a line for people.

        Raises:
            ConfigError: the folder holds another study (before anything is measured), or a loss has no gradient.
        """
        if self.stored:
            refuse_other_study(self.folder, self.stored, plan)
        if not self.new:
            return self.weights
        from smoothiou.lab.calibrate import propose_weights

        baseline = self.stored["baseline"] if self.stored else plan["baseline"]
        options = calibration_options(self.earlier, baseline=baseline)
        say(f"Calibrating {', '.join(self.new)} against {options['reference']}.")
        proposed = propose_weights(self.config, losses=self.new, **options, splits=splits, quiet=quiet)
        self.calibration = merge_calibrations(self.earlier, proposed, new=self.new)
        for loss in self.new:
            self.weights[loss] = proposed["weights"][loss]
            say(f"  {loss}: " + ", ".join(f"{stage} x {weight:g}" for stage, weight in self.weights[loss].items()))
        return self.weights

    def write(self) -> None:
        """Write calibration.json into the study's folder, if anything was measured."""
        if self.calibration is not None:
            write_json(self.folder / FILE, self.calibration)
