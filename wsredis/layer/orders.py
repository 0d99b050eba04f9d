"""What processes tell each other: messages to their channels, and questions about their groups."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from threading import RLock
from typing import Any

from wsredis.config.redis_url import error_text
from wsredis.layer.answers import ask
from wsredis.layer.carrier import Done
from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable
from wsredis.layer.home import Home
from wsredis.layer.mailbox import Mailboxes
from wsredis.layer.members import Memberships
from wsredis.layer.messages import BadPayload, Codec, Parcel, Verb
from wsredis.layer.quiet import Quiet
from wsredis.layer.routes import Routes

__all__ = ["Orders"]

#: Seconds for the answer of another process.
_TIMEOUT = 5.0


class Orders:
    """
    Takes the publications to this process, and asks other processes.

    Args:
        client: The name of this process.
        publish: Publishes to a process.
        forget: Forgets all messages and groups of this process.
        expiry: Seconds that a message is kept.
        lock: That of the station.
        quiet: For log lines.
    """

    def __init__(
        self,
        client: str,
        *,
        publish: Callable[[str, bytes, Done], None],
        forget: Callable[[], None],
        codec: Codec,
        mailboxes: Mailboxes,
        memberships: Memberships,
        routes: Routes,
        expiry: float,
        lock: RLock,
        quiet: Quiet,
    ) -> None:
        self._client = client
        self._publish = publish
        self._forget = forget
        self._codec = codec
        self._mailboxes = mailboxes
        self._memberships = memberships
        self._routes = routes
        self._expiry = expiry
        self._lock = lock
        self._quiet = quiet
        self._numbers = itertools.count(1)
        # Those who wait for an answer, by the number of their question.
        self._questions: dict[str, Callable[[Any], None]] = {}

    def heard(self, payload: bytes) -> None:
        """Take a publication."""
        try:
            verb, name, rest = self._codec.decode_order(payload)
            if verb == Verb.MESSAGE:
                self._deliver(name, rest)
            elif verb in (Verb.ADD, Verb.DISCARD):
                group, client, number = rest
                self._change(verb == Verb.ADD, name, group, client, number)
            elif verb == Verb.DONE:
                answered = self._questions.pop(name, None)
                if answered is not None:
                    answered(None)
            elif verb == Verb.FLUSH and name != self._client:
                self._forget()
        except (BadPayload, TypeError, ValueError) as error:
            text = "dropped a message to this process: %s"
            self._quiet.line(logging.WARNING, "bad", text, error)

    def _deliver(self, channel: str, parcel: Parcel) -> None:
        with self._lock:
            self._mailboxes.prepare(parcel)
            mailbox = self._mailboxes.get(channel)
            # Who has no mailbox has ended.
            letter = (self._mailboxes.clock() + self._expiry, parcel)
            kept = mailbox is None or mailbox.put(letter, asyncio._get_running_loop())
        if not kept:
            text = "dropped a message: channel %s is over capacity"
            self._quiet.line(logging.WARNING, ("full", channel), text, channel)

    def _change(self, adds: bool, channel: str, group: str, client: str, number: str) -> None:
        """Put a channel of this process into a group for another one, or take it out."""

        def done(error: Exception | None) -> None:
            # If Redis went away, the asker has noticed, too.
            order = self._codec.encode_order(Verb.DONE, number)
            self._publish(client, order, lambda _: None)

        with self._lock:
            mailbox = self._mailboxes.get(channel)
        if mailbox is None:
            done(None)
        elif adds:
            self._memberships.add(mailbox, self._routes.find(group), done)
        else:
            self._memberships.discard(mailbox, group)
            done(None)

    async def ask(
        self, home: Home | None, verb: Verb, client: str, channel: str, group: str
    ) -> None:
        """
        Let another process put its channel into a group, or take it out.

        If there is no such process, nothing is to be done.

        Raises:
            LayerUnavailable, LayerOutcomeUnknown: Redis is away, or the process does not answer.
        """
        number = str(next(self._numbers))
        order = self._codec.encode_order(verb, channel, [group, self._client, number])
        late = LayerOutcomeUnknown(f"the process of {channel} does not answer")
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None

        def start(done: Callable[[Any], None]) -> None:
            nonlocal timer
            timer = loop.call_later(_TIMEOUT, done, late)
            self._questions[number] = done
            self._publish(client, order, partial(_not_answered, done))

        try:
            await ask(home, start)
        finally:
            self._questions.pop(number, None)
            if timer is not None:
                timer.cancel()


def _not_answered(done: Callable[[Any], None], replies: Sequence[Any] | Exception) -> None:
    """End a question that no process has heard."""
    reply = replies if isinstance(replies, Exception) else replies[0]
    if isinstance(reply, OSError):
        done(reply)
    elif isinstance(reply, Exception):
        done(LayerUnavailable(error_text(reply)))
    elif not reply:
        done(None)
