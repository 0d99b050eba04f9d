"""Tests of `wsredis.brokers.redis.fetches`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.fetches import Fetches
from wsredis.errors import BrokerUnavailable


class _Read:
    """One read of the broker, whose progress is up to the test."""

    def __init__(
        self,
        names: Sequence[bytes],
        take: Callable[[dict[bytes, bytes]], Deferred[None]],
        sized: Callable[[Collection[bytes]], None],
    ) -> None:
        self.names, self.sized = names, sized
        self._take = take
        self.done: Deferred[None] = Deferred()

    def take(self, batch: dict[bytes, bytes]) -> Deferred[None]:
        """Hand over a batch; what that raises ends the read."""
        try:
            return self._take(batch)
        except CancelledError as error:
            self.done.errback(error)
            return succeed(None)

    def whole(self, values: dict[bytes, bytes]) -> None:
        """Read all at once."""
        self.sized(values)
        if values:
            self.take(values)
        self.done.callback(None)


class FetchesTests(SynchronousTestCase):
    """The questions of one turn are one question, and few are under way."""

    def setUp(self) -> None:
        """Nothing was asked."""
        self.clock = Clock()
        self.reads: list[_Read] = []
        self.settled: list[dict[bytes, bytes]] = []
        self.not_ready: list[Deferred[dict[bytes, bytes]]] = []
        self.fetches = Fetches(self.clock, self.read, self.ready)
        self.fetch = self.fetches.fetch

    async def read(
        self,
        names: Sequence[bytes],
        take: Callable[[dict[bytes, bytes]], Deferred[None]],
        sized: Callable[[Collection[bytes]], None],
    ) -> None:
        """Begin a read."""
        read = _Read(names, take, sized)
        self.reads.append(read)
        await read.done

    def ready(self, values: dict[bytes, bytes]) -> Deferred[dict[bytes, bytes]]:
        """Hand out messages at once, or as the test has prepared it."""
        self.settled.append(values)
        return self.not_ready.pop() if values and self.not_ready else succeed(values)

    def turn(self) -> _Read:
        """End the turn. Returns: The newest read."""
        self.clock.advance(0)
        return self.reads[-1]

    def test_nothing_stored(self) -> None:
        """A client for whom nothing is stored does not wait for what its neighbours wait for."""
        for outcome in ({b"a": b"1"}, BrokerUnavailable("lost")):
            later: Deferred[dict[bytes, bytes]] = Deferred()
            self.not_ready = [later]
            some, none = (self.fetch([name]) for name in (b"a", b"b"))
            read = self.turn()
            read.sized([b"a"])
            self.assertEqual({}, self.successResultOf(none))
            taken = read.take({b"a": b"1"})
            self.assertNoResult(some)
            if isinstance(outcome, dict):
                later.callback(outcome)
                self.assertEqual(outcome, self.successResultOf(some))
            else:
                later.errback(outcome)
                read.done.errback(self.failureResultOf(taken))
                self.failureResultOf(some, BrokerUnavailable)
        self.assertEqual([{}, {b"a": b"1"}] * 2, self.settled)

    def test_nothing_stored_and_lost(self) -> None:
        """If they may not be handed out, all of those fail."""
        self.patch(self.fetches, "_ready", lambda values: fail(BrokerUnavailable("lost")))
        fetched = [self.fetch([name]) for name in (b"a", b"b")]
        self.turn().whole({})
        for each in fetched:
            self.failureResultOf(each, BrokerUnavailable)

    def test_together(self) -> None:
        """Each channel is asked for once, and each client gets its own messages."""
        both = self.fetch([b"a", b"b"])
        one = self.fetch([b"b"])
        none = self.fetch([b"c"])
        self.assertEqual([], self.reads)
        read = self.turn()
        self.assertEqual([b"a", b"b", b"c"], read.names)
        read.whole({b"a": b"1", b"b": b"2"})
        self.assertEqual({b"a": b"1", b"b": b"2"}, self.successResultOf(both))
        self.assertEqual({b"b": b"2"}, self.successResultOf(one))
        self.assertEqual({}, self.successResultOf(none))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_in_parts(self) -> None:
        """A client is answered when its own messages are there, and nothing of it is kept."""
        first, both = self.fetch([b"a"]), self.fetch([b"a", b"b"])
        read = self.turn()
        read.sized([b"a", b"b"])
        read.take({b"a": b"1"})
        self.assertEqual({b"a": b"1"}, self.successResultOf(first))
        self.assertNoResult(both)
        read.take({b"b": b"2"})
        self.assertEqual({b"a": b"1", b"b": b"2"}, self.successResultOf(both))
        read.done.callback(None)

    def test_gone_meanwhile(self) -> None:
        """A message that expires after its size was told is just missing."""
        both, one = self.fetch([b"a", b"b"]), self.fetch([b"b"])
        read = self.turn()
        read.sized([b"a", b"b"])
        read.take({b"a": b"1"})
        read.done.callback(None)
        self.assertEqual({b"a": b"1"}, self.successResultOf(both))
        self.assertEqual({}, self.successResultOf(one))

    def test_next_turn(self) -> None:
        """A question of the next turn does not get an answer that is under way: it may be older."""
        for _ in range(2):
            self.fetch([b"a"])
            self.turn()
        self.assertEqual([[b"a"], [b"a"]], [read.names for read in self.reads])

    def test_rounds(self) -> None:
        """Few rounds are under way; what comes meanwhile is asked together when one has ended."""
        fetched = []
        for number in range(10):
            fetched.append(self.fetch([b"%d" % number]))
            self.turn()
        self.assertEqual([[b"%d" % number] for number in range(4)], [r.names for r in self.reads])
        self.reads[2].whole({})
        self.assertEqual([b"%d" % number for number in range(4, 10)], self.turn().names)
        self.reads[0].done.errback(BrokerUnavailable("lost"))
        self.failureResultOf(fetched[0], BrokerUnavailable)
        self.reads[-1].whole({b"9": b"nine"})
        self.assertEqual({b"9": b"nine"}, self.successResultOf(fetched[9]))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_size_of_a_round(self) -> None:
        """A round is not larger than some channels; the next one begins at once."""
        fetched = [self.fetch([b"%d" % number]) for number in range(150)]
        for _ in range(3):
            self.turn()
        self.assertEqual([64, 64, 22], [len(read.names) for read in self.reads])
        for read in self.reads:
            read.whole({name: name for name in read.names})
        found = [self.successResultOf(each) for each in fetched]
        self.assertEqual([{b"%d" % number: b"%d" % number} for number in range(150)], found)

    def test_failure(self) -> None:
        """All of them fail that are not answered yet."""
        fetched = [self.fetch([name]) for name in (b"a", b"b", b"c")]
        read = self.turn()
        read.sized([b"a", b"b"])
        read.take({b"a": b"1"})
        read.done.errback(BrokerUnavailable("lost"))
        self.assertEqual({b"a": b"1"}, self.successResultOf(fetched[0]))
        self.failureResultOf(fetched[1], BrokerUnavailable)
        self.assertEqual({}, self.successResultOf(fetched[2]))

    def test_cancelled(self) -> None:
        """A client that has left is not asked for, and takes nothing from the others."""
        left, waiting, stays = (self.fetch([name]) for name in (b"a", b"b", b"c"))
        left.cancel()
        self.failureResultOf(left, CancelledError)
        read = self.turn()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual([b"b", b"c"], read.names)
        read.whole({b"b": b"1", b"c": b"2"})
        self.assertEqual({b"c": b"2"}, self.successResultOf(stays))

    def test_cancelled_before_a_failure(self) -> None:
        """The same if the question fails."""
        fetched = self.fetch([b"a"])
        read = self.turn()
        fetched.cancel()
        self.failureResultOf(fetched, CancelledError)
        read.done.errback(BrokerUnavailable("lost"))

    def test_nobody_left(self) -> None:
        """If all have left, nothing is asked."""
        self.failureResultOf(self.cancelled(), CancelledError)
        self.clock.advance(0)
        self.assertEqual([], self.reads)

    def test_nobody_waits(self) -> None:
        """If all leave while their messages are read, the rest is not read."""
        fetched = self.fetch([b"a", b"b"])
        read = self.turn()
        read.sized([b"a", b"b"])
        fetched.cancel()
        self.failureResultOf(fetched, CancelledError)
        read.take({b"a": b"1"})
        self.assertTrue(read.done.called)
        self.assertEqual([], self.settled)

    def cancelled(self) -> Deferred[dict[bytes, bytes]]:
        """Ask, and leave."""
        fetched = self.fetch([b"a"])
        fetched.cancel()
        return fetched

    def test_stop(self) -> None:
        """Stopping fails what was not asked yet, and leaves no timer. Repeating it is harmless."""
        fetched = self.fetch([b"a"])
        self.fetches.stop()
        self.fetches.stop()
        self.failureResultOf(fetched, BrokerUnavailable)
        self.assertEqual([], self.clock.getDelayedCalls())
