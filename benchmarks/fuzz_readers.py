"""Feeds spoilt files to every reader, and looks for crashes, hangs and hunger for memory.

    python benchmarks/fuzz_readers.py --minutes 10 --out FOLDER [--only voc-xml,image] [--seed 0] [--case 123]

Good files of every format are made worse at random, by bytes and by meaning (`tests/fuzz`), and read. A finding is
whatever is no SmoothIoUError, takes more than 10 s of a processor (or two minutes without one), or more than 1 GB: it
is saved in FOLDER as the bad file and what was raised, once per place in the source. Readers run in a process of
their own, so that a crash ends none of ours; they take turns of some seconds. `--case N` reads one case of
`--only NAME` again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.readers import READERS, Reader, bad_file, prepare

from smoothiou.errors import SmoothIoUError

SECONDS, WAIT, MEGABYTES, TURN = 10.0, 120.0, 1024, 4.0


def high_water() -> float:
    """Return the most memory in MB since the last `reset`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_seconds(process: int | None) -> float:
    """Return how long a process has been computing; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reset_high_water() -> None:
    """Begin a new measurement of the most memory."""
    Path("/proc/self/clear_refs").write_text("5")


def complaint(reader: Reader, folder: Path, content: bytes) -> str:
    """Read one bad file and return what is wrong with how it was taken, or ""."""
    (folder / reader.file).write_bytes(content)
    reset_high_water()
    before, start = high_water(), time.process_time()
    found = ""
    try:
        reader.read(folder)
    except SmoothIoUError as error:
        chain: BaseException | None = error
        while chain is not None:
            if isinstance(chain, MemoryError):
                found = f"MemoryError behind {error}"
            chain = chain.__cause__ or chain.__context__
    except BaseException:
        found = traceback.format_exc()
    taken, seconds = high_water() - before, time.process_time() - start
    if not found and taken > MEGABYTES:
        found = f"{taken:.0f} MB"
    if not found and seconds > SECONDS:
        found = f"{seconds:.1f} s"
    return found


def work(name: str, numbers: range, until: float, folder: Path, pipe: Connection) -> None:
    """Try cases in a child process, telling each number before and what was found after."""
    reader = next(reader for reader in READERS if reader.name == name)
    seeds = prepare(reader, folder)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # libraries of images write their own remarks there
    for number in numbers:
        content = bad_file(reader, seeds, number)
        pipe.send((number, None))
        pipe.send((number, complaint(reader, folder, content)))
        if time.time() > until:
            break
    pipe.send((None, None))


class Log:
    """Counts cases and keeps findings, each place in the source once."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.cases: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.slowest: dict[str, float] = {}
        self.findings: dict[tuple[str, ...], int] = {}

    def finding(self, reader: Reader, number: int, words: str) -> None:
        """Save the bad file and what was raised."""
        lines = [line.strip() for line in words.strip().splitlines()]
        places = [line for line in lines if line.startswith("File") and "smoothiou" in line]
        key = (reader.name, lines[-1].split(":")[0], places[-1] if places else "")
        self.findings[key] = self.findings.get(key, 0) + 1
        if self.findings[key] > 1:
            return
        with tempfile.TemporaryDirectory() as folder:
            content = bad_file(reader, prepare(reader, Path(folder)), number)
        target = self.out / f"{reader.name}-{number}"
        target.mkdir(parents=True, exist_ok=True)
        (target / reader.file).write_bytes(content)
        (target / "found.txt").write_text(words)
        print(f"FOUND {reader.name} case {number}: {lines[-1][:200]}  {key[2]}", flush=True)

    def table(self) -> str:
        """Return cases, speed and findings of every reader."""
        rows = [f"{'reader':12} {'cases':>8} {'cases/s':>8} {'slowest s':>10} {'findings':>9}"]
        for name, cases in self.cases.items():
            own = sum(count for key, count in self.findings.items() if key[0] == name)
            speed = cases / max(self.seconds[name], 1e-9)
            rows.append(f"{name:12} {cases:8} {speed:8.0f} {self.slowest.get(name, 0):10.2f} {own:9}")
        return "\n".join(rows)


def turn(reader: Reader, numbers: range, log: Log, seconds: float) -> int:
    """Let one reader run for some seconds, and return the number of the next case."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    ours, theirs = multiprocessing.Pipe(duplex=False)
    start = time.time()
    worker = multiprocessing.get_context("fork").Process(
        target=work, args=(reader.name, numbers, start + seconds, folder, theirs), daemon=True
    )
    worker.start()
    theirs.close()
    current, began, spent = numbers.start, time.time(), 0.0
    try:
        while True:
            if not ours.poll(2.0):
                # On a busy machine a process may wait for long without having done anything.
                busy, waited = processor_seconds(worker.pid) - spent, time.time() - began
                if busy > SECONDS + 2 or waited > WAIT:
                    log.finding(reader, current, f"hangs: {busy:.0f} s of a processor in {waited:.0f} s")
                    worker.kill()
                    return current + 1
                continue
            try:
                number, words = ours.recv()
            except EOFError:
                worker.join()
                log.finding(reader, current, f"the process ends with {worker.exitcode}")
                return current + 1
            if number is None:
                return current + 1
            if words is None:
                current, began, spent = number, time.time(), processor_seconds(worker.pid)
                continue
            log.cases[reader.name] = log.cases.get(reader.name, 0) + 1
            log.slowest[reader.name] = max(log.slowest.get(reader.name, 0), time.time() - began)
            if words:
                log.finding(reader, number, words)
    finally:
        worker.join(1)
        log.seconds[reader.name] = log.seconds.get(reader.name, 0) + time.time() - start
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Fuzz until the time is over, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    given = parser.parse_args()
    chosen = [reader for reader in READERS if not given.only or reader.name in given.only.split(",")]
    if given.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            content = bad_file(chosen[0], prepare(chosen[0], Path(folder)), given.case)
            print(f"{len(content)} bytes: {content[:300]!r}")
            print(complaint(chosen[0], Path(folder), content) or "nothing is wrong with how it was taken")
        return 0
    log, end = Log(given.out), time.time() + 60 * given.minutes
    following = dict.fromkeys((reader.name for reader in chosen), given.seed * 10**9)
    told = time.time()
    while time.time() < end:
        for reader in chosen:
            first = following[reader.name]
            following[reader.name] = turn(reader, range(first, first + 10**8), log, min(TURN, end - time.time()))
            if time.time() > end:
                break
        if time.time() - told > 60:
            told = time.time()
            print(log.table(), flush=True)
    print(log.table())
    print(f"{sum(log.cases.values())} cases, {len(log.findings)} findings in {given.out}")
    return 1 if log.findings else 0


if __name__ == "__main__":
    sys.exit(main())
