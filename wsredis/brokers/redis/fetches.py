"""Reads of stored messages: clients that ask at the same time are answered together, in parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from wsredis.errors import BrokerUnavailable

__all__ = ["Fetches"]

#: Rounds of questions under way, each with one batch of messages in memory. Further questions wait,
#: and are asked in one of the next rounds.
_ROUNDS = 4

#: Channels in one round: a client waits for no more than these, if they all have large messages.
_CHANNELS = 64


class Read(Protocol):
    """Reads stored messages: see `wsredis.brokers.redis.commands.Commands.fetch_each`."""

    def __call__(
        self,
        channels: Sequence[bytes],
        take: Callable[[dict[bytes, bytes]], Deferred[None]],
        sized: Callable[[Collection[bytes]], None],
        /,
    ) -> Awaitable[object]:
        """Read the stored messages of *channels*."""


class _Question:
    """
    The channels that one client asks for.

    Attributes:
        waiter: Fires with *found*.
        found: The messages that were read so far.
        missing: The number of those that were not.
    """

    __slots__ = ("channels", "found", "missing", "waiter")

    def __init__(self, channels: Sequence[bytes]) -> None:
        self.channels = channels
        self.waiter: Deferred[dict[bytes, bytes]] = Deferred()
        self.found: dict[bytes, bytes] = {}
        self.missing = 0

    def answer(self) -> None:
        """Hand out what was found, unless the client has left."""
        # It must not wait here until the round has ended.
        found, self.found = self.found, {}
        if not self.waiter.called:
            self.waiter.callback(found)

    def fail(self, failure: Failure) -> None:
        """Fail, unless the client has been answered or has left."""
        if not self.waiter.called:
            self.waiter.errback(failure)


class Fetches:
    """
    Collects the questions of a turn of the reactor, and asks for all of them at once.

    A client is answered as soon as its own messages are there. However many ask, and however large
    the messages are, few of them are in memory at a time.

    Args:
        clock: Tells when the turn is over.
        read: Reads the stored messages of channels. Each channel is asked for once.
        ready: Called with messages that were read; fires when they may be handed out. Called apart
            for the clients for whom nothing is stored, with no messages: they neither wait nor fail
            with the others.
    """

    def __init__(
        self,
        clock: IReactorTime,
        read: Read,
        ready: Callable[[dict[bytes, bytes]], Deferred[Any]],
    ) -> None:
        self._clock = clock
        self._read = read
        self._ready = ready
        self._questions: list[_Question] = []
        self._turn: IDelayedCall | None = None
        self._rounds = 0

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        question = _Question(channels)
        self._questions.append(question)
        self._ask_later()
        return question.waiter

    def stop(self) -> None:
        """Fail the questions that were not asked yet. The owner passes on no more of them."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        questions, self._questions = self._questions, []
        _fail_all(Failure(BrokerUnavailable("the gateway stops")), questions)

    def _ask_later(self) -> None:
        if self._questions and self._turn is None and self._rounds < _ROUNDS:
            self._turn = self._clock.callLater(0, self._ask)

    def _ask(self) -> None:
        """Begin a round."""
        self._turn = None
        # A client that has left cancelled its question.
        questions = [each for each in self._questions if not each.waiter.called]
        asked: dict[bytes, list[_Question]] = {}
        count = 0
        for question in questions:
            if len(asked) >= _CHANNELS:
                break
            for name in question.channels:
                asked.setdefault(name, []).append(question)
            count += 1
        self._questions = questions[count:]
        if count:
            self._rounds += 1
            done = Deferred.fromCoroutine(self._answer(questions[:count], asked))
            done.addBoth(self._end_round)
        self._ask_later()

    def _end_round(self, _: object) -> None:
        self._rounds -= 1
        self._ask_later()

    async def _answer(
        self, questions: list[_Question], asked: dict[bytes, list[_Question]]
    ) -> None:
        """Read the messages of the channels that were *asked*, and answer *questions*."""

        def sized(names: Collection[bytes]) -> None:
            for name in names:
                for question in asked[name]:
                    question.missing += 1
            self._answer_rest([each for each in questions if not each.missing])
            questions[:] = [each for each in questions if each.missing]

        def take(found: dict[bytes, bytes]) -> Deferred[None]:
            if all(each.waiter.called for each in questions):
                # The rest would be read for nobody.
                raise CancelledError
            return self._ready(found).addCallback(hand_out, found)

        def hand_out(_: object, found: dict[bytes, bytes]) -> None:
            for name, message in found.items():
                for question in asked[name]:
                    question.found[name] = message
                    question.missing -= 1
                    if not question.missing:
                        question.answer()

        try:
            await self._read([*asked], take, sized)
        except Exception:
            _fail_all(Failure(), questions)
        else:
            # A message may have gone after its size was told.
            self._answer_rest([each for each in questions if not each.waiter.called])

    def _answer_rest(self, questions: Sequence[_Question]) -> None:
        """Answer the questions for which nothing more is there."""
        if questions:
            args = (questions,)
            self._ready({}).addCallbacks(
                _answer_all, _fail_all, callbackArgs=args, errbackArgs=args
            )


def _answer_all(_: object, questions: Sequence[_Question]) -> None:
    for question in questions:
        question.answer()


def _fail_all(failure: Failure, questions: Sequence[_Question]) -> None:
    for question in questions:
        question.fail(failure)
