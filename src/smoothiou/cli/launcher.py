"""Where the cells of a study are trained, as options."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from smoothiou.errors import ConfigError

if TYPE_CHECKING:
    from smoothiou.study import RayOptions

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
