"""
The calls of an application that have not ended, and their ends.

They live in two threads, which may be one: the reactor's, and that of the loop. How functions get
from one to the other is up to `wsredis.web.asgi.link`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.signal import Signal
from wsredis.gateway.threads import SwitchInterval
from wsredis.gateway.timers import TimeoutQueue

__all__ = ["LAST_CHANCE", "Calls", "Done", "Running"]

#: Seconds that cancelled calls have to end when the application stops, and then its other tasks.
LAST_CHANCE = 1.0

#: Lines of a kind that are logged one by one in a minute.
_AT_ONCE = 10

Done = Callable[[BaseException | None], None]


class Running(Protocol):
    """A call of the application that has not ended. All methods belong to the reactor's thread."""

    def cancel(self) -> None:
        """Cancel it now. Harmless if it has ended."""

    def leave(self) -> None:
        """Cancel it if it does not end in time: nobody waits for it any more."""


class _Run:
    """
    One call: made in the reactor's thread, run in that of the loop, and ended in the reactor's.
    """

    __slots__ = ("_coroutine", "_done", "_link", "_task", "name")

    def __init__(
        self, link: Calls, name: str, coroutine: Coroutine[Any, Any, None], done: Done
    ) -> None:
        self._link = link
        self.name = name
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._done = done
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Make the task. In the loop's thread."""
        coroutine, self._coroutine = self._coroutine, None
        assert coroutine is not None
        self._task = task = self._link.loop.create_task(coroutine, name=self.name)
        task.add_done_callback(self._ended)

    def cancel(self) -> None:
        self._link.to_application(self._cancel)

    def leave(self) -> None:
        self._link.leave(self)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._task = None
        self._link.to_gateway(self._tell, error)

    def _tell(self, error: BaseException | None) -> None:
        done = self._done
        del self._done
        try:
            done(error)
        finally:
            # At last: an idle application has told all its ends.
            self._link.ended(self)


class Calls:
    """
    The calls that have not ended, in the reactor's thread.

    Args:
        reactor: Where the gateway is.
        grace: Seconds that a call has to end after its client has left.

    Attributes:
        loop: Runs them.
        left: Those whose client has left.
        outgoing: Functions for the reactor's thread, each with its arguments.
    """

    _log = Logger()

    loop: asyncio.AbstractEventLoop

    def __init__(self, reactor: Any, grace: float) -> None:
        self._clock = self._reactor = reactor
        self._throttle = LogThrottle(reactor, at_once=_AT_ONCE)
        self._calls: set[_Run] = set()
        self._idle: Signal[None] = Signal()
        self.left: TimeoutQueue[_Run] = TimeoutQueue(reactor, max(grace, 0.001), self._give_up)
        # Synchronous views of an application have threads in any case.
        self._interval = SwitchInterval()
        self.outgoing: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def to_application(self, function: Callable[..., object], *args: Any) -> None:
        """See `Link.to_application`."""
        raise NotImplementedError

    def at_once(self, function: Callable[[], object]) -> Callable[[], object]:
        """See `Link.at_once`."""
        raise NotImplementedError

    def to_gateway(self, function: Callable[..., object], *args: Any) -> None:
        """See `Link.to_gateway`."""
        raise NotImplementedError

    def spawn(
        self,
        name: str,
        coroutine: Coroutine[Any, Any, None],
        done: Done,
        *,
        is_counted: bool = True,
    ) -> Running:
        """See `Link.spawn`."""
        run = _Run(self, name, coroutine, done)
        if is_counted:
            self._calls.add(run)
        # It comes in the order of the other functions: asyncio begins a task as it calls one.
        self.at_once(run.begin)()
        return run

    def idle(self) -> Deferred[None]:
        """See `Link.idle`."""
        return self._idle.wait() if self._calls else succeed(None)

    def finish(self, seconds: float) -> Deferred[None]:
        """See `Link.finish`."""
        return Deferred.fromCoroutine(self._finish(seconds))

    def leave(self, run: _Run) -> None:
        """See `Running.leave`."""
        if run in self._calls:
            self.left.add(run)

    def ended(self, run: _Run) -> None:
        """Take note that a call has ended."""
        self.left.discard(run)
        if run in self._calls:
            self._calls.remove(run)
            if not self._calls:
                self._idle.fire(None)

    def _give_up(self, run: _Run) -> None:
        # As often as clients like it.
        self._throttle.log(
            self._log,
            LogLevel.info,
            "left",
            "cancelled {name}: its client has left",
            event="asgi-cancelled",
            name=run.name,
        )
        run.cancel()

    async def _finish(self, seconds: float) -> None:
        if await self._wait(seconds):
            return
        for run in self._calls:
            run.cancel()
        if await self._wait(LAST_CHANCE):
            return
        self._log.warn(
            "{count} calls of the application did not end, although cancelled: {names}",
            event="asgi-unfinished",
            count=len(self._calls),
            names=", ".join(sorted(run.name for run in self._calls)[:5]),
        )

    async def _wait(self, seconds: float) -> bool:
        """Wait until no call is left. False if there is one after so many seconds."""
        waiter = self.idle()
        timer = self._clock.callLater(seconds, waiter.callback, None)
        await waiter
        if timer.active():
            timer.cancel()
        return not self._calls

    def begin(self) -> None:
        """Look after calls from now on."""
        self._interval.shorten()
        self.left.start()

    def end(self) -> None:
        """Look after no call any more. Harmless when not begun."""
        self._interval.restore()
        self.left.stop()
        self._throttle.reset()

    def take_failures(self, loop: asyncio.AbstractEventLoop) -> None:
        """Log what fails in *loop* and is nobody's: above all a task that nobody has waited for."""
        loop.set_exception_handler(
            # It may be told by any thread, when an object is freed.
            lambda _, context: self._reactor.callFromThread(self._log_failure, context)
        )

    def _log_failure(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            self._throttle.log(
                self._log,
                LogLevel.error,
                "loop",
                "asyncio: {text}",
                event="asgi-loop-failed",
                text=context.get("message", ""),
            )
        else:
            self._throttle.failure(
                self._log,
                type(error).__name__,
                "asyncio: {text}",
                Failure(error),
                event="asgi-loop-failed",
                text=context.get("message", ""),
            )

    def drain(self) -> None:
        """Call what is for the reactor's thread."""
        outgoing = self.outgoing
        while outgoing:
            function, args = outgoing.popleft()
            try:
                function(*args)
            except Exception:
                self._log.failure(
                    "a message of the application could not be handled",
                    event="asgi-link-failed",
                )
