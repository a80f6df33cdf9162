"""`smoothiou`, and `python -m smoothiou` for torchrun and for machines where the command is not on the path."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being loaded is no traceback either."""
    try:
        from smoothiou.cli import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
