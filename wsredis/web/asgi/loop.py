"""
An asyncio loop that runs inside Twisted's reactor, in turns.

What the loop waits for, it waits for in a poller of its own, as any asyncio loop does. The reactor
watches this poller, which is one descriptor for it, and lets the loop run its callbacks for a
limited time when there are some. So no event of a descriptor gets lost between the two, and sockets
of the reactor do not know of the loop.

It is one module because the private names of asyncio have to be read together;
`wsredis.web.asgi.self_test` tries them out when the gateway starts.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
import sys
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["ROOT", "Call", "ReactorLoop"]

#: Timers of which more than half were cancelled, from which on the cancelled ones are removed.
_MANY_TIMERS = 100


#: By this callback of a task others know that it is the one of `run_until_complete`.
ROOT = base_events._run_until_complete_cb  # type: ignore[attr-defined]


def _nothing() -> None:
    pass


class Call:
    """
    A function that the loop calls in its turn, as it calls its own handles, for less.

    An exception is logged. There is no context: what is called here is the gateway's.
    """

    __slots__ = ("_args", "_callback")

    _log = Logger()
    _cancelled = False

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._callback = function
        self._args = args

    def _run(self) -> None:
        try:
            self._callback(*self._args)
        except Exception:
            self._log.failure(
                "an event could not be handed to the application", event="asgi-link-failed"
            )


@implementer(IReadDescriptor)
class _Watched:
    """The poller of a loop, as the reactor sees it."""

    def __init__(self, loop: ReactorLoop, descriptor: int) -> None:
        self._loop = loop
        self._descriptor = descriptor

    def fileno(self) -> int:
        """See `twisted.internet.interfaces.IFileDescriptor`."""
        return self._descriptor

    def doRead(self) -> None:
        """Let the loop look at its descriptors."""
        self._loop.look()

    def connectionLost(self, reason: Failure) -> None:
        """Nothing: the reactor has stopped."""

    def logPrefix(self) -> str:
        """See `twisted.internet.interfaces.ILoggingContext`."""
        return "wsredis"


class ReactorLoop(asyncio.SelectorEventLoop):
    """
    An asyncio loop that lives in the thread of a reactor.

    It runs from `attach` to `detach`, and is the running loop of the reactor's thread in its turns
    only: the gateway's own code is not asynchronous code.

    Args:
        reactor: Watches a descriptor, and runs timers.
        budget: Seconds that the callbacks of a turn may take together. The one that goes beyond is
            the last of its turn; the others run in the next one, after the reactor has looked after
            everything else.
        slow: Seconds from which on one callback is reported.
        clock: Returns seconds. If None, it is the clock of asyncio.

    Attributes:
        after_turn: Called at the end of each turn, with no running loop.
        report: Called with a callback that took long, and with the seconds.
        began: The clock's time when the callback that is running began. 0.0 outside of turns.
    """

    _log = Logger()

    # Of asyncio.
    _ready: deque[Any]
    _scheduled: list[Any]
    _timer_cancelled_count: int
    _thread_id: int | None
    _debug: bool
    _closed: bool

    def __init__(
        self,
        reactor: Any,
        budget: float,
        slow: float,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._poller = selectors.DefaultSelector()
        if clock is not None:
            # An attribute, since asyncio calls it for each timer.
            self.time = clock  # type: ignore[method-assign]
        super().__init__(self._poller)
        self._reactor = reactor
        self._budget = budget
        self._slow = slow
        self.after_turn: Callable[[], None] = _nothing
        self.report: Callable[[Any, float], None] = lambda handle, seconds: None
        self.began = 0.0
        self._watched: _Watched | None = None
        #: Whether a turn will come or is running. True as well if there are no turns.
        self._is_due = True
        self._is_held = False
        #: Whether the poller has something.
        self._has_events = False
        #: Callbacks of the last events that have not run. Until they have, the poller would tell
        #: the same events again.
        self._unfinished = 0
        #: The reactor's timer for the earliest one of the loop, and when that is due.
        self._timer: Any = None
        self._timer_due = 0.0

    @property
    def is_attached(self) -> bool:
        """Tell whether it runs in the reactor."""
        return self._watched is not None

    def attach(self) -> None:
        """
        Begin to run.

        Raises:
            RuntimeError: The loop is closed or runs already.
        """
        if self.is_closed() or self.is_running():
            raise RuntimeError("this event loop runs already, or is closed")
        self._thread_id = get_ident()
        self._watched = _Watched(self, self._poller.fileno())
        self._reactor.addReader(self._watched)
        self._is_due = False
        self._plan()

    def detach(self) -> None:
        """
        Run no more. Harmless when it does not run.

        It may run without a reactor then, as any loop of asyncio, by the clock of asyncio.
        """
        if self._watched is None:
            return
        self.__dict__.pop("time", None)
        self._reactor.removeReader(self._watched)
        self._watched = None
        self._is_due = True
        self._thread_id = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ensure_turn(self) -> None:
        """Let a turn come soon, or let the one that is running go on to its end."""
        if not self._is_due:
            self._wake()

    def look(self) -> None:
        """Take note that the poller has something: a turn comes soon."""
        self._has_events = True
        self.ensure_turn()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """
        Call a function of the gateway in a turn.

        Calls of this method are made in their order, and in that of `call_soon`.
        """
        self._ready.append(Call(function, args))
        if not self._is_due:
            self._wake()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See `asyncio.loop.call_soon`."""
        if self._debug or self._closed:
            handle = super().call_soon(callback, *args, context=context)
        else:
            handle = events.Handle(callback, args, self, context)
            self._ready.append(handle)
        if not self._is_due:
            self._wake()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """
        See `asyncio.loop.call_soon_threadsafe`.

        In the thread of the reactor nobody has to be woken. There no loop runs outside of turns, so
        that a library which is told something by the gateway takes this for another thread.
        """
        if get_ident() == self._thread_id:
            return self.call_soon(callback, *args, context=context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at`."""
        timer = super().call_at(when, callback, *args, context=context)
        if not self._is_due:
            self._plan()
        return timer

    def stop(self) -> None:
        """
        Refuse: the loop belongs to the gateway.

        Raises:
            RuntimeError: The loop is inside the reactor. Without it, as asyncio's.
        """
        if self._watched is not None:
            raise RuntimeError("this loop is the gateway's, and stops with it")
        super().stop()

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Any, *args: Any
    ) -> None:
        """
        Refuse, as on systems where asyncio has no signals.

        Raises:
            NotImplementedError: Signals are the reactor's.
        """
        raise NotImplementedError("signals are handled by the gateway, not by this loop")

    def remove_signal_handler(self, sig: int) -> bool:
        """Tell that there is none."""
        return False

    def hold(self) -> None:
        """Let what is called from now on wait for `go`, which comes in this turn of the reactor."""
        self._is_held = not self._is_due
        self._is_due = True

    def go(self) -> None:
        """Take a turn now, if there is something to do since `hold`."""
        if not self._is_held:
            # A turn would have come anyway.
            return
        self._is_held = False
        if self._ready or self._has_events:
            self._turn()
        else:
            self._is_due = False
            self.after_turn()
            self._plan()

    def _wake(self) -> None:
        self._is_due = True
        self._reactor.callLater(0, self._turn)

    def _ring(self) -> None:
        """Run what is due: the time of the earliest timer has come."""
        self._timer = None
        if not self._is_due:
            self._is_due = True
            self._turn()

    def _turn(self) -> None:
        """Run callbacks as long as there are any and the budget lasts."""
        if self._watched is None:
            return
        outer, hooks = events._get_running_loop(), sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
            finalizer=self._asyncgen_finalizer_hook,  # type: ignore[attr-defined]
        )
        events._set_running_loop(self)
        try:
            self.run_ready()
        finally:
            self.began = 0.0
            events._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
            try:
                self.after_turn()
            finally:
                # Not before: what was called may have added something.
                self._is_due = False
                if self._watched is not None:
                    if self._ready:
                        self._wake()
                    else:
                        self._plan()
                else:
                    self._is_due = True

    def run_ready(self) -> None:
        """Run what is ready, until the budget is used up. Only `_turn` calls it."""
        ready, clock, slow = self._ready, self.time, self._slow
        began = clock()
        if self._has_events and self._unfinished <= 0:
            self._has_events = False
            before = len(ready)
            self._process_events(self._poller.select(0))  # type: ignore[attr-defined]
            # Those before them run first.
            self._unfinished = len(ready) if len(ready) > before else 0
        self._take_timers(began)
        end, count = began + self._budget, 0
        try:
            while ready:
                handle = ready.popleft()
                count += 1
                if handle._cancelled:
                    continue
                self.began = began
                try:
                    handle._run()
                except (SystemExit, KeyboardInterrupt):
                    # asyncio ends its loop then. The gateway has other things to do.
                    self._log.failure("the application tried to end the process", event="asgi-exit")
                now = clock()
                if now - began >= slow:
                    self.report(handle, now - began)
                if now >= end:
                    break
                began = now
        finally:
            self._unfinished -= count

    def _take_timers(self, now: float) -> None:
        """Run timers that are due in this turn."""
        scheduled = self._scheduled
        if not scheduled:
            return
        if len(scheduled) > _MANY_TIMERS and self._timer_cancelled_count * 2 > len(scheduled):
            for each in scheduled:
                each._scheduled = not each._cancelled
            scheduled[:] = [each for each in scheduled if not each._cancelled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
        while scheduled and (scheduled[0]._when <= now or scheduled[0]._cancelled):
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if handle._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(handle)

    def _plan(self) -> None:
        """Let the reactor call when the earliest timer is due."""
        if not self._scheduled:
            return
        due = self._scheduled[0]._when
        if self._timer is not None:
            if due >= self._timer_due:
                # It looks again then.
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._reactor.callLater(max(0.0, due - self.time()), self._ring)
