"""Tests of the site on a gateway's port: how many connections it keeps, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.support.memory_gateway import SiteGateway, Socket
from tests.unit.web.case import PROBES, ApplicationCase, Echo, make_request
from wsredis.web.site import GatewaySite


class SiteTests(ApplicationCase):
    """Connections are kept, limited and drained."""

    def test_kept(self) -> None:
        """Several requests share a connection, whichever resource answers."""
        client = self.connect()
        self.assertEqual((200, b"/x "), self.ask(client, make_request("GET /x")))
        self.assertEqual(200, self.ask(client, make_request("GET /health/live"))[0])
        self.assertEqual(400, self.ask(client, make_request("GET /ws/a"))[0])
        self.assertFalse(client.closed)
        client.leave()
        self.assert_nothing_left()

    def test_bounds(self) -> None:
        """Half of the connections are kept; one more than a share is a 429, than all a 503."""
        clients = [self.connect() for _ in range(3)]
        answers = []
        for client in clients:
            client.send(make_request("GET /x"))
            answers.append(b"Connection: close" in client.take())
        self.assertEqual([False, False, True], answers)
        half = make_request("POST /x", "Content-Length: 5")
        self.connect().send(half)
        self.assertEqual(429, self.answer(make_request("GET /x"))[0])
        self.connect("192.0.2.9").send(half)
        self.assertEqual(503, self.answer(make_request("GET /x"))[0])
        self.assertEqual(503, self.ask(self.connect("192.0.2.8"), make_request("GET /x"))[0])
        self.open()

    def test_turns(self) -> None:
        """Of the connections that have more to read a few have a turn at a time, in order."""
        calls: list[int] = []

        def call(number: int) -> None:
            calls.append(number)
            if number == 1:
                raise ZeroDivisionError

        before = len(self.clock.getDelayedCalls())
        for number in range(5):
            self.site.call_in_turn(partial(call, number))
        self.assertEqual(before + 1, len(self.clock.getDelayedCalls()))
        self.assertRaises(ZeroDivisionError, self.clock.advance, 0)
        self.assertEqual([0, 1], calls)
        self.clock.advance(0)
        self.assertEqual([0, 1, 2, 3, 4], calls)
        self.assertEqual(before, len(self.clock.getDelayedCalls()))

    def test_drain(self) -> None:
        """Idle connections are closed at once, others after their answer."""
        idle, late, begun, half = (self.connect() for _ in range(4))
        self.ask(idle, make_request("GET /x"))
        begun.send(make_request("GET /later"))
        self.application.later.write(b"x")
        first = self.application.later
        late.send(make_request("GET /later"))
        second = self.application.later
        half.send(make_request("POST /x", "Content-Length: 3") + b"ab")
        done = self.site.drain()
        self.assertTrue(idle.closed)
        self.assertIn(b"Connection: close", self._end(half, lambda: half.send(b"c")))
        self.assertIn(b"Connection: close", self._end(late, second.finish))
        self.assertNoResult(done)
        self._end(begun, first.finish)
        self.successResultOf(done)
        self.assert_nothing_left()

    def _end(self, client: Socket, action: Callable[[], object]) -> bytes:
        action()
        self.assertTrue(client.closed)
        return client.take()

    def test_drain_and_stop(self) -> None:
        """A drain without connections ends at once; a stop aborts a connection that is left."""
        self.successResultOf(SiteGateway(self.config, application=Echo()).site.drain())
        client = self.connect()
        client.send(make_request("GET /later"))
        done = self.site.drain()
        self.site.stop()
        self.assertTrue(client.aborted)
        self.successResultOf(done)

    def test_drain_of_idle_ones(self) -> None:
        """A drain ends at once if all connections are idle."""
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        self.successResultOf(self.site.drain())
        self.assertTrue(client.closed)

    def test_start_and_stop(self) -> None:
        """The application is started and stopped with the site, after its connections."""
        events = []

        class Counted(Echo):
            def start(self) -> None:
                super().start()
                events.append("started")

            def stop(self) -> None:
                super().stop()
                events.append(f"stopped, connections: {len(site.channels)}")

        site = GatewaySite(self.clock, ("/ws/",), PROBES, None, Counted())
        site.start()
        Socket(site)
        site.stop()
        self.assertEqual(["started", "stopped, connections: 0"], events)

    def test_no_application(self) -> None:
        """Without an application there is nothing to start, and no limit."""
        site = GatewaySite(self.clock, ("/ws/",), PROBES, None, max_channels=1)
        site.start()
        clients = [Socket(site) for _ in range(3)]
        self.assertFalse(site.is_full())
        self.assertEqual(0, site.max_channels)
        site.stop()
        self.assertEqual([True] * 3, [client.aborted for client in clients])
