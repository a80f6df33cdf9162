"""From `smoothiou compare` to its first training step: everything that a user waits for.

    python benchmarks/startup.py [--data FOLDER] [--rounds 3] [--json FILE]

A process of its own each time: Python, imports, the data set, the plan, the detector, the first batch, one step taken
and logged. The clock stops when metrics.csv holds its first row.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Report, arguments, quartiles


def first_step(data: str, folder: Path, device: str) -> tuple[float, float]:
    """Return wall and CPU seconds of a process up to its first step."""
    recipe = "quick" if data == "shapes" else "bccd"
    command = [
        sys.executable, "-m", "smoothiou", "compare", data, "--recipe", recipe, "--losses", "huber,smooth-iou",
        "--seeds", "0", "--out", str(folder), "--train.log_every", "1", "--train.device", device,
    ]  # fmt: skip
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any(len(path.read_text().splitlines()) > 1 for path in folder.rglob("metrics.csv")):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} has ended with {process.returncode}")
            time.sleep(0.01)
        wall = time.monotonic() - began
        user, system = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        process.kill()
    return wall, (int(user) + int(system)) / 100


def main() -> None:
    """Measure and print one table."""
    options = arguments(__doc__, data={"default": "shapes", "help": "a data set"}, rounds={"type": int, "default": 3})
    report = Report("From `compare` to the first training step", options.device)
    times = []
    for _ in range(options.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            times.append(first_step(options.data, Path(folder) / "study", options.device))
    rows = []
    for name, part in (("first start", times[:1]), ("later starts", times[1:])):
        (low, middle, high), cpu = quartiles([wall for wall, _ in part]), quartiles([used for _, used in part])[1]
        rows.append([name, f"{middle:.1f} ({low:.1f} to {high:.1f})", f"{cpu:.1f}"])
    report.table(Path(options.data).name, ["", "s to the first step", "CPU s"], rows)
    report.write(options.json)


if __name__ == "__main__":
    main()
