"""`smoothiou losses`: the table of box losses, and one of them in full."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
from typing import TYPE_CHECKING

from smoothiou.cli.options import Json
from smoothiou.errors import SmoothIoUError

if TYPE_CHECKING:
    from smoothiou.losses import LossInfo

COLUMNS = ("loss", "range", "disjoint", "frame", "weight", "gives")


def losses(name: str = "", *, json_: Json = False) -> None:
    """List the box losses, or print the formula, options and reference of one.

    A loss of your own, as `package.module:object`, is tried on boxes at which losses go wrong: exit code 1 where it
    fails at something that a training needs.

    Examples:
        smoothiou losses
        smoothiou losses smooth-iou
        smoothiou losses mine:my_loss

    Args:
        name: a loss; empty for the list.
    """
    from smoothiou.losses import LOSSES, no_such_loss

    if ":" in name.partition("[")[0]:
        _try_custom(name, json_=json_)
        return
    name = name.partition("[")[0]  # of a loss with options
    if name and name not in LOSSES:
        raise no_such_loss(name, LOSSES)
    infos = [LOSSES[name].info] if name else [loss.info for loss in LOSSES.values()]
    if json_:
        print(json.dumps({info.name: dataclasses.asdict(info) for info in infos}, indent=1))
    else:
        print(_details(infos[0]) if name else _table(infos))


def _try_custom(spec: str, *, json_: bool) -> None:
    """Explain a loss from the user's own code, and print what it does on some boxes.

    Raises:
        SmoothIoUError: it lacks something that a training needs.
    """
    from smoothiou.import_object import import_object
    from smoothiou.lab.own_loss import try_own_loss
    from smoothiou.loss_spec import parse_loss
    from smoothiou.losses.load import signature_of

    name, _ = parse_loss(spec)
    trials = try_own_loss(spec)
    function = import_object(name)
    defaults = {p.name: "needed" if p.default is p.empty else p.default for p in signature_of(function)}
    facts = {"loss": spec, "options": defaults, "trials": [dataclasses.asdict(trial) for trial in trials]}
    failed = [trial.what for trial in trials if trial.needed and not trial.passed]
    if not json_:
        options = ", ".join(f"{option}={default}" for option, default in defaults.items())
        rows = [f"{'loss':11}{spec}", f"{'options':11}{options or 'none'}", ""]
        for trial in trials:
            verdict = "yes" if trial.passed else "FAILS" if trial.needed else "no"
            rows.append(f"{verdict:7}{trial.what}" + (f": {trial.detail}" if trial.detail else ""))
        rows += ["", inspect.getdoc(function) or f"{name} has no docstring.", ""]
        print("\n".join([*rows, f"Train with it: smoothiou compare DATA --losses huber,{spec}"]))
    elif not failed:
        print(json.dumps(facts, default=str))
    if failed:
        raise SmoothIoUError(f"{spec}: it is not so that {failed[0]}.", hint="See docs/extending.md.", details=facts)


def _table(infos: list[LossInfo]) -> str:
    rows = [COLUMNS, *((i.name, i.range, _disjoint(i), _frame(i), f"{i.weight:g}", i.summary) for i in infos)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    notes = (
        "range     of the loss of one box",
        "disjoint  whether a box that does not touch its target is still pulled to it",
        "frame     deltas: needs none; any: the same in pixels and relative to the anchor; pixels: measured in them",
        "weight    a factor that its sources train with; `smoothiou calibrate DATA` measures one for your data",
        "`smoothiou losses NAME` prints formula, options and reference; `smoothiou curves --losses NAME` draws it.",
        "`smoothiou losses package.module:object` tries a loss of your own.",
    )
    return "\n".join([*lines, "", *notes])


def _details(info: LossInfo) -> str:
    from smoothiou.losses import LOSSES, options_of

    options = ", ".join(f"{option}={default!r}" for option, default in options_of(info.name).items())
    rows = {
        "loss": info.name,
        "gives": info.summary,
        "formula": info.formula,
        "range": info.range,
        "disjoint": _disjoint(info),
        "frame": _frame(info),
        "symmetric": "yes" if info.symmetric else "no: prediction and target cannot change places",
        "weight": f"{info.weight:g} ({info.weight_source})",
        "options": options or "none",
        "reference": info.reference,
    }
    if info.also_called:
        rows["names"] = info.also_called
    text = "\n".join(
        textwrap.fill(value, 110, initial_indent=f"{key:11}", subsequent_indent=" " * 11, break_on_hyphens=False)
        for key, value in rows.items()
    )
    return f"{text}\n\n{inspect.getdoc(LOSSES[info.name])}"


def _disjoint(info: LossInfo) -> str:
    return "no pull" if info.vanishes_when_disjoint else "pulled"


def _frame(info: LossInfo) -> str:
    return "deltas" if info.space == "deltas" else info.frame
