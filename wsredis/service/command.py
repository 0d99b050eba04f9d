"""
The module that the plugin of twistd names: it catches signals, and then imports the program.

The imports take longer than anything else at the start, and a signal must not end the process
meanwhile. twistd imports this module when it has found the command, and for no other command.
"""

from __future__ import annotations

from wsredis.service.signals import Signals

__all__ = ["Options", "makeService"]

_signals = Signals()
_signals.catch()

from wsredis.service import tap  # noqa: E402 (the signals are caught now)


class Options(tap.Options):
    """The command line of a program whose signals have been caught."""

    def __init__(self) -> None:
        super().__init__(_signals)


makeService = tap.makeService
