"""A cache of answers to ``--auth-url``, in which equal questions share one request."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from wsredis.auth.sources.answer import Answer
from wsredis.gateway.signal import Signal

__all__ = ["AnswerCache"]

#: Answers that are kept.
_MAX_ANSWERS = 4096


class _SharedRequest:
    """
    One request, and the clients that wait for its answer.

    Args:
        cancel: Called when the last waiting client has left.
        since: Unix time in seconds at which it began.
    """

    def __init__(self, cancel: Callable[[], None], since: float) -> None:
        self._cancel = cancel
        self.since = since
        self._answered: Signal[Answer] = Signal()
        self._is_done = False

    def join(self) -> Deferred[Answer]:
        """
        Wait for the answer.

        Returns:
            Fires with the answer, or fails as the request does. Cancelling it affects no other
            client.
        """
        return self._answered.wait().addErrback(self._cancelled)

    def finish(self, outcome: Answer | Failure) -> None:
        """Give all waiting clients the outcome."""
        self._is_done = True
        if isinstance(outcome, Failure):
            self._answered.fail(outcome)
        else:
            self._answered.fire(outcome)

    def _cancelled(self, failure: Failure) -> Failure:
        if not self._is_done and not len(self._answered):
            self._cancel()
        return failure


class AnswerCache:
    """
    Keeps answers for a time, and makes one request for all clients that ask the same meanwhile.

    Args:
        seconds: Time for which an answer is kept, unless it expires before. 0 keeps none.
        now: Returns the Unix time in seconds.
        max_age: Age in seconds up to which a request is shared if no answer is kept. An older one
            may fail for lack of time although the client that would join it has time left.
    """

    def __init__(self, seconds: float, now: Callable[[], float], max_age: float) -> None:
        self._seconds = seconds
        self._now = now
        self._max_age = max_age
        #: Answers by questions, with the Unix time until which they hold.
        self._answers: dict[bytes, tuple[float, Answer]] = {}
        self._requests: dict[bytes, _SharedRequest] = {}

    def get(self, key: bytes, ask: Callable[[], Deferred[Answer]]) -> Deferred[Answer]:
        """
        Answer a question from the cache, or ask.

        Args:
            key: Identifies the question.
            ask: Makes the request. Its Deferred is cancelled when no client waits any more.
        Returns:
            Fires with the answer, or fails as *ask* does; a failure is not kept. Cancelling it
            affects no other client.
        """
        until, answer = self._answers.get(key, (0.0, None))
        if answer is not None and self._now() < until:
            return succeed(answer)
        shared = self._requests.get(key)
        if shared is not None and (self._seconds or self._now() - shared.since <= self._max_age):
            return shared.join()
        shared = self._requests[key] = _SharedRequest(lambda: request.cancel(), self._now())
        waiter = shared.join()

        def finish(outcome: Answer | Failure) -> None:
            # If it is another one by now, this answer is older than `clear`, or is not kept anyway.
            if self._requests.get(key) is shared:
                del self._requests[key]
                if isinstance(outcome, Answer) and self._seconds:
                    self._keep(outcome, key)
            shared.finish(outcome)

        request = ask()
        request.addBoth(finish)
        return waiter

    def clear(self) -> None:
        """Drop all answers. Requests that are under way serve only clients that wait already."""
        self._answers.clear()
        self._requests.clear()

    def _keep(self, answer: Answer, key: bytes) -> None:
        # An older answer goes first, so that the oldest key is always the first one.
        self._answers.pop(key, None)
        if len(self._answers) >= _MAX_ANSWERS:
            del self._answers[next(iter(self._answers))]
        until = self._now() + self._seconds
        if answer.identity.expires is not None:
            until = min(until, answer.identity.expires)
        self._answers[key] = (until, answer)
