"""
Steps of an application that hold the gateway: which they are, and where in the code they were.

A step is what runs between two waits of a coroutine. While one runs in the reactor's thread, no
socket is served.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from threading import Event, Thread, get_ident
from types import CodeType, FrameType
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi.loop import ReactorLoop

__all__ = ["SlowSteps", "name_of"]

#: A step that takes so many times as long as it may, and has not ended, is logged meanwhile.
_STUCK = 50

#: Steps at the same place within a minute that have a line each.
_LINES = 2

_LIBRARIES = tuple(
    {sysconfig.get_path(each) for each in ("stdlib", "purelib", "platlib")} | {"<frozen "}
)


def name_of(handle: Any) -> str:
    """Return the name of what a callback of a loop runs: a call, a coroutine, or a function."""
    callback: Any = getattr(handle, "_callback", None)
    # The step of a task is a method of the task.
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine: Any = owner.get_coro()
        name = owner.get_name()
        # The names that asyncio gives say nothing.
        inner = getattr(coroutine, "__qualname__", type(coroutine).__name__)
        return str(inner) if name.startswith("Task-") else name
    while hasattr(callback, "func"):
        callback = callback.func
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def _place(frame: FrameType | None, outermost: CodeType) -> str:
    """
    Return the module, the function and the line where a thread is.

    It is the innermost place in the code of the application; if there is none, the innermost one.
    Empty if the thread is not below *outermost*.
    """
    found, is_library = "", True
    while frame is not None:
        code = frame.f_code
        if code is outermost:
            return found
        if is_library:
            is_library = code.co_filename.startswith(_LIBRARIES)
            if not (found and is_library):
                module = frame.f_globals.get("__name__", "?")
                found = f"{module}.{code.co_qualname}, line {frame.f_lineno}"
        frame = frame.f_back
    return ""


class SlowSteps:
    """
    Names steps that take long, in the log and in the metrics.

    A thread looks where the reactor's thread is, so that the line has the place, and so that a step
    that never ends has a line, too.

    Args:
        clock: Counts lines that are left out.
        metrics: Count the steps and their seconds.
        slow: Seconds that a step may take.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        metrics: Metrics,
        slow: float,
    ) -> None:
        self._metrics = metrics
        self._slow = slow
        self._throttle = LogThrottle(clock, at_once=_LINES)
        self._end = Event()
        self._loop: ReactorLoop
        self._watched = 0
        #: The begin of the last step that was found to be slow, and where it was.
        self._found: tuple[float, str] = (0.0, "")
        #: The begin of the last step that was logged before its end.
        self._stuck = 0.0

    def start(self, loop: ReactorLoop) -> None:
        """Look after *loop*, which runs in this thread, from now on."""
        self._loop = loop
        self._watched = get_ident()
        loop.report = self.report
        Thread(target=self._watch, name="asgi-slow", daemon=True).start()

    def stop(self) -> None:
        """Look no more. Harmless when not started."""
        self._end.set()
        self._throttle.reset()

    def report(self, handle: Any, seconds: float) -> None:
        """Take note of a step that took so long. The loop calls it at its end."""
        self._metrics.asgi_slow += 1
        self._metrics.asgi_slow_seconds += seconds
        began, place = self._found
        if began != self._loop.began:
            # Nobody looked: the thread did not get its turn.
            place = "a place that was not seen"
        self._throttle.log(
            self._log,
            LogLevel.warn,
            place,
            "the application held the gateway for {seconds:.3f} s in {place} ({name})",
            event="asgi-slow",
            seconds=round(seconds, 3),
            place=place,
            name=name_of(handle),
        )

    def look(self) -> None:
        """Find out where the reactor's thread is, if a step takes long. In any thread."""
        began = self._loop.began
        if not began:
            return
        seconds = self._loop.time() - began
        if seconds < self._slow:
            return
        if self._found[0] != began:
            frame = sys._current_frames().get(self._watched)
            place = _place(frame, ReactorLoop.run_ready.__code__)
            if place and self._loop.began == began:
                self._found = began, place
        if seconds >= _STUCK * self._slow and self._stuck != began:
            self._stuck = began
            self._log.error(
                "the application holds the gateway since {seconds:.1f} s in {place}: no client is "
                "served",
                event="asgi-stuck",
                seconds=round(seconds, 1),
                place=self._found[1],
            )

    def _watch(self) -> None:
        while not self._end.wait(self._slow / 2):
            self.look()
