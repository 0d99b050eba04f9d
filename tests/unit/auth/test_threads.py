"""Tests for `wsredis.auth.threads`, with real threads on a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread, current_thread
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import ThreadedClock
from wsredis.auth import Refused
from wsredis.auth.threads import Threads

PATIENCE = 20.0


class ThreadsTests(SynchronousTestCase):
    """`Threads`."""

    def setUp(self) -> None:
        """Two threads that have five seconds."""
        self.reactor = ThreadedClock()
        self.ended = Event()
        self.threads = Threads(self.reactor, 2, 5.0, self.ended.set)
        self.addCleanup(self.threads.stop)

    def held(self) -> tuple[Event, Callable[[], Thread]]:
        """A question that is answered, with its thread, when the event is set."""
        event = Event()
        self.addCleanup(event.set)

        def question() -> Thread:
            assert event.wait(PATIENCE)
            return current_thread()

        return event, question

    def refused(self, deferred: Any, hint: str) -> None:
        """There was a 503 whose hint says so."""
        error = self.failureResultOf(deferred, Refused).value
        self.assertEqual(503, error.status)
        self.assertIn(hint, error.hint)

    def test_answer(self) -> None:
        """An answer comes from another thread, and only when the reactor takes it."""
        answer = self.threads.ask(current_thread)
        self.assertNoResult(answer)
        self.reactor.take()
        thread = self.successResultOf(answer)
        self.assertIsNot(current_thread(), thread)
        self.assertTrue(thread.daemon)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_error(self) -> None:
        """What is raised arrives, whatever it is, and the thread goes on."""
        first = self.threads.ask(current_thread)
        self.reactor.take()
        for error in (ValueError, SystemExit, KeyboardInterrupt):

            def question(error: type[BaseException] = error) -> None:
                raise error("words")

            answer = self.threads.ask(question)
            self.reactor.take()
            self.assertEqual("words", str(self.failureResultOf(answer, error).value))
        last = self.threads.ask(current_thread)
        self.reactor.take()
        self.assertIs(self.successResultOf(first), self.successResultOf(last))

    def test_bounded(self) -> None:
        """More questions than threads wait for their turn, and are answered in order."""
        events, questions = zip(*(self.held() for _ in range(4)), strict=True)
        answers = [self.threads.ask(question) for question in questions]
        for event in events[2:]:
            event.set()
        events[0].set()
        for _ in range(3):
            self.reactor.take()
        used = {self.successResultOf(answers[number]) for number in (0, 2, 3)}
        self.assertNoResult(answers[1])
        events[1].set()
        self.reactor.take()
        self.assertEqual(2, len({*used, self.successResultOf(answers[1])}))

    def test_too_late(self) -> None:
        """Nobody waits longer than told; an answer that comes later is dropped."""
        event, question = self.held()
        answer = self.threads.ask(question)
        self.reactor.advance(4.9)
        self.assertNoResult(answer)
        self.reactor.advance(0.2)
        self.refused(answer, "--auth-timeout")
        event.set()
        self.reactor.take()
        again = self.threads.ask(lambda: "the thread is free")
        self.reactor.take()
        self.assertEqual("the thread is free", self.successResultOf(again))

    def test_too_late_in_the_queue(self) -> None:
        """A question that waited too long is never asked."""
        held = [self.held() for _ in range(2)]
        busy = [self.threads.ask(question) for _, question in held]
        asked: list[int] = []
        late = self.threads.ask(lambda: asked.append(1))
        self.reactor.advance(5.1)
        for answer in (*busy, late):
            self.refused(answer, "--auth-timeout")
        for event, _ in held:
            event.set()
            self.reactor.take()
        after = self.threads.ask(lambda: 1)
        self.reactor.take()
        self.assertEqual(1, self.successResultOf(after))
        self.assertEqual([], asked)

    def test_cancel(self) -> None:
        """A client that leaves is forgotten, waiting or not."""
        held = [self.held() for _ in range(3)]
        answers = [self.threads.ask(question) for _, question in held]
        for answer in answers:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        self.assertEqual([], self.reactor.getDelayedCalls())
        for event, _ in held[:2]:
            event.set()
            self.reactor.take()
        after = self.threads.ask(lambda: 1)
        self.reactor.take()
        self.assertEqual(1, self.successResultOf(after))

    def test_too_many(self) -> None:
        """Where too many wait already, the next is refused at once."""
        event, question = self.held()
        answers = [self.threads.ask(question) for _ in range(2 + 2 * 16)]
        error = self.assertRaises(Refused, self.threads.ask, question)
        self.assertEqual(503, error.status)
        self.assertIn("--auth-concurrency", error.hint)
        event.set()
        for _ in answers:
            self.reactor.take()
        self.assertEqual(34, len([self.successResultOf(answer) for answer in answers]))

    def test_stop(self) -> None:
        """Stopping waits for nobody: who waits is refused, and idle threads end."""
        held = [self.held() for _ in range(2)]
        answers = [self.threads.ask(question) for _, question in held]
        answers.append(self.threads.ask(lambda: None))
        self.threads.stop()
        for answer in answers:
            self.refused(answer, "stops")
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertRaises(Refused, self.threads.ask, lambda: None)
        self.assertFalse(self.ended.is_set())
        held[0][0].set()
        self.assertTrue(self.ended.wait(PATIENCE))
        self.reactor.take()

    def test_lazy(self) -> None:
        """There is no thread before there is a question."""
        self.threads.stop()
        self.assertFalse(self.ended.wait(0))
