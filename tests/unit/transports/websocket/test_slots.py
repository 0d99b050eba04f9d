"""Tests for `wsredis.transports.websocket.slots`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import Limits
from wsredis.errors import HandshakeRejected
from wsredis.transports.websocket.slots import Slots


class _Place:
    """A connection that is gone when it is dropped."""

    def __init__(self, slots: Slots, address: str) -> None:
        self.slots = slots
        self.address = address
        self.gone = False

    def dropped(self, reason: str) -> None:
        self.gone = True
        self.slots.disconnect(self)


class SlotsTests(SynchronousTestCase):
    """Places, and how room is made."""

    def make(self, **limits: int) -> Slots:
        """Places for 20 WebSockets, 6 handshakes and 4 pages: 30 TCP connections."""
        defaults = {"max_connections": 20, "max_handshakes": 6}
        self.slots = Slots(Limits(**(defaults | limits)), 4)  # type: ignore[arg-type]
        return self.slots

    def connect(self, address: str, *, speaks: bool = False) -> tuple[_Place, int]:
        """A connection, and the status with which it is refused: 0 if it is not."""
        place = _Place(self.slots, address)
        refusal = self.slots.connect(place)
        if refusal is not None:
            self.slots.disconnect(place)
        elif speaks:
            self.assertTrue(self.slots.spoke(place))
            self.assertFalse(self.slots.spoke(place))
        return place, _status(refusal)

    def test_silent_flood(self) -> None:
        """However many silent connections an address opens, all others find room."""
        self.make()
        places = [self.connect("bad") for _ in range(1000)]
        self.assertEqual({0}, {status for _, status in places})
        left = [place for place, _ in places if not place.gone]
        self.assertEqual(20, len(left))
        self.assertEqual([place for place, _ in places[-20:]], left)
        for number in range(10):
            self.assertEqual(0, self.connect(f"good {number}", speaks=True)[1])
        # Now all places are taken, and the oldest silent one makes room for anybody.
        self.assertTrue(self.slots.sockets.is_full())
        self.assertEqual(0, self.connect("late", speaks=True)[1])
        self.assertTrue(left[0].gone)
        self.assertEqual(30, self.slots.sockets.held)

    def test_nobody_is_silent(self) -> None:
        """Without a silent one, the address that has its share is refused, and others are not."""
        self.make()
        statuses = [self.connect("bad", speaks=True)[1] for _ in range(25)]
        self.assertEqual([0] * 20 + [429] * 5, statuses)
        statuses = [self.connect(f"good {number}", speaks=True)[1] for number in range(11)]
        self.assertEqual([0] * 10 + [503], statuses)

    def test_many_addresses(self) -> None:
        """The oldest silent one goes, whatever its address is."""
        self.make()
        places = [self.connect(f"bad {number}")[0] for number in range(100)]
        self.assertEqual([True] * 70 + [False] * 30, [place.gone for place in places])

    def test_nothing_is_left(self) -> None:
        """Connections that are gone leave nothing behind."""
        self.make()
        places = [self.connect(address)[0] for address in "aabbcc"]
        self.slots.spoke(places[0])
        for place in places:
            self.slots.disconnect(place)
        self.assertEqual((0, {}, {}), _remembered(self.slots))

    def test_without_address(self) -> None:
        """Clients that cannot be told apart have all places together."""
        self.make()
        statuses = [self.connect("", speaks=True)[1] for _ in range(31)]
        self.assertEqual([0] * 30 + [503], statuses)

    def test_handshakes(self) -> None:
        """An address has a share of the handshakes."""
        slots = self.make()
        for address, status in [*[("bad", 0)] * 4, ("bad", 429), ("a", 0), ("b", 0), ("c", 503)]:
            refusal = slots.handshake_refusal(address)
            self.assertEqual(status, _status(refusal), address)
            if refusal is None:
                slots.handshakes.add(address)

    def test_websockets(self) -> None:
        """An address has a share of the WebSockets, or as many as the setting says."""
        for limits, most in (({}, 14), ({"max_connections_per_address": 18}, 18)):
            slots = self.make(**limits)
            for _ in range(most):
                self.assertIsNone(slots.websocket_refusal("bad", None))
                slots.open("bad", None)
            refusal = slots.websocket_refusal("bad", None)
            assert refusal is not None
            self.assertEqual((429, "--max-connections-per-address"), (refusal.status, refusal.hint))
            self.assertIsNone(slots.websocket_refusal("good", None))
            slots.close("bad", None)
            self.assertIsNone(slots.websocket_refusal("bad", None))

    def test_sockets_of_a_large_address(self) -> None:
        """An address that may have many WebSockets may have the connections for them, and more."""
        self.make(max_connections_per_address=20)
        statuses = [self.connect("proxy", speaks=True)[1] for _ in range(31)]
        self.assertEqual([0] * 30 + [503], statuses)
        self.make(max_connections_per_address=2)
        statuses = [self.connect("proxy", speaks=True)[1] for _ in range(13)]
        self.assertEqual([0] * 12 + [429], statuses)

    def test_users(self) -> None:
        """A user has a limit over all addresses."""
        slots = self.make(max_connections_per_user=2)
        for address in "ab":
            self.assertIsNone(slots.websocket_refusal(address, "joe"))
            slots.open(address, "joe")
        refusal = slots.websocket_refusal("c", "joe")
        assert refusal is not None
        self.assertEqual((429, "--max-connections-per-user"), (refusal.status, refusal.hint))
        self.assertIsNone(slots.websocket_refusal("c", "ann"))
        slots.close("a", "joe")
        self.assertIsNone(slots.websocket_refusal("c", "joe"))
        slots.close("b", "joe")
        self.assertEqual({}, slots._users)


def _status(refusal: HandshakeRejected | None) -> int:
    return 0 if refusal is None else refusal.status


def _remembered(slots: Slots) -> tuple[int, object, object]:
    return slots.sockets.held, slots._silent, slots._silent_of
