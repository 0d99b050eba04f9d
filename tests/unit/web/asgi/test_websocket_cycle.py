"""
Tests for `wsredis.web.asgi.websocket_cycle`: the application's side alone.

What both sides do together is in `test_websocket`.
"""

from __future__ import annotations

from typing import Any

from tests.unit.web.asgi.case import BridgeCase, LinkCase, TurnsLinkCase
from wsredis.transports.websocket.applications import ApplicationMessages
from wsredis.transports.websocket.encoding import Encodings
from wsredis.web.asgi.websocket_cycle import WebSocketCycle


class _Socket:
    """The gateway's side: takes note of what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any) -> None:
            self.told.append((name, *args))

        return method


class _CycleTests(LinkCase):
    """Promises that hold in both modes."""

    def setUp(self) -> None:
        """Make a cycle."""
        super().setUp()
        self.socket: Any = _Socket()
        encoding = Encodings(0)[ApplicationMessages(), 0]
        self.cycle = WebSocketCycle(self.link, self.socket, encoding, ["a"])

    def run_all(self, call: Any) -> None:
        """Run a call to its end."""
        self.spawn(call)
        self.settle()
        self.settle()
        self.assertEqual([None], self.ends)

    def test_order(self) -> None:
        """The gateway is told in the order of the application, in its own thread."""

        async def call() -> None:
            self.assertEqual({"type": "websocket.connect"}, await self.cycle.receive())
            await self.cycle.send({"type": "websocket.accept", "subprotocol": "a"})
            await self.cycle.send({"type": "websocket.send", "text": "one"})
            await self.cycle.send({"type": "websocket.send", "bytes": b"two"})
            await self.cycle.send({"type": "websocket.close", "code": 4000, "reason": "x"})

        self.run_all(call())
        self.assertEqual([("accept", "a", []), ("flush",), ("close", 4000, "x")], self.socket.told)
        self.assertEqual([b"\x81\x03one", b"\x82\x03two"], [*self.cycle.frames])

    def test_events(self) -> None:
        """Each event is received once, however it comes; numbers go back to the gateway."""
        wake = self.link.at_once(self.cycle.wake)
        received: list[Any] = []

        async def call() -> None:
            while (event := await self.cycle.receive()) != {"type": "last"}:
                received.append(event)

        self.spawn(call())
        for number in range(100):
            self.cycle.events.append({"type": "x", "number": number})
            self.cycle.events.append(number)
            if self.cycle.waiting:
                wake()
            if not number % 9:
                self.settle()
        self.cycle.events.append({"type": "last"})
        wake()
        self.settle()
        self.settle()
        self.assertEqual([None], self.ends)
        self.assertEqual([*range(100)], [each["number"] for each in received[1:]])
        self.assertEqual([("taken", number) for number in range(100)], self.socket.told)

    def test_flood(self) -> None:
        """An application that sends without end waits before it has taken much time."""
        sent: list[int] = []

        async def call() -> None:
            await self.cycle.send({"type": "websocket.accept"})
            for number in range(5000):
                await self.cycle.send({"type": "websocket.send", "text": ""})
                sent.append(number)

        self.spawn(call())
        self.settle()
        self.assertLess(len(sent), 1000)
        self.assertEqual(("watch",), self.socket.told[-1])
        for _ in range(6):
            self.link.to_application(self.cycle.drained)
            self.settle()
        self.assertEqual([None], self.ends)

    def test_gone(self) -> None:
        """The end comes after what was there, and wakes an application that waits to send."""
        sent: list[Any] = []

        async def call() -> None:
            await self.cycle.send({"type": "websocket.accept"})
            await self.cycle.send({"type": "websocket.send", "bytes": bytes(100_000)})
            sent.append(True)

        self.spawn(call())
        self.settle()
        self.assertEqual([], sent)
        self.assertEqual(("watch",), self.socket.told[-1])
        self.link.to_application(self.cycle.gone, 1001, "bye")
        self.settle()
        self.assertEqual([True], sent)
        self.assertEqual(
            {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}, self.cycle.events[-1]
        )


class TurnsCycleTests(_CycleTests, TurnsLinkCase):
    """In the reactor's thread."""


class BridgeCycleTests(_CycleTests, BridgeCase):
    """In another thread."""


del _CycleTests
