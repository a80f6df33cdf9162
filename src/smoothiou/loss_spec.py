"""The syntax of losses in settings and on the command line: `huber[delta=0.5]`, `huber/smooth-iou`, or several.

Syntax only, without torch; `smoothiou.losses.load_loss` looks the names up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from smoothiou.errors import ConfigError

STAGES = ("rpn", "roi")
"""The first and the second stage of a detector."""


def cascade_stage(number: int) -> str:
    """Name of a cascade's second stage by its number from 0: roi, roi2, roi3, ..."""
    return f"roi{number + 1}" if number else "roi"


def parse_loss(spec: str) -> tuple[str, dict[str, Any]]:
    """Split `huber[delta=0.5,lam=box]` into a name and its options; numbers, true and false are read as such.

    Raises:
        ConfigError: the text is no loss specification.
    """
    match = re.fullmatch(r"([\w.:-]+)(?:\[(.*)\])?", spec.strip())
    if not match:
        raise ConfigError(f"{spec!r} names no loss.", hint="Write NAME, NAME[option=value] or package.module:object.")
    options: dict[str, Any] = {}
    for part in filter(None, (match[2] or "").split(",")):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier():
            raise ConfigError(f"{spec!r}: {part!r} is no option.", hint="Write NAME[option=value,option=value].")
        options[key] = _literal(text)
    return match[1], options


def split_stages(spec: str) -> list[str]:
    """Split `huber/smooth-iou` at the strokes outside brackets.

    Raises:
        ConfigError: a part is no loss specification.
    """
    parts = [part.strip() for part in re.split(r"/(?![^\[]*\])", spec)]
    for part in parts:
        parse_loss(part)
    return parts


def stage_losses(spec: str, stages: Sequence[str] = STAGES) -> dict[str, str]:
    """Map each stage to its loss: `huber/smooth-iou` is one for the first and one for all others, `huber` for all.

    Args:
        spec: one loss, two, or one for each stage.
        stages: of the detector, first to last.

    Raises:
        ConfigError: the text is no loss specification.
    """
    parts = split_stages(spec)
    if len(parts) not in (1, 2, len(stages)):
        more = f", or {len(stages)} for {'/'.join(stages)}" if len(stages) > 2 else ""
        raise ConfigError(f"{spec!r}: expected one loss, or two as FIRST/SECOND{more}, got {len(parts)}.")
    if len(parts) < len(stages):
        parts = [parts[0], *[parts[-1]] * (len(stages) - 1)]
    return dict(zip(stages, parts, strict=True))


def _literal(text: str) -> Any:
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def split_losses(text: str) -> tuple[str, ...]:
    """Split `huber,smooth-iou[lam=box,delta=1]` at the commas outside brackets.

    Raises:
        ConfigError: the list is empty or names a loss twice.
    """
    losses = tuple(part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip())
    if not losses:
        raise ConfigError("--losses: expected at least one loss, got none.")
    twice = sorted({loss for loss in losses if losses.count(loss) > 1})
    if twice:
        raise ConfigError(f"--losses: {', '.join(twice)} is named twice.")
    for loss in losses:
        split_stages(loss)
    return losses
