"""The command `marginface`: one file per command, arguments to calls, exit codes."""

from marginface.cli.app import main

__all__ = ["main"]
