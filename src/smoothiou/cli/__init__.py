"""The `smoothiou` command: words in, words out. Commands load on use, so `--help` never imports torch."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from cyclopts import App, CycloptsError

from smoothiou.errors import InterruptedRun, SmoothIoUError
from smoothiou.files import visible
from smoothiou.manifest import version

EPILOGUE = """
Exit codes: 0 done; 1 failed at run time; 2 wrong usage or settings; 3 data; 4 checkpoint or model;
5 study incomplete; 130 interrupted, state saved.

    smoothiou compare shapes --recipe quick
    smoothiou compare DATA --losses huber,smooth-iou --seeds 0,1,2 --out STUDY

Every setting can be given as a dotted option (`--optim.lr 0.002`); `smoothiou config keys` lists them.
With `--json` a command prints one JSON object to stdout. `--debug` shows tracebacks.
"""

LONGEST = 4000
"""Signs of a message on stderr; a broken file may be quoted in it."""

COMMANDS = {
    "compare": ("compare:compare", "Train a detector with each loss on the same seeds, and report the differences."),
    "train": ("train:train", "Train one detector, measure it, and leave a folder that holds everything about it."),
    "eval": ("evaluate:evaluate", "Measure the weights of a run."),
    "probe": ("probe:probe", "Compare how tightly second stages refine the same boxes, or rank losses in minutes."),
    "predict": ("predict:predict", "Find objects in images, and draw them."),
    "calibrate": ("calibrate:calibrate", "Measure how strongly each loss pulls, and propose weights that match."),
    "doctor": ("doctor:doctor", "Find what is wrong with a data set, and write a repaired copy."),
    "report": ("report:report", "Draw a study's report again from its files."),
    "fetch-data": ("fetch_data:fetch_data", "Tell what a public data set costs to download, and do it with --yes."),
    "losses": ("losses:losses", "List the box losses, or explain one."),
    "curves": ("curves:curves", "Draw losses while a box slides over another: the paper's Figures 1 to 3."),
    "simulate": ("simulate:simulate", "Let boxes run down each loss: the DIoU paper's test, and a fairer one."),
    "reproduce": ("reproduce:reproduce", "Run the paper's studies, and print its tables beside ours."),
    "config": ("config:app", "Show, check and explain settings."),
    "env": ("env:env", "Print versions and devices."),
}


def build_app() -> App:
    """Return the command line; each command names the module that holds it."""
    app = App(
        name="smoothiou",
        help="Tighter boxes from two-stage detectors: the Smooth IoU loss, and an honest way to compare box losses.",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=version,
        suppress_keyboard_interrupt=False,  # `main` says how to go on
    )
    for name, (home, help_) in COMMANDS.items():
        app.command(f"smoothiou.cli.{home}", name=name, help=help_)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code; a problem is one sentence and a way out, not a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    sys.path.append(os.getcwd())  # for `--losses mine:loss` beside mine.py, as with `python -m`
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        build_app()(dotted_options(given), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        from smoothiou.cli.usage import wrong_usage

        sys.exit(complain(wrong_usage(error, given), hint="See --help.", code=2, as_json="--json" in given))
    except SmoothIoUError as error:
        if debug:
            traceback.print_exc()
        code, as_json = error.exit_code, "--json" in given
        sys.exit(complain(error.message, hint=error.hint, code=code, as_json=as_json, details=error.details))
    except KeyboardInterrupt:
        hint = "Give the same command again to continue."
        sys.exit(complain("Interrupted.", hint=hint, code=130, as_json="--json" in given))
    except BrokenPipeError:
        # The reader of our output has left (`smoothiou losses | head`): nothing is wrong. What is still buffered must
        # not be written when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = "This is a fault of smoothiou: please report it, with the traceback that --debug shows."
        sys.exit(complain(f"{type(error).__name__}: {error}", hint=hint, code=1, as_json="--json" in given))


def dotted_options(arguments: Sequence[str]) -> list[str]:
    """Rewrite `--optim.lr 0.002` and `--optim.lr=0.002` as `--set optim.lr=0.002`, and take `--debug` out."""
    rewritten: list[str] = []
    words = iter(arguments)
    for word in words:
        found = re.fullmatch(r"--([a-z]+\.[a-z_-]+)(?:=(.*))?", word, re.DOTALL)
        if word == "--debug":
            continue
        if not found:
            rewritten.append(word)
            continue
        value = found[2] if found[2] is not None else next(words, "")
        rewritten += ["--set", f"{found[1].replace('-', '_')}={value}"]
    return rewritten


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Outside the training loop, which saves first, SIGTERM ends the work as Ctrl-C does.
    raise KeyboardInterrupt


def complain(message: str, *, hint: str, code: int, as_json: bool, details: Mapping[str, Any] | None = None) -> int:
    """Say what went wrong, to people on stderr and to programs on stdout, and return the exit code."""
    rank = int(os.environ.get("RANK", "0"))  # torchrun's number of this process
    if rank and code == InterruptedRun.exit_code:  # all processes stop together, and the first says so
        return code
    if as_json and not rank:
        print(json.dumps({"error": {"message": message, "hint": hint, "exit_code": code}, **(details or {})}))
    who = f"smoothiou, process {rank}" if rank else "smoothiou"
    print(f"{who}: {_shown(message)}", file=sys.stderr)
    if hint:
        print(f"  {_shown(hint)}", file=sys.stderr)
    return code


def _shown(text: str) -> str:
    """Return a text that cannot steer the terminal, for names of strangers' files stand in it, cut to a page of it."""
    text = visible(text, keep="\n")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text) - LONGEST:,} more signs)"
