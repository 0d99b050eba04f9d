"""The start and the stop of an application, as the lifespan protocol of ASGI has them."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.errors import ConfigError
from wsredis.web.asgi.calls import LAST_CHANCE, Running
from wsredis.web.asgi.link import Link

__all__ = ["Lifespan"]

#: A message of the application, and the event that it answers.
_ANSWERS = {
    "lifespan.startup.complete": "lifespan.startup",
    "lifespan.startup.failed": "lifespan.startup",
    "lifespan.shutdown.complete": "lifespan.shutdown",
    "lifespan.shutdown.failed": "lifespan.shutdown",
}


class _Phase(Enum):
    """What the gateway knows of the lifespan."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    #: It has ended, or never began. No event is sent any more.
    OVER = "over"


class _Call:
    """
    The side of the application. All methods belong to the thread of the loop.

    Attributes:
        has_begun: Whether the application has asked for its first event.
    """

    def __init__(self, lifespan: Lifespan, link: Link) -> None:
        self._lifespan = lifespan
        self._link = link
        self._shutdown = asyncio.Event()
        #: The event that the application has not answered.
        self._asked = ""
        self.has_begun = False

    async def receive(self) -> dict[str, Any]:
        """Return the start, and when it comes the stop. Then wait for ever."""
        if not self.has_begun:
            self.has_begun = True
            self._asked = "lifespan.startup"
        else:
            await self._shutdown.wait()
            if self._asked == "over":
                await asyncio.Event().wait()
            self._asked = "lifespan.shutdown"
        return {"type": self._asked}

    async def send(self, message: dict[str, Any]) -> None:
        """
        Take the answer of the application.

        Raises:
            TypeError, ValueError: It is not a message of the lifespan protocol.
            RuntimeError: It does not answer an event, or that was answered before.
        """
        if not isinstance(message, dict):
            raise TypeError(f"a message is a dict, not {type(message).__name__}")
        kind = message.get("type")
        if kind not in _ANSWERS:
            raise ValueError(f"{kind!r} is not a message of the lifespan protocol")
        text = message.get("message", "")
        if not isinstance(text, str):
            raise TypeError("the message of a failure is a str")
        if _ANSWERS[kind] != self._asked:
            raise RuntimeError(f"{kind} does not answer an event, or not the first time")
        self._asked = "over" if self._asked == "lifespan.shutdown" else ""
        self._link.to_gateway(self._lifespan.answered, kind, text)

    def stop(self) -> None:
        """Let the application have the stop."""
        self._shutdown.set()


class Lifespan:
    """
    Starts an application before its first request, and stops it after the last one.

    All methods belong to the reactor's thread.

    Args:
        clock: Runs timers.
        link: Runs the application. It has been started.
        application: An ASGI 3 application.
        mode: As ``asgi-lifespan``: ``auto``, ``on`` or ``off``.

    Attributes:
        state: The namespace that the application fills at its start, of which each request gets a
            shallow copy. If None, the application is not told of its start.
    """

    _log = Logger()

    def __init__(self, clock: Any, link: Link, application: Any, mode: str) -> None:
        self._clock = clock
        self._link = link
        self._application = application
        self._mode = mode
        self._phase = _Phase.OVER if mode == "off" else _Phase.NEW
        self.state: dict[str, Any] | None = None if mode == "off" else {}
        self._call = _Call(self, link)
        self._running: Running | None = None
        self._started: Deferred[None] = Deferred()
        self._stopped: Deferred[None] = Deferred()
        self._timer: Any = None

    def startup(self) -> Deferred[None]:
        """
        Let the application start.

        Returns: Fires when it has started, or when it does not know of its lifespan. Fails with
            `ConfigError` if the gateway must not start, and with Twisted's ``CancelledError`` if
            `shutdown` is called before.
        """
        if self._phase is not _Phase.NEW:
            return succeed(None)
        self._phase = _Phase.STARTING
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        call = self._run(scope)
        self._running = self._link.spawn("lifespan", call, self._ended, is_counted=False)
        return self._started

    def shutdown(self, seconds: float) -> Deferred[None]:
        """
        Let the application stop. If it still starts, it is cancelled.

        Args:
            seconds: Time that it has. Then it is cancelled.

        Returns: Fires when it has stopped or its time is over. It never fails.
        """
        if self._running is None or self._phase is _Phase.OVER:
            return succeed(None)
        if self._phase is _Phase.STARTING:
            seconds = 0.0
        else:
            self._link.to_application(self._call.stop)
        self._phase = _Phase.STOPPING
        self._timer = self._clock.callLater(seconds, self._expire, seconds)
        return self._stopped

    def answered(self, kind: str, text: str) -> None:
        """Take an answer of the application."""
        if kind.endswith(".failed"):
            self._log.error(
                "the application could not {what}: {text}",
                event="asgi-lifespan-failed",
                what="start" if "startup" in kind else "stop",
                text=text,
            )
        if self._phase is _Phase.STARTING:
            if kind == "lifespan.startup.failed":
                self._refuse(f"asgi: the application could not start: {_last_line(text)}")
            else:
                self._phase = _Phase.RUNNING
                self._started.callback(None)
        elif self._phase is _Phase.STOPPING and "shutdown" in kind:
            self._end()

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._application(scope, self._call.receive, self._call.send)

    def _ended(self, error: BaseException | None) -> None:
        """Take note that the application has left the call."""
        phase, self._running = self._phase, None
        if phase is _Phase.STARTING:
            self._not_known(error)
        elif phase is _Phase.RUNNING:
            self._phase = _Phase.OVER
            self._report(error)
        elif phase is _Phase.STOPPING:
            self._report(error)
            self._end()

    def _not_known(self, error: BaseException | None) -> None:
        """The application has not started, and has not said that it could not."""
        reason = "it returned" if error is None else f"{type(error).__name__}: {error}"
        if self._mode == "on":
            self._report(error)
            self._refuse(
                f"asgi-lifespan: it is on, but the application did not start: {_last_line(reason)}"
            )
            return
        if self._call.has_begun:
            # It knows of its lifespan.
            self._report(error)
        else:
            self._log.info(
                "the application is not told of start and stop: {reason}",
                event="asgi-no-lifespan",
                reason=reason,
            )
        self._phase = _Phase.OVER
        self._started.callback(None)

    def _refuse(self, problem: str) -> None:
        self._phase = _Phase.OVER
        self._started.errback(ConfigError(problem))

    def _report(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self._log.failure(
                "the lifespan of the application failed",
                Failure(error),
                event="asgi-lifespan-raised",
            )

    def _expire(self, seconds: float) -> None:
        if seconds:
            self._log.warn(
                "the application did not stop within {seconds} s, and is cancelled",
                event="asgi-lifespan-late",
                seconds=seconds,
            )
        assert self._running is not None
        self._running.cancel()
        self._timer = self._clock.callLater(LAST_CHANCE, self._end)

    def _end(self) -> None:
        self._phase = _Phase.OVER
        if self._timer.active():
            self._timer.cancel()
        if not self._started.called:
            self._started.cancel()
        self._stopped.callback(None)


def _last_line(text: str) -> str:
    """The part of an error or a traceback that fits on a line."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it did not say why"
