"""Tests of `wsredis.web.asgi.lifespan`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs

from tests.unit.web.asgi.case import BridgeCase, TurnsLinkCase
from wsredis.errors import ConfigError
from wsredis.web.asgi.lifespan import Lifespan

Application = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]


class SharedTests:
    """What the lifespan does, whichever thread the application has."""

    def lifespan(self: Any, application: Application, mode: str = "auto") -> Lifespan:
        """A lifespan that has begun to start."""
        made = Lifespan(self.reactor, self.link, application, mode)
        self.started = made.startup()
        self.settle()
        return made

    async def good(self: Any, scope: Any, receive: Any, send: Any) -> None:
        """An application that knows of its lifespan, and says what it gets."""
        self.said.append((scope["type"], scope["asgi"], (await receive())["type"]))
        scope["state"]["pool"] = 1
        await send({"type": "lifespan.startup.complete"})
        self.said.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})
        self.said.append("end")

    def test_life(self: Any) -> None:
        """The application starts, fills its state, and stops."""
        lifespan = self.lifespan(self.good)
        self.successResultOf(self.started)
        versions = {"version": "3.0", "spec_version": "2.0"}
        self.assertEqual([("lifespan", versions, "lifespan.startup")], self.said)
        self.assertEqual({"pool": 1}, lifespan.state)
        stopped = lifespan.shutdown(5)
        self.assertNoResult(stopped)
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(["lifespan.shutdown", "end"], self.said[1:])
        self.successResultOf(lifespan.shutdown(5))
        with capturedLogs() as logs:
            self.reactor.advance(10)
        self.assertEqual([], logs)

    def test_waits(self: Any) -> None:
        """The start waits for the application, and nothing has been started before that."""
        ready = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await ready.wait()
            await send({"type": "lifespan.startup.complete"})
            await receive()

        self.lifespan(application)
        self.assertNoResult(self.started)
        self.link.to_application(ready.set)
        self.settle()
        self.successResultOf(self.started)

    def test_off(self: Any) -> None:
        """The application hears nothing, and has no state."""
        lifespan = self.lifespan(self.fail, "off")
        self.successResultOf(self.started)
        self.successResultOf(lifespan.shutdown(5))
        self.assertIsNone(lifespan.state)

    def test_not_known(self: Any) -> None:
        """An application that knows of no lifespan is served all the same, and told no stop."""

        async def django(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError("Django can only handle ASGI/HTTP connections")

        async def silent(scope: Any, receive: Any, send: Any) -> None:
            pass

        for application, reason in ((django, "ValueError: Django can"), (silent, "it returned")):
            with capturedLogs() as logs:
                lifespan = self.lifespan(application)
            self.successResultOf(self.started)
            self.assertEqual(["asgi-no-lifespan"], [each["event"] for each in logs])
            self.assertIn(reason, logs[0]["reason"])
            self.successResultOf(lifespan.shutdown(5))

    def test_demanded(self: Any) -> None:
        """With ``on``, an application that does not start ends the start."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            raise ValueError("several\nlines")

        self.lifespan(application, "on")
        error = self.failureResultOf(self.started, ConfigError).value
        self.assertEqual(
            "asgi-lifespan: it is on, but the application did not start: lines", str(error)
        )
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_failed(self: Any) -> None:
        """A start that failed is fatal: it is logged, and its last line ends the program."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            text = "Traceback:\n  somewhere\nOSError: no database\n"
            await send({"type": "lifespan.startup.failed", "message": text})
            raise OSError("no database")

        with capturedLogs() as logs:
            lifespan = self.lifespan(application)
        error = self.failureResultOf(self.started, ConfigError).value
        self.assertEqual("asgi: the application could not start: OSError: no database", str(error))
        self.assertEqual(["asgi-lifespan-failed"], [each["event"] for each in logs])
        self.assertIn("somewhere", logs[0]["text"])
        self.successResultOf(lifespan.shutdown(5))

    def test_failed_silently(self: Any) -> None:
        """A start may fail without a message."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed"})

        self.lifespan(application)
        error = self.failureResultOf(self.started, ConfigError).value
        self.assertIn("it did not say why", str(error))

    def test_raised_at_start(self: Any) -> None:
        """An exception after the event of the start is logged; the specification says: go on."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            raise KeyError("x")

        self.lifespan(application)
        self.successResultOf(self.started)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_raised_later(self: Any) -> None:
        """A lifespan that ends early is logged if it raised, and has no stop."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            raise KeyError("x")

        lifespan = self.lifespan(application)
        self.successResultOf(self.started)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.successResultOf(lifespan.shutdown(5))

    def test_stop_that_fails(self: Any) -> None:
        """A stop that failed, with a message or an exception, is logged and does not hold up."""

        async def says(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.failed", "message": "no"})
            # Nothing comes any more.
            await receive()
            self.said.append("too much")

        async def raises(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            raise KeyError("x")

        for application, event in (
            (says, "asgi-lifespan-failed"),
            (raises, "asgi-lifespan-raised"),
        ):
            with capturedLogs() as logs:
                lifespan = self.lifespan(application)
                stopped = lifespan.shutdown(5)
                self.settle()
            self.successResultOf(stopped)
            self.assertEqual([event], [each["event"] for each in logs])
        self.flushLoggedErrors(KeyError)
        self.assertEqual([], self.said)

    def test_late_stop(self: Any) -> None:
        """An application that takes too long is cancelled; the stop waits no longer."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.said.append("cancelled")
                await asyncio.sleep(3600)

        lifespan = self.lifespan(application)
        stopped = lifespan.shutdown(5)
        self.reactor.advance(4.9)
        self.settle()
        self.assertEqual([], self.said)
        with capturedLogs() as logs:
            self.reactor.advance(0.1)
        self.assertEqual(["asgi-lifespan-late"], [each["event"] for each in logs])
        self.settle()
        self.assertEqual(["cancelled"], self.said)
        self.assertNoResult(stopped)
        self.reactor.advance(1.0)
        self.successResultOf(stopped)

    def test_stop_in_the_start(self: Any) -> None:
        """A stop cancels a start that has not ended."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(3600)

        lifespan = self.lifespan(application)
        stopped = lifespan.shutdown(5)
        self.reactor.advance(0)
        self.settle()
        self.successResultOf(stopped)
        self.failureResultOf(self.started, CancelledError)

    def test_wrong_messages(self: Any) -> None:
        """A wrong message raises out of ``send``, and nothing else happens."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            async def refused(message: Any) -> None:
                try:
                    await send(message)
                except Exception as error:
                    self.said.append(type(error))

            await refused({"type": "lifespan.startup.complete"})
            await receive()
            await refused("lifespan.startup.complete")
            await refused({"type": "http.response.start"})
            await refused({})
            await refused({"type": "lifespan.startup.failed", "message": b"bytes"})
            await refused({"type": "lifespan.shutdown.complete"})
            await send({"type": "lifespan.startup.complete", "unknown": 1})
            await refused({"type": "lifespan.startup.failed"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            await refused({"type": "lifespan.shutdown.complete"})

        lifespan = self.lifespan(application)
        self.successResultOf(self.started)
        stopped = lifespan.shutdown(5)
        self.settle()
        self.successResultOf(stopped)
        self.assertEqual(
            [
                RuntimeError,
                TypeError,
                ValueError,
                ValueError,
                TypeError,
                RuntimeError,
                RuntimeError,
                RuntimeError,
            ],
            self.said,
        )


class TurnsTests(SharedTests, TurnsLinkCase):
    """An application in the reactor's thread."""


class BridgeTests(SharedTests, BridgeCase):
    """An application in a thread of its own."""
