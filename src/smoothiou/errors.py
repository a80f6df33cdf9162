"""Errors that a user sees in place of a traceback.

    SmoothIoUError (ValueError)   exit 1   failed at run time
    |-- DivergedError             exit 1   a loss became NaN or infinite
    |-- ConfigError               exit 2   wrong usage or configuration
    |-- DataError                 exit 3   the data set is missing, unreadable or faulty
    |-- CheckpointError           exit 4   a checkpoint or model cannot be used
    |-- IncompleteStudyError      exit 5   some cells of a study failed
    `-- InterruptedRun            exit 130 stopped by a signal, state saved

A message says what happened and where; `hint` says what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class SmoothIoUError(ValueError):
    """An error that the user can act on: one sentence, a hint, an exit code.

    Args:
        message: what happened, where, and what was expected.
        hint: what to do about it; may be empty.
        details: facts for programs, printed beside the error as JSON.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class DivergedError(SmoothIoUError):
    """Training met a loss that is NaN or infinite."""


class ConfigError(SmoothIoUError):
    """A command, an option, a recipe or a plan is wrong."""

    exit_code = 2


class DataError(SmoothIoUError):
    """The data set is missing, unreadable, or holds faults that must be decided on."""

    exit_code = 3


class CheckpointError(SmoothIoUError):
    """A checkpoint or model cannot be read, or does not fit."""

    exit_code = 4


class IncompleteStudyError(SmoothIoUError):
    """A study ended with failed or missing cells."""

    exit_code = 5


class InterruptedRun(SmoothIoUError):
    """SIGINT or SIGTERM ended the work after its state was saved."""

    exit_code = 130


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `Did you mean "x"?` for the nearest choice, or a list of all choices when none is near."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(choices)}." if choices else ""


LESS_MEMORY = "Lower train.batch_size, eval.batch_size, or model.min_size and model.max_size."


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is short, of a device or of the machine."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in ("out of memory", "allocate memory"))


def bare_message(error: SmoothIoUError, where: str) -> str:
    """Return an error's message without the place that stands before it."""
    before, separator, after = error.message.partition(where)
    return (after if separator else before).lstrip(":, ").rstrip(".")
