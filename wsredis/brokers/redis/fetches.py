"""Reads of stored messages: one round trip for all clients that ask in one turn of the reactor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from wsredis.errors import BrokerUnavailable

__all__ = ["Fetches"]

#: The channels that one client asks for, and where it waits for the messages.
_Question = tuple[Sequence[bytes], Deferred[dict[bytes, bytes]]]


class Fetches:
    """
    Collects the questions of one turn of the reactor, and asks for all of them at once.

    Args:
        clock: Tells when the turn is over.
        fetch: Reads the stored messages of channels. Each channel is asked for once.
        ready: Called with messages that were read; fires with them when they may be handed out.
            Called apart for the clients for whom nothing is stored, with no messages: they neither
            wait nor fail with the others.
    """

    def __init__(
        self,
        clock: IReactorTime,
        fetch: Callable[[Sequence[bytes]], Deferred[dict[bytes, bytes]]],
        ready: Callable[[dict[bytes, bytes]], Deferred[dict[bytes, bytes]]],
    ) -> None:
        self._clock = clock
        self._fetch = fetch
        self._ready = ready
        self._questions: list[_Question] = []
        self._turn: IDelayedCall | None = None

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        waiter: Deferred[dict[bytes, bytes]] = Deferred()
        self._questions.append((channels, waiter))
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._ask)
        return waiter

    def stop(self) -> None:
        """Fail the questions that were not asked yet. The owner passes on no more of them."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        questions, self._questions = self._questions, []
        _fail(Failure(BrokerUnavailable("the gateway stops")), questions)

    def _ask(self) -> None:
        self._turn = None
        # A client that has left cancelled its question.
        questions = [each for each in self._questions if not each[1].called]
        self._questions = []
        if questions:
            names = dict.fromkeys(name for channels, _ in questions for name in channels)
            self._fetch(list(names)).addCallbacks(
                self._found, _fail, callbackArgs=(questions,), errbackArgs=(questions,)
            )

    def _found(self, values: dict[bytes, bytes], questions: Sequence[_Question]) -> None:
        none = [each for each in questions if values.keys().isdisjoint(each[0])]
        some = [each for each in questions if not values.keys().isdisjoint(each[0])]
        for group in filter(None, (none, some)):
            ready = self._ready({} if group is none else values)
            ready.addCallbacks(_answer, _fail, callbackArgs=(group,), errbackArgs=(group,))


def _answer(values: dict[bytes, bytes], questions: Sequence[_Question]) -> None:
    for channels, waiter in questions:
        if not waiter.called:
            waiter.callback({name: values[name] for name in channels if name in values})


def _fail(failure: Failure, questions: Sequence[_Question]) -> None:
    for _, waiter in questions:
        if not waiter.called:
            waiter.errback(failure)
