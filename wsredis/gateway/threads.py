"""Questions that block, asked in threads, so that the reactor never waits for an answer."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from wsredis.errors import HandshakeRejected

__all__ = ["DaemonThreadPool", "Threads"]

_T = TypeVar("_T")

#: So many questions may wait for each thread.
_WAITING = 16


class DaemonThreadPool(ThreadPool):
    """Twisted's pool, with threads that do not keep the process from ending."""

    class threadFactory(Thread):
        """A daemon thread."""

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, daemon=True, **more)


class Threads:
    """
    A bounded number of threads, and of questions that wait for them.

    Those of twisted.python.threadpool would be joined when the process stops: one that hangs in a
    database would keep it from ending.

    Args:
        reactor: Takes calls from threads.
        count: Threads at most. They start when they are needed.
        at_end: Called in each thread that ends.
    """

    def __init__(self, reactor: Any, count: int, at_end: Callable[[], object]) -> None:
        self._reactor = reactor
        self._count = count
        self._at_end = at_end
        self._work: SimpleQueue[tuple[Deferred[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._started = 0
        self._busy = 0
        self._waiting: dict[Deferred[Any], Callable[[], Any]] = {}
        self._asked: set[Deferred[Any]] = set()
        self._stopped = False

    def ask(self, question: Callable[[], _T]) -> Deferred[_T]:
        """
        Call *question* in a thread.

        Returns: Fires with what it returns or raises. Cancelling drops the answer, and a question
            that still waits is never asked.
        Raises:
            HandshakeRejected: With 503: too many wait, the threads are stopped, or the system has
                no more.
        """
        if self._stopped or len(self._waiting) >= _WAITING * self._count:
            raise HandshakeRejected("try again later", 503, "too many wait: --auth-concurrency")
        answer: Deferred[_T] = Deferred(self._forget)
        if self._busy < self._count:
            self._begin(answer, question)
        else:
            self._waiting[answer] = question
        self._asked.add(answer)
        return answer

    def stop(self) -> None:
        """Ask no more. Threads end with what they do now; nobody waits for one that hangs."""
        self._stopped = True
        self._waiting.clear()
        while self._asked:
            self._asked.pop().errback(
                HandshakeRejected("try again later", 503, "the gateway stops")
            )
        for _ in range(self._started):
            self._work.put(None)

    def _begin(self, answer: Deferred[Any], question: Callable[[], Any]) -> None:
        if self._busy == self._started:
            name = f"wsredis-auth-{self._started + 1}"
            try:
                Thread(target=self._run, name=name, daemon=True).start()
            except RuntimeError:
                # Nothing is counted: there may be one the next time.
                raise HandshakeRejected(
                    "try again later", 503, "no thread can be started"
                ) from None
            self._started += 1
        self._busy += 1
        self._work.put((answer, question))

    def _run(self) -> None:
        """The life of a thread."""
        while (work := self._work.get()) is not None:
            answer, question = work
            result: Any
            try:
                result = question()
            except BaseException as error:
                result = Failure(error)
                # The frames hold what the client sent.
                result.cleanFailure()
            self._reactor.callFromThread(self._answered, answer, result)
            # A thread that waits keeps nothing of the last client.
            del work, answer, question, result
        self._at_end()

    def _answered(self, answer: Deferred[Any], result: Any) -> None:
        self._busy -= 1
        if answer in self._asked:
            self._asked.discard(answer)
            answer.callback(result)
        if self._waiting and not self._stopped:
            first = next(iter(self._waiting))
            self._begin(first, self._waiting.pop(first))

    def _forget(self, answer: Deferred[Any]) -> None:
        self._asked.discard(answer)
        self._waiting.pop(answer, None)
