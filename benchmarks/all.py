"""All benchmarks, one after the other, each in a process of its own; the tables go to docs/performance.md.

    python benchmarks/all.py [--data FOLDER] [--device cpu] [--page docs/performance.md] [--only NAME,NAME]

About a quarter of an hour on two idle CPU cores. BCCD (docs/datasets.md) as `--data` gives the numbers that the page
talks about; without data, synthetic shapes stand in and time to AP is left out. The page keeps its text: only what
stands between its two marks is written anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import machine, said

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def plan(data: str, device: str) -> dict[str, list[str]]:
    """Return the benchmarks by name, in their order, with their arguments."""
    own, on = ["--data", data], ["--device", device]
    jobs = {
        "training step, nano": ["training_step.py", *own, *on],
        "training step, nano, one thread": ["training_step.py", *own, *on, "--threads", "1", "--rounds", "8"],
        "training step, resnet50-fpn": ["training_step.py", "--net", "resnet50-fpn", "--rounds", "5", *on],
        "time to AP": ["time_to_ap.py", *own, *on],
        "evaluation": ["evaluation.py", "--rounds", "2", *on],
        "data loading": ["data_loading.py", *own],
        "start": ["startup.py", *own, *on],
        "memory": ["memory.py", *on],
        "scaling": ["scaling.py", *on],
        "losses": ["box_losses.py", "--counts", "64,512,4096,65536,1000000", "--rounds", "9", *on],
        "simulation": ["simulation.py", "--losses", "smooth-iou", "--straight-steps", "1"],
        "doctor": ["-m", "smoothiou", "doctor", data],
    }
    if device != "cpu":
        jobs["fused losses"] = ["fused_loss.py"]
    if data == "shapes":
        del jobs["time to AP"], jobs["doctor"]
    return jobs


def run(words: list[str], folder: Path) -> tuple[dict[str, Any] | None, str]:
    """Run one benchmark; return its tables, where it writes them, and what it printed."""
    found, command = folder / "found.json", [sys.executable, *words]
    if not words[0].startswith("-"):
        command[1] = str(HERE / words[0])
        text = Path(command[1]).read_text(encoding="utf-8")
        if "from measuring import" in text:
            command += ["--json", str(found)]
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


def as_markdown(name: str, words: list[str], content: dict[str, Any] | None, printed: str) -> str:
    """Return one benchmark's section of the page."""
    shown = [word if not Path(word).is_absolute() else "DATA" for word in words]
    command = " ".join(["python", *([] if words[0] == "-m" else ["benchmarks/" + shown.pop(0)]), *shown])
    lines = [f"### {name[0].upper()}{name[1:]}", "", f"    {command}", ""]
    if content is None:
        return "\n".join([*lines, "```", printed.strip(), "```", ""])
    lines += [f"Load of the machine when it began: {content['machine']['load']}.", ""]
    for table in content["tables"]:
        lines += [f"**{table['title']}**", "", "| " + " | ".join(table["columns"]) + " |"]
        lines.append("|" + "---|" * len(table["columns"]))
        lines += ["| " + " | ".join(row) + " |" for row in table["rows"]]
        lines += ["", table["note"], ""] if table["note"] else [""]
    if name == "scaling":
        lines += ["![Time over size, for steps and evaluation](images/scaling.png)", ""]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="shapes", help="BCCD, or another data set of photos")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--page", default=str(HERE.parent / "docs" / "performance.md"))
    parser.add_argument("--only", default="", help="names of benchmarks; the page is then not written")
    options = parser.parse_args()
    jobs = plan(options.data, options.device)
    if unknown := [name for name in filter(None, options.only.split(",")) if name not in jobs]:
        raise SystemExit(f"no benchmark: {', '.join(unknown)}; there are: {', '.join(jobs)}")
    about, began = machine(options.device), time.perf_counter()
    sections = [f"Measured on {time.strftime('%Y-%m-%d')}. {said(about)}.", ""]
    failed = False
    for name, words in jobs.items():
        if options.only and name not in options.only.split(","):
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            content, printed = run(words, Path(folder))
        failed |= printed.startswith("failed")
        print(f"== {name} ({time.perf_counter() - started:.0f} s)\n{printed}", flush=True)
        sections.append(as_markdown(name, words, content, printed))
    sections.append(f"All of this took {(time.perf_counter() - began) / 60:.0f} minutes.")
    if not options.only:
        page = Path(options.page)
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        measured = "\n".join([BEGIN, "", *sections, "", END])
        page.write_text(before + measured + rest.split(END)[1], encoding="utf-8")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
