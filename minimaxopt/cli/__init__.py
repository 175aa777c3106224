"""The command line."""

from minimaxopt.cli.app import main

__all__ = ["main"]
