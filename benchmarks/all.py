"""Every benchmark of speed and memory on one machine, one after the other, each in a process of its own.

    python benchmarks/all.py [--data BCCD] [--device cpu] [--out FOLDER]

Under 20 minutes on two CPU cores, which must be idle: with another's work on them every ratio goes astray. Without
data, synthetic shapes stand in. Each benchmark's tables are printed, and written to FOLDER as JSON.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

BENCHMARKS = {
    "adapter-overhead": "adapter_overhead.py",
    "step-nano": "training_step.py --data {data} --rounds 5",
    "step-nano-1-thread": "training_step.py --data {data} --threads 1 --rounds 4",
    "step-resnet50-fpn": "training_step.py --net resnet50-fpn --rounds 4",
    "roi-align": "roi_align.py --threads 0",
    "roi-align-1-thread": "roi_align.py",
    "time-to-ap": "time_to_ap.py --data {data}",
    "evaluation": "evaluation.py --rounds 2",
    "data-loading": "data_loading.py --data {data}",
    "startup": "startup.py --data {data}",
    "memory": "memory.py --data {data}",
}


def main() -> int:
    """Run them and return 1 where one has failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    failed = False
    for name, command in BENCHMARKS.items():
        script, *words = command.split()
        words = [word.format(data=options.data) for word in words]
        words += ["--device", options.device, "--json", str(options.out / f"{name}.json")]
        print(f"\n== {script} {' '.join(words)}", flush=True)
        failed |= subprocess.run([sys.executable, Path(__file__).with_name(script), *words]).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
