"""Where the cells of a study are trained, as options, and what is printed meanwhile."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from smoothiou.errors import ConfigError
from smoothiou.files import visible

if TYPE_CHECKING:
    from smoothiou.study import CellEvent, RayOptions

Launcher = Annotated[
    Literal["local", "ray"], Parameter(help="Where cells run: on this machine, or on those of a Ray cluster.")
]
Address = Annotated[str | None, Parameter(help="HOST:PORT of the Ray cluster, where RAY_ADDRESS does not say it.")]
Cpus = Annotated[int, Parameter(name="--cpus-per-cell", help="Cores of a cell on the Ray cluster.")]
Gpus = Annotated[float, Parameter(name="--gpus-per-cell", help="GPUs of a cell on the Ray cluster, 0 to 1.")]
Retries = Annotated[int, Parameter(help="How often a cell may lose its machine of the Ray cluster.")]
Shared = Annotated[
    bool,
    Parameter(
        name="--shared-folder", negative="--no-shared-folder",
        help="Machines that see --out work in it. Without, all results are brought back by Ray.",
    ),
]  # fmt: skip


def ray_options(
    launcher: str, *, jobs: int, address: str | None, cpus: int, gpus: float, retries: int, shared: bool
) -> RayOptions | None:
    """Return how to use a Ray cluster; None for this machine alone.

    Raises:
        ConfigError: an option of the other launcher, a value out of range, or Ray is not installed.
    """
    from smoothiou.study import RayOptions

    chosen = RayOptions(address=address, cpus=cpus, gpus=gpus, retries=retries, shared=shared)
    if launcher == "local":
        if chosen != RayOptions():
            raise ConfigError(
                "--address, --cpus-per-cell, --gpus-per-cell, --retries and --no-shared-folder are of a Ray cluster.",
                hint="Give --launcher ray with them.",
            )
        return None
    if jobs != 1:
        raise ConfigError(
            f"--jobs {jobs}: with --launcher ray the cluster decides how many cells run at once.",
            hint="Give --cpus-per-cell and --gpus-per-cell instead.",
        )
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--launcher ray: Ray is not installed.", hint="pip install 'smoothiou[ray]'")
    return chosen


class StudyProgress:
    """Prints what happens to cells, and how long the others may take.

    Args:
        say: takes a line for people.
        starts: whether to print every start.
    """

    def __init__(self, say: Callable[[str], Any], *, starts: bool) -> None:
        self.say, self.starts = say, starts
        self.began, self.ended, self.skipped = time.monotonic(), 0, 0

    def __call__(self, event: CellEvent) -> None:
        """Print one event."""
        name = f"[{event.number}/{event.total}] {event.cell['loss']} seed {event.cell['seed']}"
        took = f" in {event.seconds:.0f} s" if event.seconds >= 1 else ""
        self.skipped += event.kind == "skipped"
        self.ended += event.kind in ("done", "failed", "busy")
        if event.kind == "failed":
            line = visible(f"{name}: failed{took}: {event.message}{self.remaining(event)}")
            print(line, file=sys.stderr, flush=True)  # also where --quiet was given
        elif event.kind != "start" or self.starts:
            kind = "done before" if event.kind == "skipped" else event.kind
            reason = f": {event.message}" if event.kind == "busy" else ""
            remaining = self.remaining(event) if event.kind == "done" else ""
            self.say(visible(f"{name}: {kind}{took}{reason}{remaining}"))

    def remaining(self, event: CellEvent) -> str:
        """Return how many cells have ended, and about how long the others will take at this pace."""
        left = event.total - self.skipped - self.ended
        if not left:
            return ""
        seconds = (time.monotonic() - self.began) / self.ended * left
        about = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return f" ({event.total - left} of {event.total}, about {about} left)"
