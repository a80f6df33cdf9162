"""All benchmarks, one after the other, each in a process of its own; the tables go to docs/performance.md.

    python benchmarks/all.py [--data FOLDER] [--device cpu] [--page PAGE] [--only NAME,NAME]

Under 20 minutes on two CPU cores, which must be idle: with another's work on them, threads wait for each other for
most of the time, and every ratio comes nearer to 1 or goes astray. BCCD (docs/datasets.md) as `--data` gives the
numbers that the page talks about. Without data, synthetic shapes stand in, time to AP is left out, and no page is
written; neither is one where a benchmark has failed. The page keeps its text: only what stands between its two marks is
written anew, and the picture beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import machine, said

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Job:
    """One benchmark.

    Args:
        words: the script, or "-m" and a module, and its arguments.
        tables: whether it writes its tables where `--json` says; else the page gets what it prints.
        pictured: whether it draws where `--picture` says.
    """

    words: list[str]
    tables: bool = True
    pictured: bool = False


def plan(data: str, device: str) -> dict[str, Job]:
    """Return the benchmarks by name, in their order."""
    own, on = ["--data", data], ["--device", device]
    losses, many = ["box_losses.py", *on], ["--threads", "0", "--counts", "65536,1000000", "--rounds", "9"]
    jobs = {
        "training step of nano": Job(["training_step.py", *own, *on, "--rounds", "5"]),
        "training step of nano on one thread": Job(["training_step.py", *own, *on, "--threads", "1", "--rounds", "4"]),
        "training step of resnet50-fpn": Job(["training_step.py", "--net", "resnet50-fpn", "--rounds", "4", *on]),
        "RoIAlign": Job(["roi_align.py", "--threads", "0", *on]),
        "RoIAlign on one thread": Job(["roi_align.py", *on]),
        "time to AP": Job(["time_to_ap.py", *own, *on]),
        "evaluation": Job(["evaluation.py", "--rounds", "2", *on]),
        "data loading": Job(["data_loading.py", *own]),
        "start": Job(["startup.py", *own, *on]),
        "memory": Job(["memory.py", *own, *on]),
        "scaling": Job(["scaling.py", *on], pictured=True),
        "losses": Job([*losses, "--rounds", "9"], tables=False),
        "losses on all threads": Job([*losses, *many], tables=False),
        "doctor": Job(["-m", "smoothiou", "doctor", data], tables=False),
    }
    if device != "cpu":
        jobs["fused losses"] = Job(["fused_loss.py"], tables=False)
        del jobs["losses on all threads"], jobs["RoIAlign on one thread"]
    if data == "shapes":
        del jobs["time to AP"], jobs["doctor"]
    return jobs


def run(job: Job, folder: Path, picture: Path | None) -> tuple[dict[str, Any] | None, str]:
    """Run one benchmark; return its tables, where it writes them, and what it printed."""
    found, words = folder / "found.json", job.words
    command = [sys.executable, *words] if words[0] == "-m" else [sys.executable, str(HERE / words[0]), *words[1:]]
    if job.tables:
        command += ["--json", str(found)]
    if job.pictured and picture:
        command += ["--picture", str(picture)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began
    if done.returncode not in (0, 3):  # 3: the doctor has found errors in the data, which is no matter here
        return None, f"failed with {done.returncode}:\n{done.stderr[-2000:]}"
    if words[0] == "-m":
        return None, f"{' '.join(words[1:3])}: {taken:.1f} s, with the start of Python"
    content = json.loads(found.read_text(encoding="utf-8")) if found.is_file() else None
    found.unlink(missing_ok=True)
    return content, done.stdout


def as_markdown(name: str, job: Job, content: dict[str, Any] | None, printed: str) -> str:
    """Return one benchmark's section of the page."""
    shown = [word if not Path(word).is_absolute() else "DATA" for word in job.words]
    command = " ".join(["python", *([] if shown[0] == "-m" else ["benchmarks/" + shown.pop(0)]), *shown])
    lines = [f"### {name[0].upper()}{name[1:]}", "", f"    {command}", ""]
    if content is None:
        return "\n".join([*lines, "```", printed.strip(), "```", ""])
    lines += [f"Load of the machine when it began: {content['machine']['load']}.", ""]
    for table in content["tables"]:
        lines += [f"**{table['title']}**", "", "| " + " | ".join(table["columns"]) + " |"]
        lines.append("|" + "---|" * len(table["columns"]))
        lines += ["| " + " | ".join(row) + " |" for row in table["rows"]]
        lines += ["", table["note"], ""] if table["note"] else [""]
    if job.pictured:
        lines += ["![Time over size, for steps and evaluation](images/scaling.png)", ""]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="shapes", help="BCCD, or another data set of photos")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--page", default="", help="docs/performance.md, or none where no data is given")
    parser.add_argument("--only", default="", help="names of benchmarks; the page is then not written")
    options = parser.parse_args()
    jobs = plan(options.data, options.device)
    if unknown := [name for name in filter(None, options.only.split(",")) if name not in jobs]:
        raise SystemExit(f"no benchmark: {', '.join(unknown)}; there are: {', '.join(jobs)}")
    about, began = machine(options.device), time.perf_counter()
    sections = [f"Measured on {time.strftime('%Y-%m-%d')}. {said(about)}.", ""]
    page, failed = Path(options.page or HERE.parent / "docs" / "performance.md").resolve(), False
    written = not options.only and bool(options.page or options.data != "shapes")
    picture = page.parent / "images" / "scaling.png" if written else None
    for name, job in jobs.items():
        if options.only and name not in options.only.split(","):
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            content, printed = run(job, Path(folder), picture)
        failed |= printed.startswith("failed")
        print(f"== {name} ({time.perf_counter() - started:.0f} s)\n{printed}", flush=True)
        sections.append(as_markdown(name, job, content, printed))
    sections.append(f"All of this took {(time.perf_counter() - began) / 60:.0f} minutes.")
    if written and not failed:
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        measured = "\n".join([BEGIN, "", *sections, "", END])
        page.write_text(before + measured + rest.split(END)[1], encoding="utf-8")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
