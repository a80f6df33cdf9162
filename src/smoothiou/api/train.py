"""Train one detector; `smoothiou train` is these lines with words around them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothiou.api.say import say_nothing, say_on_stderr
from smoothiou.api.settings import Named, configure, data_name, folder_name
from smoothiou.engine.open_data import Data
from smoothiou.import_object import name_of
from smoothiou.launch import rank

if TYPE_CHECKING:
    from smoothiou.engine.predictor import Run


def train(
    data: Data = "",
    *,
    loss: Named | None = None,
    recipe: str | Path | None = None,
    steps: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    model: Named | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    format: str | None = None,
    allow_dropped: int | None = None,
    deterministic: bool = False,
    overwrite: bool = False,
    longer: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train one detector, measure it, and leave a folder that holds everything about it, as `smoothiou train` does.

    The same call again continues an interrupted run, and returns a finished one as it is. An object that cannot be
    imported by a name (of a notebook, a lambda, an instance) is known to this process alone: so is its run, whose
    manifest.json keeps the object's source.

    Args:
        data: folder of a data set, several joined by `+`, `shapes`; or records by split, or a function that returns
            them.
        loss: a name of `LOSSES`, `package.module:object`, or the object itself: a function, a class or a module
            (pred_deltas (K, 4), target_deltas (K, 4), *, weights, anchors) -> (K,). None: the recipe's.
        recipe: name of a shipped recipe, or path of a TOML file. None: `photos` for real data.
        steps: optimizer steps, 1 or more; None: as the recipe says, or as fits the number of photos.
        seed: decides weights, data order and augmentation, 0 or more.
        out: folder of the run; None: runs/DATA-LOSS-seedSEED.
        model: name of a detector, or a builder of your own, (num_classes, pretrained, **settings) -> FasterRCNN.
        weights: where it begins: "auto", "none", "imagenet", "coco", a run folder or a file.
        device: "auto", "cpu", "cuda" or "cuda:N".
        format: of the data, instead of detecting it.
        allow_dropped: boxes without area or outside their image that may be left out.
        deterministic: only operations that give the same bits each time, on a GPU too.
        overwrite: start anew in a folder that holds another run.
        longer: go on in a folder whose run differs in fewer steps alone.
        quiet: no progress and no lines on stderr.
        **settings: any setting, with two underscores for its dot: `optim__lr=0.002` (`smoothiou config keys`).

    Returns:
        The run: its numbers, and its detector for new images.

    Raises:
        ConfigError: an unknown name or setting, a value out of range, or `out` holds another run.
        DataError: the data has something wrong.
        CheckpointError: weights that cannot be read, or do not fit.
        DivergedError: a loss became NaN or infinite.
        InterruptedRun: a signal came; the state is saved.
    """
    name = None if loss is None else name_of(loss)
    configured = configure(
        data, command="train", settings=settings, recipe=recipe, steps=steps, model=model, weights=weights,
        device=device, format=format, allow_dropped=allow_dropped, deterministic=deterministic,
        others={"loss.name": name, "train.seed": seed},
    )  # fmt: skip
    config = configured.config
    stem = f"{data_name(config.data.path)}-{folder_name(config.loss.name)}-seed{config.train.seed}"
    folder = Path(out) if out else Path("runs") / stem

    from smoothiou.engine.detector import check
    from smoothiou.engine.open_data import describe_data, open_splits
    from smoothiou.engine.predictor import Run
    from smoothiou.engine.train import run
    from smoothiou.report.doctor import quick_line
    from smoothiou.report.summary_lines import data_lines, watch_lines

    check(config, losses=(config.loss.name,))
    quiet = quiet or rank() > 0  # under torchrun one process speaks for all
    say = say_nothing if quiet else say_on_stderr
    splits = open_splits(config.data)
    config, fitted = configured.fitted(len(splits.train.records))
    if not quiet:
        facts = describe_data(splits)
        for line in (data_lines(facts), *watch_lines(config.flat(), facts), quick_line(splits, config), fitted):
            if line:
                say(line)
    run(config, folder, splits=splits, overwrite=overwrite, longer=longer, quiet=quiet)
    return Run(folder)
