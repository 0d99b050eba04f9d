"""The latest moment for the end of the process, whatever one of its threads does."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from twisted.logger import Logger

__all__ = ["Deadline"]

#: Seconds for the last line of the log.
_LOG_TIME = 1.0


class Deadline:
    """
    Ends the process with status 1 when its time is over.

    Twisted waits for the threads of its reactor before the process ends, without a limit: one that
    asks a mute server, on behalf of the application, would hold it for as long as that takes.

    Args:
        end: Ends the process with a status.
        sleep: Waits a number of seconds.
    """

    _log = Logger()

    def __init__(
        self,
        end: Callable[[int], object] = os._exit,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._end = end
        self._sleep = sleep

    def start(self, seconds: float) -> None:
        """End the process in so many seconds. Of several times the earliest counts."""
        threading.Thread(
            target=self._run, args=(seconds,), name="deadline of the stop", daemon=True
        ).start()

    def _run(self, seconds: float) -> None:
        self._sleep(seconds)
        threads = [
            each.name
            for each in threading.enumerate()
            if not (each.daemon or each is threading.main_thread())
        ]
        # A log that nobody reads may block; the process ends all the same.
        line = threading.Thread(target=self._tell, args=(seconds, threads), daemon=True)
        line.start()
        line.join(_LOG_TIME)
        self._end(1)

    def _tell(self, seconds: float, threads: list[str]) -> None:
        self._log.error(
            "the stop took more than {seconds:g} seconds; the process ends now, though these "
            "threads work: {_threads}",
            event="stop-overdue",
            seconds=seconds,
            threads=threads,
            _threads=", ".join(threads) or "none but the main one",
        )
