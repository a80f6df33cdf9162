"""From `smoothiou compare` to its first training step: everything that a user waits for before anything is learnt.

    python benchmarks/startup.py [--data FOLDER] [--rounds 3] [--json FILE]

A process of its own each time: Python, imports, the data set read and looked through, the plan written, the detector
built, the first batch decoded, one step taken and logged. The clock stops when metrics.csv holds its first row.
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
        try:
            while True:
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} has ended with {process.returncode}")
                found = list(folder.rglob("metrics.csv"))
                if found and len(found[0].read_text().splitlines()) > 1:
                    break
                time.sleep(0.01)
            taken = time.monotonic() - began
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return taken, (int(ticks[11]) + int(ticks[12])) / 100
        finally:
            process.kill()


def main() -> None:
    """Measure and print one table."""
    options = arguments(__doc__, data={"default": "shapes", "help": "a data set"}, rounds={"type": int, "default": 3})
    report = Report("From `compare` to the first training step", options.device)
    times = []
    for _ in range(options.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            times.append(first_step(options.data, Path(folder) / "study", options.device))
    rows = []
    for name, part in (("first start after others", times[:1]), ("later starts", times[1:])):
        low, middle, high = quartiles([wall for wall, _ in part])
        cpu = quartiles([used for _, used in part])[1]
        rows.append([name, f"{middle:.1f} ({low:.1f} to {high:.1f})", f"{cpu:.1f}"])
    report.table(Path(options.data).name, ["", "s to the first step", "CPU s"], rows)
    report.write(options.json)


if __name__ == "__main__":
    main()
