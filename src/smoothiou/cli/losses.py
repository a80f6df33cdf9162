"""`smoothiou losses`: the shelf, without torch."""

from __future__ import annotations

import dataclasses
import json

from smoothiou.cli.options import Json
from smoothiou.errors import ConfigError, did_you_mean


def losses(name: str = "", *, json_: Json = False) -> None:
    """List the box losses, or print the formula, range and reference of one.

    Args:
        name: a loss; empty for the list.
    """
    from smoothiou.losses.catalogue import CATALOGUE

    if name and name not in CATALOGUE:
        raise ConfigError(f"{name}: no such loss.", hint=did_you_mean(name, CATALOGUE))
    cards = {name: CATALOGUE[name]} if name else dict(CATALOGUE)
    if json_:
        print(json.dumps({key: dataclasses.asdict(card) for key, card in cards.items()}, indent=1))
    elif name:
        for key, value in dataclasses.asdict(cards[name]).items():
            print(f"{key.replace('_', ' '):12} {value}")
    else:
        width = max(map(len, cards))
        for key, card in cards.items():
            print(f"{key:{width}}  {card.summary}")
