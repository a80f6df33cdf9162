"""Run as a script: take away what only POSIX has, import every module of smoothiou, and train two steps.

Loader processes begin as on macOS and Windows, with a fresh interpreter, and take the same away. torch, filelock
and their like are imported before: they have a part for each system.
"""

from __future__ import annotations

import importlib
import importlib.abc
import multiprocessing
import os
import pkgutil
import signal
import sys
from pathlib import Path

import filelock  # noqa: F401
import torchvision  # noqa: F401

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
OF_OS = (
    "fork", "forkpty", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "killpg", "getpgid", "setsid",
    "getuid", "geteuid", "getgid", "getegid", "pread", "pwrite", "mkfifo", "lockf", "nice", "sysconf", "getloadavg",
)  # fmt: skip
OF_SIGNAL = ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM", "alarm", "setitimer", "pause")


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def take_away() -> None:
    sys.meta_path.insert(0, Missing())
    for name in MODULES:
        sys.modules.pop(name, None)
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in OF_SIGNAL:
        if hasattr(signal, name):
            delattr(signal, name)
    kill, open_file = os.kill, os.open

    def no_question(process: int, number: int) -> None:
        assert number != 0, "on Windows this would send Ctrl-C"
        kill(process, number)

    def no_folder(path, *arguments, **options):
        if "dir_fd" not in options and isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, *arguments, **options)

    os.kill, os.open = no_question, no_folder


take_away()

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    import smoothiou
    import smoothiou.files.atomic

    smoothiou.files.atomic.WINDOWS = True
    names = [module.name for module in pkgutil.walk_packages(smoothiou.__path__, "smoothiou.")]
    optional = []
    for name in names:
        if name == "smoothiou.__main__" or ".ray_" in name or ".adapters." in name:  # Ray and hosts are optional
            optional.append(name)
            continue
        importlib.import_module(name)
    print(len(names) - len(optional), "modules imported")

    from smoothiou.cli import main

    out = Path(sys.argv[1])
    small = ["--model", "nano", "--steps", "2", "--train.batch_size", "2", "--data.images", "6", "--quiet"]
    main(["train", "shapes", *small, "--train.workers", "1", "--out", str(out / "run")])
    print(sorted(path.name for path in (out / "run").iterdir()))
