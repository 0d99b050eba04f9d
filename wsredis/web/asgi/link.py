"""
The two threads of an application: that of its loop, and that of the reactor.

`Turns` makes one of the two, `Bridge` leaves them apart. Code on top of a `Link` does not know with
which of them it works: it calls functions of the other side only by the link.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from threading import Thread
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from wsredis.config import AsgiConfig
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi.calls import LAST_CHANCE, Calls, Done, Running
from wsredis.web.asgi.loop import ROOT, ReactorLoop
from wsredis.web.asgi.slow import SlowSteps

__all__ = ["Bridge", "Link", "Running", "Turns", "make_link"]


Around = tuple[Callable[[], None], Callable[[], None]]


class Link(Protocol):
    """
    Runs applications, and connects them with the gateway.

    The methods `start`, `stop`, `spawn`, `to_application`, `idle` and `finish` are called in the
    reactor's thread, `to_gateway` in that of the loop.

    Attributes:
        loop: The loop of the application.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def around(self) -> Around | None:
        """
        Called before and after sockets of clients are read, when the loop runs.

        The application has its turn between the reading of all and the writing to all. None if it
        has a thread of its own.
        """

    def start(self) -> None:
        """Begin to run the loop."""

    def stop(self) -> None:
        """
        Close the loop, after the last call has ended.

        Tasks that the application has left are cancelled, and have a second to end. Nothing is
        called any more, neither in the application nor in the gateway. Repeating it is harmless.
        """

    def spawn(
        self,
        name: str,
        coroutine: Coroutine[Any, Any, None],
        done: Done,
        *,
        is_counted: bool = True,
    ) -> Running:
        """
        Run a coroutine of the application.

        Args:
            name: For those who read the log.
            done: Called in the reactor's thread when it has ended, with the exception that came out
                of it. None after a normal return; CancelledError after `Running.cancel`.
            is_counted: Whether `idle` and `finish` wait for it.
        """

    def to_application(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the thread of the loop, after those of earlier calls."""

    def at_once(self, function: Callable[[], object]) -> Callable[[], object]:
        """
        Return a function that calls *function* in the thread of the loop: now, if that is this one.

        It costs less than `to_application`, for a call that may overtake earlier ones.
        """

    def to_gateway(self, function: Callable[..., object], *args: Any) -> None:
        """
        Call a function in the reactor's thread, after those of earlier calls.

        It comes when the loop has had its turn, so that messages in a row are written together.
        """

    def idle(self) -> Deferred[None]:
        """Wait until no call is left. Fires at once if there is none."""

    def finish(self, seconds: float) -> Deferred[None]:
        """
        Wait until no call is left, and cancel those that are left after so many seconds.

        Returns: Fires when no call is left, or when some have not ended although cancelled.
        """


async def _say_farewell() -> None:
    """Cancel all tasks of the loop that runs, and close its generators."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_CHANCE)
    await asyncio.get_running_loop().shutdown_asyncgens()
    # Sockets that were closed last are so in the next step.
    await asyncio.sleep(0)


class Turns(Calls):
    """
    Runs applications in the reactor's thread, in turns.

    Args:
        reactor: Runs the loop.
        budget: Seconds of a turn; see `wsredis.web.asgi.loop.ReactorLoop`.
        grace: Seconds that a call has to end after its client has left.
        slow: Seconds that one step may take; see `wsredis.web.asgi.slow.SlowSteps`.
        clock: Returns seconds. If None, it is the clock of asyncio.
        metrics: Count slow steps. If None, nobody does.
    """

    def __init__(
        self,
        reactor: Any,
        budget: float,
        grace: float,
        slow: float,
        clock: Callable[[], float] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__(reactor, grace)
        # One that is never started opens nothing.
        self._make = partial(ReactorLoop, reactor, budget, slow, clock)
        self.loop: ReactorLoop
        self._slow = SlowSteps(reactor, metrics or Metrics(), slow)

    def start(self) -> None:
        """See `Link.start`."""
        self.loop = self._make()
        self.loop.after_turn = self.drain
        self.take_failures(self.loop)
        #: The same, without a step in between.
        self.to_application = self.loop.call  # type: ignore[method-assign]
        self.loop.attach()
        asyncio.set_event_loop(self.loop)
        self._root = self.loop.create_task(self._be_root(), name="asgi")
        self._root.add_done_callback(ROOT)
        self.begin()
        self._slow.start(self.loop)

    @property
    def around(self) -> Around:
        """See `Link.around`."""
        return self.loop.hold, self.loop.go

    def stop(self) -> None:
        """See `Link.stop`."""
        if self.loop.is_closed():
            return
        self.end()
        self._slow.stop()
        self._root.remove_done_callback(ROOT)
        self.loop.detach()
        try:
            self.loop.run_until_complete(_say_farewell())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    async def _be_root(self) -> None:
        """
        Be the task that the loop would be run for, if it were not inside the reactor.

        anyio looks for it, and ends its threads with it. Without one, each request would have
        threads of its own.
        """
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # An application may cancel all tasks, and go on.
                if self.loop.is_attached:
                    continue
                raise

    def to_gateway(self, function: Callable[..., object], *args: Any) -> None:
        """See `Link.to_gateway`."""
        self.outgoing.append((function, args))
        self.loop.ensure_turn()

    def at_once(self, function: Callable[[], object]) -> Callable[[], object]:
        """See `Link.at_once`."""
        return function


class Bridge(Calls):
    """
    Runs applications in a thread of their own, which may block.

    Args:
        reactor: Where the gateway is.
        grace: Seconds that a call has to end after its client has left.
    """

    def __init__(self, reactor: Any, grace: float) -> None:
        super().__init__(reactor, grace)
        self._incoming: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        #: Whether the other side will look. Each of the two is cleared before the queue is emptied,
        #: so nothing that is added meanwhile is forgotten.
        self._incoming_is_due = self._outgoing_is_due = self._is_stopped = False
        self._thread = Thread(target=self._run, name="asgi", daemon=True)

    def start(self) -> None:
        """See `Link.start`."""
        # One that is never started opens nothing.
        self.loop = asyncio.SelectorEventLoop()
        self.take_failures(self.loop)
        self._end = asyncio.Event()
        self._thread.start()
        self.begin()

    @property
    def around(self) -> None:
        """See `Link.around`."""
        return None

    def stop(self) -> None:
        """See `Link.stop`. A thread that blocks is not waited for: it may never end."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self.end()
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(2 * LAST_CHANCE)
        if self._thread.is_alive():
            self._log.warn(
                "the application blocks its thread, and is left alone", event="asgi-blocked"
            )

    def to_application(self, function: Callable[..., object], *args: Any) -> None:
        """See `Link.to_application`."""
        self._incoming.append((function, args))
        if not (self._incoming_is_due or self._is_stopped):
            self._incoming_is_due = True
            self.loop.call_soon_threadsafe(self._take)

    def at_once(self, function: Callable[[], object]) -> Callable[[], object]:
        """See `Link.at_once`."""
        return partial(self.to_application, function)

    def to_gateway(self, function: Callable[..., object], *args: Any) -> None:
        """See `Link.to_gateway`."""
        self.outgoing.append((function, args))
        if not (self._outgoing_is_due or self._is_stopped):
            self._outgoing_is_due = True
            self._reactor.callFromThread(self._give)

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            # An application that stops the loop, cancels all tasks or calls exit() stops nobody.
            while not self._end.is_set():
                self._run_until(loop.create_task(self._end.wait(), name="asgi"))
            loop.run_until_complete(_say_farewell())
        finally:
            loop.close()

    def _run_until(self, root: asyncio.Task[Any]) -> None:
        """Run the loop until *root* has ended. By `run_until_complete`, for which anyio looks."""
        while not root.done():
            try:
                self.loop.run_until_complete(root)
            except (SystemExit, KeyboardInterrupt):
                self._log.failure("the application tried to end the process", event="asgi-exit")
            except (RuntimeError, asyncio.CancelledError):
                # It was stopped, or the task was cancelled.
                pass

    def _take(self) -> None:
        self._incoming_is_due = False
        incoming = self._incoming
        while incoming:
            function, args = incoming.popleft()
            try:
                function(*args)
            except Exception:
                self._log.failure(
                    "an event could not be handed to the application", event="asgi-link-failed"
                )

    def _give(self) -> None:
        self._outgoing_is_due = False
        if not self._is_stopped:
            self.drain()


def make_link(reactor: Any, config: AsgiConfig, metrics: Metrics) -> Link:
    """Make the link that the settings ask for. It does not run yet."""
    if config.loop == "thread":
        return Bridge(reactor, config.shutdown)
    return Turns(reactor, config.budget, config.shutdown, config.slow, reactor.seconds, metrics)
