"""Become another program that ends when its parent does: `python with_parent.py PARENT FOLDER PROGRAM ARGUMENTS...`.

A Ray worker may be killed at any time, with its node or alone. The training that it has started must not go on
unseen, for another worker will take the cell up: it gets SIGTERM, saves its state and leaves. Linux tells a process
of its parent's end when asked to (`prctl`), and the wish outlives `exec`. Ray starts its workers with SIGINT blocked,
which a program would inherit, too: it could not be interrupted. This file imports nothing of the package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
STOPPED = 130


def main() -> None:
    """Ask for the signal, hear it and others, go to the folder, and become the program."""
    parent, folder, *command = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it has ended already
        sys.exit(STOPPED)
    os.chdir(folder)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
