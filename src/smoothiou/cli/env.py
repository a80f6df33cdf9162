"""`smoothiou env`: versions, devices, and what is advised on this machine."""

from __future__ import annotations

import json

from smoothiou.cli.options import Json


def env(*, json_: Json = False) -> None:
    """Print versions, processor, devices and the precision that would be used; for reports of faults.

    Examples:
        smoothiou env
        smoothiou env --json
    """
    from smoothiou.engine.devices import describe_devices
    from smoothiou.manifest import environment, source_state

    facts = {**environment(), "source": source_state(), **describe_devices()}
    if json_:
        print(json.dumps(facts, indent=1))
        return
    for name, value in {**facts.pop("versions"), **facts}.items():
        print(f"{name:14} {value}")
    import torchvision  # noqa: F401, fails where it was built for another torch
