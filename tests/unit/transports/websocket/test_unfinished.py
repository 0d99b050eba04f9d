"""Tests for `wsredis.transports.websocket.unfinished`."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.websocket.unfinished import UnfinishedInput

_MUCH = "there is too much unfinished input"
_LATE = "the message did not come in time"


class _Client:
    """Remembers why it was reset."""

    def __init__(self, address: str = "a", growth: int | None = 0) -> None:
        self.address = address
        self.growth = growth
        self.refused = ""
        self.last_act: Callable[[], None] = lambda: None

    def message_growth(self) -> int | None:
        """See `InputOwner`."""
        return self.growth

    def input_refused(self, reason: str) -> None:
        """See `InputOwner`."""
        self.refused = reason
        self.last_act()


class _Case(SynchronousTestCase):
    """A test with a bound of 800 bytes."""

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.inputs = UnfinishedInput(self.clock, 800)
        self.inputs.start()
        self.addCleanup(self.inputs.stop)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)


class TotalTests(_Case):
    """What is kept of all clients is bounded."""

    def test_count(self) -> None:
        """The newest size of each client counts."""
        one, other = _Client(), _Client("b")
        self.inputs.keep(one, 300, False)
        self.inputs.keep(one, 200, False)
        self.inputs.keep(other, 100, False)
        self.assertEqual(300, self.inputs.total)
        self.inputs.keep(one, 0, False)
        self.inputs.keep(one, 0, False)
        self.assertEqual(100, self.inputs.total)
        self.inputs.keep(other, 0, False)
        self.assertEqual(({}, {}), (self.inputs._clients, self.inputs._addresses))

    def test_largest_address(self) -> None:
        """The address with most of it loses its oldest ones, and as many as are needed."""
        others = [_Client("b"), _Client("c")]
        hostile = [_Client("a") for _ in range(5)]
        for client in others:
            self.inputs.keep(client, 140, False)
        for client in hostile:
            self.inputs.keep(client, 110, False)
        # 830 bytes, of which 700 may stay.
        self.assertEqual([_MUCH, _MUCH, "", "", ""], [client.refused for client in hostile])
        self.assertEqual(["", ""], [client.refused for client in others])
        self.assertEqual(610, self.inputs.total)

    def test_gone_with_another(self) -> None:
        """A client that goes may take another with it; the next address has its turn then."""
        one, other = _Client("one"), _Client("other")
        others = [_Client(f"{number}") for number in range(43)]
        one.last_act = lambda: self.inputs.keep(other, 0, False)
        self.inputs.keep(one, 20, False)
        self.inputs.keep(other, 19, False)
        for client in others:
            self.inputs.keep(client, 18, False)
        # 774 bytes were left, of which 700 may stay.
        self.assertEqual((_MUCH, ""), (one.refused, other.refused))
        self.assertEqual(5, sum(client.refused == _MUCH for client in others))
        self.assertEqual(684, self.inputs.total)

    def test_itself(self) -> None:
        """One that is larger than all that may be kept goes itself."""
        client = _Client()
        self.inputs.keep(client, 801, True)
        self.assertEqual((_MUCH, 0), (client.refused, self.inputs.total))
        self.wait(40)
        self.assertEqual(_MUCH, client.refused)


class DeadlineTests(_Case):
    """A message has to become complete, or to grow."""

    def test_no_progress(self) -> None:
        """A message that does not grow enough costs its connection."""
        client = _Client(growth=9215)
        self.inputs.keep(client, 10, True)
        self.wait(8.9)
        self.assertEqual("", client.refused)
        self.wait(1)
        self.assertEqual(_LATE, client.refused)

    def test_progress(self) -> None:
        """One that grows has more time; so has one whose client is paused."""
        for growth in (9216, None):
            client = _Client(growth=growth)
            self.inputs.keep(client, 10, True)
            self.wait(100)
            self.assertEqual("", client.refused)
            client.growth = 0
            self.wait(16)
            self.assertEqual(_LATE, client.refused)

    def test_complete(self) -> None:
        """A message that is complete has no deadline any more; a new one has its own."""
        client = _Client()
        for _ in range(5):
            self.inputs.keep(client, 10, True)
            self.wait(6)
            self.inputs.keep(client, 0, False)
        self.inputs.keep(client, 10, False)
        self.wait(40)
        self.assertEqual("", client.refused)
