"""`python -m smoothiou`, for torchrun and for machines where the command is not on the path."""

from smoothiou.cli import main

if __name__ == "__main__":
    main()
