"""`smoothiou`, and `python -m smoothiou` for torchrun and for machines where the command is not on the path."""

import os
import signal


def main() -> None:
    """Run the command line; Ctrl-C while it is being loaded ends the process without a traceback."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # not ignored, as under nohup
        # An exception would not do: inside a class body Python 3.11 wraps it in a RuntimeError.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from smoothiou.cli import main as command

    signal.signal(signal.SIGINT, usual)
    command()


if __name__ == "__main__":
    main()
