"""The end of a program that finds out only while it runs that it cannot start."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from wsredis.service.stop_once import stop_once

__all__ = ["LateFailure"]


class LateFailure:
    """
    Ends the program with status 1 and one line on standard error, after an orderly stop.

    twistd ends with status 0 however its reactor was stopped.

    Args:
        reactor: Is stopped, now or as soon as it runs.
        at_exit: Registers a function that is called when the program ends, before all others.
        end: Ends the process with a status.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        at_exit: Callable[[Callable[[], None]], object] = atexit.register,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._reactor = reactor
        self._at_exit = at_exit
        self._end = end
        self._has_failed = False

    def __call__(self, reason: str) -> None:
        """
        End the program. Repeating it changes nothing.

        Args:
            reason: See `wsredis.service.startup.give_up`.
        """
        if self._has_failed:
            return
        self._has_failed = True
        self._log.error("{reason}", event="start-failed", reason=reason)
        # twistd has replaced the other one by its log.
        if sys.__stderr__ is not None:
            print(f"wsredis: {reason}", file=sys.__stderr__)
        self._at_exit(self._exit)
        self._reactor.callWhenRunning(stop_once(self._reactor).gently)

    def _exit(self) -> None:
        for stream in (sys.stdout, sys.stderr, sys.__stderr__):
            if stream is not None:
                stream.flush()
        self._end(1)
