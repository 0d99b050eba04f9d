"""Tests of `wsredis.brokers.redis.fetches`."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.fetches import Fetches
from wsredis.errors import BrokerUnavailable


class FetchesTests(SynchronousTestCase):
    """The questions of one turn are one question."""

    def setUp(self) -> None:
        """Nothing was asked."""
        self.clock = Clock()
        self.asked: list[tuple[Sequence[bytes], Deferred[dict[bytes, bytes]]]] = []
        self.settled: list[dict[bytes, bytes]] = []
        self.not_ready: list[Deferred[dict[bytes, bytes]]] = []
        self.fetches = Fetches(self.clock, self.ask, self.ready)

    def ask(self, names: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """Take a question, whose answer is up to the test."""
        answer: Deferred[dict[bytes, bytes]] = Deferred()
        self.asked.append((names, answer))
        return answer

    def ready(self, values: dict[bytes, bytes]) -> Deferred[dict[bytes, bytes]]:
        """Hand out messages at once, or as the test has prepared it."""
        self.settled.append(values)
        return self.not_ready.pop() if values and self.not_ready else succeed(values)

    def test_nothing_stored(self) -> None:
        """A client for whom nothing is stored does not wait for what its neighbours wait for."""
        for outcome in ({b"a": b"1"}, BrokerUnavailable("lost")):
            later: Deferred[dict[bytes, bytes]] = Deferred()
            self.not_ready = [later]
            some, none = (self.fetches.fetch([name]) for name in (b"a", b"b"))
            self.clock.advance(0)
            self.asked[-1][1].callback({b"a": b"1"})
            self.assertEqual({}, self.successResultOf(none))
            self.assertNoResult(some)
            if isinstance(outcome, dict):
                later.callback(outcome)
                self.assertEqual(outcome, self.successResultOf(some))
            else:
                later.errback(outcome)
                self.failureResultOf(some, BrokerUnavailable)
        self.assertEqual([{}, {b"a": b"1"}] * 2, self.settled)

    def test_together(self) -> None:
        """Each channel is asked for once, and each client gets its own messages."""
        both = self.fetches.fetch([b"a", b"b"])
        one = self.fetches.fetch([b"b"])
        none = self.fetches.fetch([b"c"])
        self.assertEqual([], self.asked)
        self.clock.advance(0)
        ((names, answer),) = self.asked
        self.assertEqual([b"a", b"b", b"c"], names)
        answer.callback({b"a": b"1", b"b": b"2"})
        self.assertEqual({b"a": b"1", b"b": b"2"}, self.successResultOf(both))
        self.assertEqual({b"b": b"2"}, self.successResultOf(one))
        self.assertEqual({}, self.successResultOf(none))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_next_turn(self) -> None:
        """A question of the next turn does not get an answer that is under way: it may be older."""
        self.fetches.fetch([b"a"])
        self.clock.advance(0)
        self.fetches.fetch([b"a"])
        self.clock.advance(0)
        self.assertEqual([[b"a"], [b"a"]], [names for names, _ in self.asked])

    def test_failure(self) -> None:
        """All of them fail."""
        fetched = [self.fetches.fetch([name]) for name in (b"a", b"b")]
        self.clock.advance(0)
        self.asked[0][1].errback(BrokerUnavailable("lost"))
        for each in fetched:
            self.failureResultOf(each, BrokerUnavailable)

    def test_cancelled(self) -> None:
        """A client that has left is not asked for, and takes nothing from the others."""
        left, waiting, stays = (self.fetches.fetch([name]) for name in (b"a", b"b", b"c"))
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.clock.advance(0)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        ((names, answer),) = self.asked
        self.assertEqual([b"b", b"c"], names)
        answer.callback({b"b": b"1", b"c": b"2"})
        self.assertEqual({b"c": b"2"}, self.successResultOf(stays))

    def test_cancelled_before_a_failure(self) -> None:
        """The same if the question fails."""
        fetched = self.fetches.fetch([b"a"])
        self.clock.advance(0)
        fetched.cancel()
        self.failureResultOf(fetched, CancelledError)
        self.asked[0][1].errback(BrokerUnavailable("lost"))

    def test_nobody_left(self) -> None:
        """If all have left, nothing is asked."""
        self.failureResultOf(self.cancelled(), CancelledError)
        self.clock.advance(0)
        self.assertEqual([], self.asked)

    def cancelled(self) -> Deferred[dict[bytes, bytes]]:
        """Ask, and leave."""
        fetched = self.fetches.fetch([b"a"])
        fetched.cancel()
        return fetched

    def test_stop(self) -> None:
        """Stopping fails what was not asked yet, and leaves no timer. Repeating it is harmless."""
        fetched = self.fetches.fetch([b"a"])
        self.fetches.stop()
        self.fetches.stop()
        self.failureResultOf(fetched, BrokerUnavailable)
        self.assertEqual([], self.clock.getDelayedCalls())
