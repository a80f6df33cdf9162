"""The `smoothiou` command. Commands load on use, so `--help` never imports torch."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from smoothiou.cli.streams import give_up_stdout, prepare_streams
from smoothiou.errors import LESS_MEMORY, ConfigError, InterruptedRun, SmoothIoUError, is_out_of_memory
from smoothiou.files import first_line, visible
from smoothiou.import_object import user_module
from smoothiou.launch import rank

if TYPE_CHECKING:
    from cyclopts import App

EPILOGUE = """
Exit codes: 0 done; 1 failed at run time; 2 wrong usage or settings; 3 data; 4 checkpoint or model;
5 study incomplete; 130 interrupted, state saved.

{examples}

Every setting can be given as a dotted option (`--optim.lr 0.002`); `smoothiou config keys` lists them.
With `--json` a command prints one JSON object to stdout. `--debug` shows tracebacks.
"""

EXAMPLES = """\
    smoothiou compare shapes --recipe quick
    smoothiou compare DATA --losses huber,smooth-iou --seeds 0,1,2 --out STUDY"""

MAX_MESSAGE = 4000
"""Characters of a message on stderr; a broken file may be quoted in it."""

COMMANDS = {
    "compare": ("compare:compare", "Train a detector with each loss on the same seeds, and report the differences."),
    "train": ("train:train", "Train one detector, measure it, and leave a folder that holds everything about it."),
    "eval": ("evaluate:evaluate", "Measure the weights of a run."),
    "probe": ("probe:probe", "Compare how tightly second stages refine the same boxes, or rank losses in minutes."),
    "predict": ("predict:predict", "Find objects in images, and draw them."),
    "export": ("export:export", "Write a detector as ONNX or TorchScript, and compare it there."),
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


def build_app(command: str = "") -> App:
    """Return the command line; each command names the module that holds it.

    Args:
        command: that is asked for help, which ends with its examples.
    """
    # Here, and not above: until `main` runs, Ctrl-C is a traceback.
    from cyclopts import App

    from smoothiou.manifest import version

    app = App(
        name="smoothiou",
        help="Tighter boxes from two-stage detectors: the Smooth IoU loss, and an honest way to compare box losses.",
        help_epilogue=EPILOGUE.format(examples=examples_of(command) if command else EXAMPLES),
        help_format="plaintext",
        version=version,
        suppress_keyboard_interrupt=False,  # `main` says how to go on
    )
    for name, (function, help_) in COMMANDS.items():
        app.command(f"smoothiou.cli.{function}", name=name, help=help_)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code; a problem is one sentence and a way out, not a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        prepare_streams()
        share_cores()
        # For `--losses mine:loss` beside mine.py, as with `python -m`. In a deleted folder torch would end the process.
        sys.path.append(os.getcwd())
        signal.signal(signal.SIGTERM, _interrupt)
        wants_help = {"--help", "-h"} & set(arguments) and arguments[0] in COMMANDS
        build_app(arguments[0] if wants_help else "")(
            dotted_options(arguments), exit_on_error=False, print_error=False, result_action="return_value"
        )
        sys.stdout.flush()
    except BrokenPipeError:
        give_up_stdout()  # its reader has left (`smoothiou losses | head`): nothing is wrong
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        problem = user_error(error, arguments)
        if any(argument.partition("=")[0] == "--overwrite" for argument in arguments):  # which would delete the work
            problem.hint = re.sub("same command( again)?", r"\g<0>, without --overwrite,", problem.hint)
        sys.exit(print_error(problem, as_json="--json" in arguments))


def examples_of(command: str) -> str:
    """Return the examples in the docstring of a command, or of the module of several."""
    module, function = COMMANDS[command][0].split(":")
    home = importlib.import_module(f"smoothiou.cli.{module}")
    text = inspect.getdoc(home if function == "app" else getattr(home, function)) or ""
    lines = text.partition("Examples:\n")[2].splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("    "), lines))


def share_cores() -> None:
    """Let idle threads of OpenMP sleep, before torch loads it; a setting of the user's own stays.

    By default they spin at every barrier. Beside another busy program they take the core from whoever holds the work:
    a training step then takes up to ten times as long (docs/performance.md). Cells and workers inherit it.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def dotted_options(arguments: Sequence[str]) -> list[str]:
    """Rewrite `--optim.lr 0.002` and `--optim.lr=0.002` as `--set optim.lr=0.002`, and `-`; take `--debug` out."""
    rewritten: list[str] = []
    # `-` for stdin would be read as an option without a name.
    remaining = iter("./-" if argument == "-" else argument for argument in arguments if argument != "--debug")
    for argument in remaining:
        dotted = re.fullmatch(r"--([a-z]+\.[a-z_-]+)(?:=(.*))?", argument, re.DOTALL)
        if dotted:
            value = dotted[2] if dotted[2] is not None else next(remaining, "")
            rewritten += ["--set", f"{dotted[1].replace('-', '_')}={value}"]
        else:
            rewritten.append(argument)
    return rewritten


def user_error(error: BaseException, arguments: Sequence[str]) -> SmoothIoUError:
    """Return any error as one with a message, a way out and an exit code."""
    if isinstance(error, SmoothIoUError):
        return error
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt):  # wrapped by Python 3.11
        return InterruptedRun("Interrupted.", hint="Give the same command again to continue.")
    if isinstance(error, SystemExit):  # no command ends so
        return ConfigError(f"A loss, detector or data set of one's own ended the process: SystemExit: {error}.")
    if isinstance(error, OSError) and error.errno:
        return _system_error(error)
    from cyclopts import CycloptsError

    if isinstance(error, CycloptsError):
        from smoothiou.cli.suggestions import usage_message

        return ConfigError(usage_message(error, arguments), hint="See --help.")
    if isinstance(error, RuntimeError) and "operator torchvision::" in str(error):
        return _mismatched_torch()
    if is_out_of_memory(error):
        return SmoothIoUError(f"Memory is short: {first_line(error)}", hint=LESS_MEMORY)
    if module := user_module(error):
        hint = "This is code of one's own; --debug shows the line."
        return SmoothIoUError(f"{module}: {type(error).__name__}: {error}.", hint=hint)
    hint = "This is a fault of smoothiou: please report it, with the traceback that --debug shows."
    return SmoothIoUError(f"{type(error).__name__}: {error}", hint=hint)


def _mismatched_torch() -> SmoothIoUError:
    """Return what to do where torchvision was built for another torch."""
    from importlib.metadata import version

    return SmoothIoUError(
        f"torchvision {version('torchvision')} does not work with torch {version('torch')}, but with another one.",
        hint="Install both from one index: pip install --force-reinstall torch torchvision.",
    )


def _system_error(error: OSError) -> SmoothIoUError:
    """Return what the system refused: a folder that is gone, a disk that is full."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return ConfigError("The working folder does not exist any more.", hint="Change into one that exists.")
    what = error.filename or "The output cannot be written"
    return SmoothIoUError(f"{what}: {error.strerror}.", hint="The system refused it; --debug shows where.")


def print_error(error: SmoothIoUError, *, as_json: bool) -> int:
    """Print what went wrong, for people on stderr and for programs on stdout, and return the exit code."""
    process, code = rank(), error.exit_code
    if process and isinstance(error, InterruptedRun):  # all processes stop together, and the first says so
        return code
    try:
        if as_json and not process:
            fields = {"message": error.message, "hint": error.hint, "exit_code": code}
            print(json.dumps({"error": fields, **error.details}))
        sys.stdout.flush()
    except OSError:
        give_up_stdout()
    print(f"smoothiou{f', process {process}' if process else ''}: {_printable(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  {_printable(error.hint)}", file=sys.stderr)
    return code


def _printable(text: str) -> str:
    """Return a text, which may hold names of strangers' files, that cannot steer the terminal, cut to one screen."""
    text = visible(text, allowed="\n")
    more = len(text) - MAX_MESSAGE
    return text if more <= 0 else f"{text[:MAX_MESSAGE]} ... ({more:,} more characters)"


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Outside the training loop, which saves first, SIGTERM ends the work as Ctrl-C does.
    raise KeyboardInterrupt
