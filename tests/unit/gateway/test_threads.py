"""Tests for `wsredis.gateway.threads`, with real threads and a reactor that waits for the test."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread, current_thread
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.threads import ThreadReactor
from wsredis.errors import HandshakeRejected
from wsredis.gateway.threads import Threads

PATIENCE = 20.0


class ThreadsTests(SynchronousTestCase):
    """`Threads`."""

    def setUp(self) -> None:
        """Two threads."""
        self.reactor = ThreadReactor()
        self.ended = Event()
        self.threads = Threads(self.reactor, 2, self.ended.set)
        self.addCleanup(self.threads.stop)

    def held(self) -> tuple[Event, Callable[[], Thread]]:
        """A question that is answered, with its thread, when the event is set."""
        event = Event()
        self.addCleanup(event.set)

        def question() -> Thread:
            assert event.wait(PATIENCE)
            return current_thread()

        return event, question

    def test_answer(self) -> None:
        """An answer comes from another thread, and only when the reactor takes it."""
        answer = self.threads.ask(current_thread)
        self.assertNoResult(answer)
        self.reactor.take()
        thread = self.successResultOf(answer)
        self.assertIsNot(current_thread(), thread)
        self.assertTrue(thread.daemon)

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

    def test_cancel(self) -> None:
        """Whoever is not waited for is forgotten: asked in vain, or never asked."""
        held = [self.held() for _ in range(2)]
        asked: list[int] = []
        answers: list[Any] = [self.threads.ask(question) for _, question in held]
        answers.append(self.threads.ask(lambda: asked.append(1)))
        for answer in answers:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        for event, _ in held:
            event.set()
            self.reactor.take()
        after = self.threads.ask(lambda: 1)
        self.reactor.take()
        self.assertEqual(1, self.successResultOf(after))
        self.assertEqual([], asked)

    def test_too_many(self) -> None:
        """Where too many wait already, the next is refused at once."""
        event, question = self.held()
        answers = [self.threads.ask(question) for _ in range(2 + 2 * 16)]
        error = self.assertRaises(HandshakeRejected, self.threads.ask, question)
        self.assertEqual(503, error.status)
        self.assertIn("--auth-concurrency", error.hint)
        event.set()
        for _ in answers:
            self.reactor.take()
        self.assertEqual(34, len([self.successResultOf(answer) for answer in answers]))

    def test_stop(self) -> None:
        """Stopping waits for nobody: who waits is refused, and idle threads end."""
        held = [self.held() for _ in range(2)]
        answers: list[Any] = [self.threads.ask(question) for _, question in held]
        answers.append(self.threads.ask(lambda: None))
        self.threads.stop()
        for answer in answers:
            error = self.failureResultOf(answer, HandshakeRejected).value
            self.assertEqual((503, "the gateway stops"), (error.status, error.hint))
        self.assertRaises(HandshakeRejected, self.threads.ask, lambda: None)
        self.assertFalse(self.ended.is_set())
        held[0][0].set()
        self.assertTrue(self.ended.wait(PATIENCE))
        self.reactor.take()

    def test_no_more_threads(self) -> None:
        """Where the system has no thread to give, that question is refused, and no other."""
        refusing = self.patch(Thread, "start", self.no_thread)
        for _ in range(3):
            error = self.assertRaises(HandshakeRejected, self.threads.ask, current_thread)
            self.assertEqual((503, "no thread can be started"), (error.status, error.hint))
        refusing.restore()
        answer = self.threads.ask(current_thread)
        self.reactor.take()
        self.assertTrue(self.successResultOf(answer).daemon)

    @staticmethod
    def no_thread(thread: Thread) -> None:
        """What Python says when the system has none."""
        raise RuntimeError("can't start new thread")

    def test_lazy(self) -> None:
        """There is no thread before there is a question."""
        self.threads.stop()
        self.assertFalse(self.ended.wait(0))
