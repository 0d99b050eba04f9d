"""Tests of `wsredis.auth.sources.django.threads`: real threads, a reactor that waits for them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread, current_thread
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.threads import ThreadReactor
from wsredis.auth.sources.django.threads import BoundedThreads
from wsredis.errors import HandshakeRejected

PATIENCE = 20.0


class BoundedThreadsTests(SynchronousTestCase):
    """`BoundedThreads`."""

    def setUp(self) -> None:
        """Two threads."""
        self.reactor = ThreadReactor()
        self.ended = Event()
        self.threads = BoundedThreads(self.reactor, 2, self.ended.set)
        self.addCleanup(self.threads.stop)

    def held(self) -> tuple[Event, Callable[[], Thread]]:
        """A function that returns its thread once the event is set."""
        event = Event()
        self.addCleanup(event.set)

        def function() -> Thread:
            assert event.wait(PATIENCE)
            return current_thread()

        return event, function

    def test_answer(self) -> None:
        """A result comes from another thread, and only when the reactor takes it."""
        result = self.threads.call(current_thread)
        self.assertNoResult(result)
        self.reactor.take()
        thread = self.successResultOf(result)
        self.assertIsNot(current_thread(), thread)
        self.assertTrue(thread.daemon)

    def test_error(self) -> None:
        """An exception arrives, whatever its class, and the thread goes on."""
        self.threads.stop()
        self.threads = BoundedThreads(self.reactor, 1, self.ended.set)
        self.addCleanup(self.threads.stop)
        first = self.threads.call(current_thread)
        self.reactor.take()
        for error in (ValueError, SystemExit, KeyboardInterrupt):

            def function(error: type[BaseException] = error) -> None:
                raise error("words")

            result = self.threads.call(function)
            self.reactor.take()
            self.assertEqual("words", str(self.failureResultOf(result, error).value))
        last = self.threads.call(current_thread)
        self.reactor.take()
        self.assertIs(self.successResultOf(first), self.successResultOf(last))

    def test_bounded(self) -> None:
        """More calls than threads wait for their turn, and are made in order."""
        events, functions = zip(*(self.held() for _ in range(4)), strict=True)
        results = [self.threads.call(function) for function in functions]
        for event in events[2:]:
            event.set()
        events[0].set()
        others = [results[number] for number in (0, 2, 3)]
        self.reactor.run_until(lambda: all(each.called for each in others))
        used = {self.successResultOf(results[number]) for number in (0, 2, 3)}
        self.assertNoResult(results[1])
        events[1].set()
        self.reactor.take()
        self.assertEqual(2, len({*used, self.successResultOf(results[1])}))

    def test_cancel(self) -> None:
        """A cancelled call has no result; one that still waits is never made."""
        held = [self.held() for _ in range(2)]
        asked: list[int] = []
        results: list[Any] = [self.threads.call(function) for _, function in held]
        results.append(self.threads.call(lambda: asked.append(1)))
        for result in results:
            result.cancel()
            self.failureResultOf(result, CancelledError)
        for event, _ in held:
            event.set()
        after = self.threads.call(lambda: 1)
        self.reactor.run_until(lambda: after.called)
        self.assertEqual(1, self.successResultOf(after))
        self.assertEqual([], asked)

    def test_cancel_during_clean_up(self) -> None:
        """The same if the thread that will make the call is cleaning up after another one."""
        self.threads.stop()
        cleaning, event = Event(), Event()
        self.addCleanup(event.set)
        seen: list[str] = []

        def clean_up() -> None:
            if seen:
                cleaning.set()
                assert event.wait(PATIENCE)

        self.threads = BoundedThreads(self.reactor, 1, self.ended.set, clean_up)
        self.addCleanup(self.threads.stop)
        first = self.threads.call(lambda: seen.append("first"))
        self.assertTrue(cleaning.wait(PATIENCE))
        cancelled = self.threads.call(lambda: seen.append("cancelled"))
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        event.set()
        last = self.threads.call(lambda: seen.append("last"))
        self.reactor.run_until(lambda: first.called and last.called)
        self.assertEqual(["first", "last"], seen)

    def test_one_notice(self) -> None:
        """The reactor takes all results at once that there are by then."""
        held = [self.held() for _ in range(2)]
        results: list[Any] = [self.threads.call(function) for _, function in held]
        done = Event()
        results += [self.threads.call(lambda: None) for _ in range(5)]
        results.append(self.threads.call(done.set))
        held[0][0].set()
        self.assertTrue(done.wait(PATIENCE))
        self.reactor.take()
        self.assertEqual([True, False], [each.called for each in results[:2]])
        self.assertTrue(all(each.called for each in results[2:7]))
        held[1][0].set()
        self.reactor.run_until(lambda: results[1].called)

    def test_clean_up(self) -> None:
        """A thread cleans up before the first and after the last of the calls that wait."""
        self.threads.stop()
        seen: list[object] = []
        self.threads = BoundedThreads(self.reactor, 1, self.ended.set, lambda: seen.append("clean"))
        self.addCleanup(self.threads.stop)
        event, function = self.held()
        results: list[Any] = [self.threads.call(function)]
        results += [self.threads.call(lambda: seen.append("call")) for _ in range(2)]
        event.set()
        self.reactor.run_until(lambda: all(each.called for each in results))
        self.assertEqual(["clean", "call", "call", "clean"], seen)

    def test_clean_up_of_a_long_run(self) -> None:
        """A thread that is never idle cleans up all the same."""
        self.threads.stop()
        seen: dict[Thread, list[str]] = {}

        def see(what: str) -> None:
            seen.setdefault(current_thread(), []).append(what)

        self.threads = BoundedThreads(self.reactor, 5, self.ended.set, lambda: see("clean"))
        self.addCleanup(self.threads.stop)
        held = [self.held() for _ in range(5)]
        results: list[Any] = [self.threads.call(function) for _, function in held]
        results += [self.threads.call(lambda: see("call")) for _ in range(80)]
        held[0][0].set()
        self.reactor.run_until(lambda: all(each.called for each in results[5:]))
        for event, _ in held:
            event.set()
        self.reactor.run_until(lambda: all(each.called for each in results))
        expected = ["clean", *["call"] * 63, "clean", *["call"] * 17, "clean"]
        self.assertEqual(expected, seen[self.successResultOf(results[0])])

    def test_too_many(self) -> None:
        """If too many calls wait already, the next one is refused at once."""
        event, function = self.held()
        results = [self.threads.call(function) for _ in range(2 + 2 * 16)]
        error = self.assertRaises(HandshakeRejected, self.threads.call, function)
        self.assertEqual(503, error.status)
        self.assertIn("--auth-concurrency", error.hint)
        event.set()
        self.reactor.run_until(lambda: all(each.called for each in results))
        self.assertEqual(34, len([self.successResultOf(result) for result in results]))

    def test_addresses(self) -> None:
        """Calls of one address neither fill the queue nor go before one of another address."""
        self.threads.stop()
        self.threads = BoundedThreads(self.reactor, 1, self.ended.set)
        self.addCleanup(self.threads.stop)
        event, function = self.held()
        made: list[str] = []
        results: list[Any] = [self.threads.call(function, "hostile")]
        for _ in range(11):
            results.append(self.threads.call(lambda: made.append("hostile"), "hostile"))
        error = self.assertRaises(HandshakeRejected, self.threads.call, function, "hostile")
        self.assertEqual(503, error.status)
        results.append(self.threads.call(lambda: made.append("other"), "other"))
        event.set()
        self.reactor.run_until(lambda: all(each.called for each in results))
        self.assertEqual(1, made.index("other"))
        self.assertEqual(12, len(made))

    def test_stop(self) -> None:
        """Stopping waits for no thread: all results fail, and idle threads end."""
        held = [self.held() for _ in range(2)]
        results: list[Any] = [self.threads.call(function) for _, function in held]
        results.append(self.threads.call(lambda: None))
        self.threads.stop()
        for result in results:
            error = self.failureResultOf(result, HandshakeRejected).value
            self.assertEqual((503, "the gateway stops"), (error.status, error.hint))
        self.assertRaises(HandshakeRejected, self.threads.call, lambda: None)
        self.assertFalse(self.ended.is_set())
        held[0][0].set()
        self.assertTrue(self.ended.wait(PATIENCE))
        self.reactor.take()

    def test_no_more_threads(self) -> None:
        """If the system cannot start a thread, that call is refused, and no later one."""
        refusing = self.patch(Thread, "start", self.no_thread)
        for _ in range(3):
            error = self.assertRaises(HandshakeRejected, self.threads.call, current_thread)
            self.assertEqual((503, "no thread can be started"), (error.status, error.hint))
        refusing.restore()
        result = self.threads.call(current_thread)
        self.reactor.take()
        self.assertTrue(self.successResultOf(result).daemon)

    @staticmethod
    def no_thread(thread: Thread) -> None:
        """Fail as Python does when the system has no thread."""
        raise RuntimeError("can't start new thread")

    def test_lazy(self) -> None:
        """There is no thread before the first call."""
        self.threads.stop()
        self.assertFalse(self.ended.wait(0))
