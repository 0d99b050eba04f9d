"""Tests for `wsredis.layer.members`."""

from __future__ import annotations

import logging
from threading import RLock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import MemoryCarrier, MemoryRedis
from wsredis.layer.mailbox import Mailbox, Mailboxes
from wsredis.layer.members import Handlers, Memberships
from wsredis.layer.messages import Codec
from wsredis.layer.names import Names
from wsredis.layer.quiet import Quiet
from wsredis.layer.routes import Routes


class _Sink:
    """Hands publications to handlers."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `Sink`."""
        self._handlers[0][channel](payload)

    def gap(self, seconds: float) -> None:
        """See `Sink`."""


class MemberTests(SynchronousTestCase):
    """Groups of channels of one process."""

    def setUp(self) -> None:
        """Make groups whose memberships last 100 seconds, and messages that last 60."""
        self.clock = Clock()
        lock = RLock()
        self.handlers: Handlers = [{}]
        self.redis = MemoryRedis()
        self.carrier = MemoryCarrier(self.redis, _Sink(self.handlers))
        self.codec = Codec()
        self.routes = Routes([Names()], self.codec)
        self.mailboxes = Mailboxes(
            lambda _: 2,
            lambda mailbox: self.members.discard_all(mailbox),
            lock,
            1000,
            self.clock.seconds,
        )
        self.lines: list[str] = []
        log = logging.Logger("test")
        log.addFilter(lambda record: self.lines.append(record.getMessage()) is not None)
        self.members = Memberships(
            self.mailboxes, [self.carrier], self.handlers, lock, 60, 100, Quiet(log)
        )

    def add(self, mailbox: Mailbox, group: str = "g") -> list[Exception | None]:
        """Put a mailbox into a group."""
        found: list[Exception | None] = []
        self.members.add(mailbox, self.routes.find(group), found.append)
        return found

    def send(self, group: str = "g", name: str = "x") -> None:
        """Send to a group."""
        for command in self.routes.find(group).commands({"type": name}):
            self.redis.execute(command)

    def test_heard(self) -> None:
        """A channel hears its groups, once however often it was added, until it leaves."""
        first, second = self.mailboxes.make("a"), self.mailboxes.make("b")
        self.assertEqual([None], self.add(first))
        self.assertEqual([None], self.add(first))
        self.add(second)
        self.send()
        self.assertEqual([1, 1], [len(first), len(second)])
        self.members.discard(first, "g")
        self.members.discard(first, "g")
        self.members.discard(first, "other")
        self.send()
        self.assertEqual([1, 2], [len(first), len(second)])
        self.members.discard(second, "g")
        self.assertEqual(({}, [{}], 0), (self.carrier.counts, self.handlers, len(self.members)))

    def test_removed(self) -> None:
        """A mailbox that is removed leaves its groups, and the last one ends the subscription."""
        mailbox = self.mailboxes.make("a")
        self.add(mailbox, "g")
        self.add(mailbox, "h")
        self.members.discard_all(mailbox)
        self.assertEqual(({}, set()), (self.carrier.counts, mailbox.groups))

    def test_expiry(self) -> None:
        """A membership ends after its time, unless it was renewed."""
        first, second = self.mailboxes.make("a"), self.mailboxes.make("b")
        self.add(first)
        self.add(second)
        self.clock.advance(99)
        self.add(second)
        self.clock.advance(2)
        self.send()
        self.assertEqual([0, 1], [len(first), len(second)])
        self.assertEqual({b"asgi:group:g": 1}, self.carrier.counts)

    def test_message_expiry(self) -> None:
        """A message is kept for its time."""
        mailbox = self.mailboxes.make("a")
        self.add(mailbox)
        self.send()
        self.assertIsNone(mailbox.take(self.clock.seconds() + 60))
        self.send()
        self.assertIsNotNone(mailbox.take(self.clock.seconds() + 59))

    def test_full(self) -> None:
        """A channel without room misses the message, the others do not, and one line tells."""
        full, other = self.mailboxes.make("a"), self.mailboxes.make("b")
        self.add(full)
        self.send()
        self.send()
        self.add(other)
        self.send()
        self.send()
        self.assertEqual([2, 2], [len(full), len(other)])
        self.assertEqual(["1 of 2 channels over capacity in group g"], self.lines)

    def test_bad(self) -> None:
        """What is no message is dropped, with a line, and harms nobody."""
        mailbox = self.mailboxes.make("a")
        self.add(mailbox)
        self.redis.execute((b"PUBLISH", b"asgi:group:g", b"\xc1"))
        self.send()
        self.assertEqual(1, len(mailbox))
        [line] = self.lines
        self.assertIn("dropped a message to group g: not a message", line)

    def test_away(self) -> None:
        """If Redis is away the reason is told, and the channel is in the group until it is out."""
        mailbox = self.mailboxes.make("a")
        self.redis.away = True
        [error] = self.add(mailbox)
        self.assertIsInstance(error, OSError)
        self.assertEqual({"g"}, mailbox.groups)
        self.members.clear()
        self.assertEqual(({}, set()), (self.carrier.counts, mailbox.groups))
