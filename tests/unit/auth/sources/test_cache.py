"""Tests of `wsredis.auth.sources.cache`; test_subrequest has more, through real HTTP."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.answer import Answer
from wsredis.auth.sources.cache import AnswerCache
from wsredis.gateway.identity import Identity

ANSWER = Answer(200)


class AnswerCacheTests(SynchronousTestCase):
    """`AnswerCache`."""

    def setUp(self) -> None:
        """Keep answers for 10 seconds."""
        self.clock = Clock()
        self.cache = AnswerCache(10.0, self.clock.seconds, 1.5)
        self.requests: list[Deferred[Answer]] = []
        self.cancelled: list[Deferred[Answer]] = []

    def ask(self) -> Deferred[Answer]:
        """Make a request that waits for the test."""
        self.requests.append(Deferred(self.cancelled.append))
        return self.requests[-1]

    def get(self, key: bytes = b"key") -> Deferred[Answer]:
        """Ask a question."""
        return self.cache.get(key, self.ask)

    def test_kept(self) -> None:
        """An answer is kept for its time, and no longer than it is valid."""
        for answer, seconds in ((ANSWER, 10.0), (Answer(200, identity=Identity(expires=4.0)), 4.0)):
            self.setUp()
            first = self.get()
            self.requests[0].callback(answer)
            self.assertIs(answer, self.successResultOf(first))
            self.clock.advance(seconds - 0.5)
            self.assertIs(answer, self.successResultOf(self.get()))
            self.clock.advance(0.5)
            self.assertNoResult(self.get())
            self.assertEqual(2, len(self.requests))

    def test_at_once(self) -> None:
        """An answer may come synchronously."""
        found = self.cache.get(b"key", lambda: succeed(ANSWER))
        self.assertIs(ANSWER, self.successResultOf(found))
        self.assertIs(ANSWER, self.successResultOf(self.get()))

    def test_failure(self) -> None:
        """A failure goes to all who wait, cancels nothing, and is not kept."""
        waiting = [self.get(), self.get()]
        self.requests[0].errback(ValueError("no"))
        for each in waiting:
            self.failureResultOf(each, ValueError)
        self.assertEqual([], self.cancelled)
        self.assertNoResult(self.get())

    def test_cancel(self) -> None:
        """The request is cancelled with the last who waits."""
        waiting = [self.get(), self.get()]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.assertEqual([], self.cancelled)
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.assertEqual(self.requests, self.cancelled)
        self.assertNoResult(self.get())
        self.assertEqual(2, len(self.requests))

    def test_keys(self) -> None:
        """Different questions are different requests."""
        one, other = self.get(b"one"), self.get(b"other")
        self.requests[1].callback(ANSWER)
        self.assertNoResult(one)
        self.assertIs(ANSWER, self.successResultOf(other))

    def test_old_request(self) -> None:
        """If no answer is kept, a request is shared only as long as it has time left."""
        self.cache = AnswerCache(0.0, self.clock.seconds, 1.5)
        old = [self.get()]
        self.clock.advance(1.5)
        old.append(self.get())
        self.clock.advance(0.5)
        new = [self.get(), self.get()]
        self.assertEqual(2, len(self.requests))
        self.requests[0].errback(ValueError("no answer in time"))
        for each in old:
            self.failureResultOf(each, ValueError)
        new.append(self.get())
        self.requests[1].callback(ANSWER)
        self.assertEqual([ANSWER] * 3, [self.successResultOf(each) for each in new])
        self.get()
        self.assertEqual(3, len(self.requests))

    def test_old_request_of_a_kept_answer(self) -> None:
        """If answers are kept, one request is enough, however long it takes."""
        first = self.get()
        self.clock.advance(2)
        second = self.get()
        self.requests[0].callback(ANSWER)
        self.assertEqual([ANSWER] * 2, [self.successResultOf(each) for each in (first, second)])
        self.assertEqual(1, len(self.requests))

    def test_clear(self) -> None:
        """Clearing drops answers; a request under way serves only those who wait already."""
        self.get(b"kept")
        self.requests[0].callback(ANSWER)
        early = self.get()
        self.cache.clear()
        late = self.get()
        self.assertNoResult(self.get(b"kept"))
        self.requests[1].callback(Answer(401))
        self.assertEqual(401, self.successResultOf(early).status)
        self.assertNoResult(late)
        self.requests[2].callback(ANSWER)
        self.assertIs(ANSWER, self.successResultOf(late))
        self.assertIs(ANSWER, self.successResultOf(self.get()))
