"""The send queue against a model: whole messages, in order, and only told losses."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeOwner, FakeSocket, FakeStreamTransport, ServerTransport
from tests.support.search import search
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.websocket import frames

#: Bytes of a payload, on both sides of the bounds that the queue has.
_SIZES = st.sampled_from([6, 6, 10, 58, 59, 62, 63, 200, 3000, 9000, 70_000])
_ROOMS = st.sampled_from([0, 1, 5, 61, 100, 1000, 8192, 65_536, 200_000])


class _Kernel:
    """A plain socket, and the transport above it."""

    def __init__(self, room: int) -> None:
        self.socket = FakeSocket(room)
        self._server = ServerTransport(self.socket)
        self.transport = self._server.transport

    @property
    def sent(self) -> bytes:
        """The bytes that the kernel took."""
        return bytes(self.socket.sent)

    def drain(self, room: int) -> None:
        """The client takes some bytes."""
        self.socket.room += room
        if not self.socket.closed:
            self._server.turn()

    def lose(self) -> None:
        """The connection is lost."""
        self._server.lose(ConnectionLost("gone"))


class _Tls:
    """A transport that takes copies."""

    socket = None

    def __init__(self, room: int) -> None:
        self.transport = FakeStreamTransport()

    @property
    def sent(self) -> bytes:
        """The bytes that the transport took."""
        return bytes(self.transport.written)

    def drain(self, room: int) -> None:
        """The client takes all that the transport has."""
        if not self.transport.lost:
            self.transport.drain()

    def lose(self) -> None:
        """The connection is lost."""
        self.transport.drop()


class SendQueueMachine(RuleBasedStateMachine):
    """A client that reads or does not, and messages for it."""

    @initialize(
        kind=st.sampled_from([_Kernel, _Tls]),
        room=_ROOMS,
        limit=st.sampled_from([0, 100, 20_000, 1 << 30]),
        more=st.sampled_from([0, 0, 50_000, 1 << 30]),
        total=st.sampled_from([1 << 40, 1 << 40, 30_000]),
        closes=st.booleans(),
    )
    def begin(
        self,
        kind: type[_Kernel] | type[_Tls],
        room: int,
        limit: int,
        more: int,
        total: int,
        closes: bool,
    ) -> None:
        """
        The connection is made.

        Args:
            more: Bytes beside the limit that may wait for a moment.
            closes: The owner closes a connection of which messages were dropped, as ours do.
        """
        self.below = kind(room)
        self.clock = Clock()
        self.owner = FakeOwner()
        self.total = QueuedBytes(self.clock, total)
        self.hard = limit + more
        self.queue = SendQueue(
            self.below.transport, limit, self.owner, self.total, self.below.socket, self.hard
        )
        self.written: list[bytes] = []
        self.is_closing = self.is_lost = False
        if closes:
            self.owner.on_overflow = self._say_goodbye

    def _say_goodbye(self) -> None:
        self._write(10)
        self.close()

    @property
    def is_cut(self) -> bool:
        """Whether nothing more can be sent."""
        return "cut" in self.owner.notified

    @property
    def has_dropped(self) -> bool:
        """Whether the owner knows that messages were dropped."""
        return not {"overflowed", "evicted", "cut"}.isdisjoint(self.owner.notified)

    def _write(self, size: int) -> None:
        # A number in each one tells which it is.
        self.written.append(frames.binary(b"%06d" % len(self.written) + b"x" * (size - 6)))
        self.queue.write(self.written[-1])

    @precondition(lambda self: not self.is_closing)
    @rule(size=_SIZES, count=st.sampled_from([1, 1, 1, 2, 40]))
    def write(self, size: int, count: int) -> None:
        """Messages come for the client."""
        for _ in range(count):
            if not self.is_closing:
                before = self.queue.waiting
                self._write(size)
                assert self.queue.waiting <= max(self.hard, before) + len(self.written[-1])

    @rule(room=_ROOMS)
    def drain(self, room: int) -> None:
        """The client reads."""
        self.below.drain(room)

    @rule(seconds=st.sampled_from([0.01, 1.0, 100.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and the queue is asked whether the client reads."""
        self.clock.advance(seconds)
        self.queue.is_stuck()
        assert self.queue.weigh(self.clock.seconds()).held >= 0

    @rule()
    def grace_over(self) -> None:
        """The client has been given time to catch up."""
        self.queue.overdue()

    @precondition(lambda self: self.below.socket is not None)
    @rule()
    def refuse(self) -> None:
        """The kernel is short of memory for a moment."""
        assert self.below.socket is not None
        self.below.socket.refuses_pieces = True

    @precondition(lambda self: not self.is_closing)
    @rule()
    def close(self) -> None:
        """The connection is closed as soon as all is sent."""
        self.is_closing = True
        self.queue.close()

    @precondition(lambda self: not self.is_lost)
    @rule()
    def lose(self) -> None:
        """The client is gone."""
        self.is_lost = self.is_closing = True
        self.below.lose()
        self.queue.stopProducing()

    @invariant()
    def whole_and_in_order(self) -> None:
        """The client can read what was sent: whole messages, each once and in order."""
        if not hasattr(self, "written"):
            return
        sent = self.below.sent
        if not self.has_dropped:
            assert b"".join(self.written).startswith(sent)
            return
        next_one = 0
        while sent:
            for number in range(next_one, len(self.written)):
                each = self.written[number]
                if sent.startswith(each) or each.startswith(sent):
                    next_one = number + 1
                    sent = sent[len(each) :]
                    break
            else:
                raise AssertionError("something else was sent")

    @invariant()
    def nothing_counts_that_is_gone(self) -> None:
        """Memory is counted exactly as long as something waits."""
        if hasattr(self, "written"):
            assert self.total.held >= 0
            assert (len(self.total) > 0) >= (self.total.held > 0)
            assert self.queue.waiting >= 0
            assert (self.queue.waiting > 0) <= (self.total.held > 0)

    def teardown(self) -> None:
        """A client that reads on gets all of it, unless the owner was told otherwise."""
        if not hasattr(self, "written"):
            return
        if not self.is_lost:
            for _ in range(1000):
                self.below.drain(1 << 30)
                if not len(self.total):
                    break
            self.whole_and_in_order()
            if not self.has_dropped:
                assert self.below.sent == b"".join(self.written)
        assert (len(self.total), self.total.held) == (0, 0)
        assert not self.queue.waiting


class SendQueueTests(SynchronousTestCase):
    """Any sequence of what can happen to a send queue."""

    def test_any(self) -> None:
        """Messages are whole and in order, and memory is counted as long as they wait."""
        run_state_machine_as_test(SendQueueMachine, settings=search(150, steps=30))  # type: ignore[no-untyped-call]
