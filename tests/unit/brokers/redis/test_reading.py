"""Tests of reading stored messages: by size, and only those of wsredis."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.unit.brokers.redis.case import LinkCase
from wsredis.brokers.redis.reading import Replies, StoredReader, _mget
from wsredis.brokers.redis.stored import StoredKeys, StoredSettings
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.metrics import Metrics
from wsredis.testing.redis import Session

_LARGE = 5000000


class ReaderTests(LinkCase):
    """A reader on one connection."""

    def setUp(self) -> None:
        """Connected, nothing is stored."""
        super().setUp()
        self.link = self.make(max_reply=4 * _LARGE)
        self.link.start()
        self.server.pump()
        self.metrics = Metrics()
        self.use(StoredSettings())
        self.batches: list[dict[bytes, bytes]] = []

    def use(self, settings: StoredSettings) -> None:
        """Make the reader."""
        keys = StoredKeys(self.clock, settings, self.metrics)
        self.reader = StoredReader(self.clock, keys, _LARGE, self.metrics)

    def start_reading(self, channels: Sequence[bytes]) -> Deferred[None]:
        """Begin to read."""
        return Deferred.fromCoroutine(
            self.reader.read(self.protocol(), channels, self.batches.append)
        )

    def read(self, *channels: bytes) -> dict[bytes, bytes]:
        """Read all of it."""
        done = self.start_reading(channels)
        self.server.pump()
        self.successResultOf(done)
        return {name: value for batch in self.batches for name, value in batch.items()}

    def keys_in_batches(self) -> list[int]:
        """The number of keys in each MGET."""
        return [len(words) - 1 for words in self.server.sent(b"MGET")]

    def test_values(self) -> None:
        """Values come byte for byte; missing and empty ones are not asked for."""
        self.server.store(b"a", b"1_000")
        self.server.store(b"b", b"")
        self.server.store(b"c", b"\xff\x00")
        found = self.read(b"a", b"b", b"c", b"d")
        self.assertEqual({b"a": b"1_000", b"c": b"\xff\x00"}, found)
        self.assertEqual([(b"MGET", b"a", b"c")], self.server.sent(b"MGET"))

    def test_key_of_another_type(self) -> None:
        """A list under the name of a channel is passed over, the others come."""
        self.server.store(b"a", ["a list"])
        self.server.store(b"b", b"x")
        self.assertEqual({b"b": b"x"}, self.read(b"a", b"b"))

    def test_many(self) -> None:
        """Many names are asked for in parts."""
        names = [b"c%d" % number for number in range(300)]
        for name in names:
            self.server.store(name, name)
        self.assertEqual({name: name for name in names}, self.read(*names))
        self.assertEqual([256, 44], self.keys_in_batches())

    def test_by_size(self) -> None:
        """No part is larger than a megabyte, unless one message alone is."""
        sizes = [1, 1, 400000, 400000, 400000, 2000000]
        for number, size in enumerate(sizes):
            self.server.store(b"c%d" % number, b"x" * size)
        found = self.read(*[b"c%d" % number for number in range(len(sizes))])
        self.assertEqual(sizes, [len(value) for value in found.values()])
        self.assertEqual([4, 1, 1], self.keys_in_batches())

    def test_small_first(self) -> None:
        """Small messages do not wait for large ones; each kind comes in the order of the names."""
        for name, size in ((b"a", 5000), (b"b", 1), (b"c", 900000), (b"d", 4096), (b"e", 800000)):
            self.server.store(name, b"x" * size)
        self.assertEqual([b"b", b"d", b"a", b"c", b"e"], [*self.read(b"a", b"b", b"c", b"d", b"e")])

    def test_one_after_the_other(self) -> None:
        """A part is asked for when the one before it has come."""
        for number in range(3):
            self.server.store(b"c%d" % number, b"x" * 800000)
        done = self.start_reading([b"c0", b"c1", b"c2"])
        for count in range(1, 4):
            while len(self.batches) < count:
                self.assertLessEqual(len(self.keys_in_batches()), count)
                self.server.sessions[0].move()
        self.successResultOf(done)

    def test_waits_for_the_taker(self) -> None:
        """A part is asked for when the one before it was taken."""
        self.server.store(b"c0", b"x" * 800000)
        self.server.store(b"c1", b"x" * 800000)
        taken: Deferred[None] = Deferred()
        done = Deferred.fromCoroutine(
            self.reader.read(self.protocol(), [b"c0", b"c1"], lambda found: taken)
        )
        self.server.pump()
        self.assertEqual([1], self.keys_in_batches())
        taken.callback(None)
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual([1, 1], self.keys_in_batches())

    def test_oversized(self) -> None:
        """A message that would not be delivered is not read; it is counted and logged."""
        self.server.store(b"a", b"x" * (_LARGE + 1))
        with capturedLogs() as events:
            self.assertEqual({}, self.read(b"a"))
        self.assertEqual([], self.keys_in_batches())
        self.assertEqual(1, self.metrics.oversized)
        self.assertEqual(1, len(events))

    def test_of_the_application(self) -> None:
        """A key of a user that never expires is the application's; others of users are ours."""
        self.server.store(b"user:ann:code", b"secret", expire=None)
        self.server.store(b"user:ann:news", b"ours")
        self.server.store(b"broadcast:news", b"of a script", expire=None)
        found = self.read(b"user:ann:code", b"user:ann:news", b"broadcast:news")
        self.assertEqual({b"user:ann:news": b"ours", b"broadcast:news": b"of a script"}, found)

    def test_names_of_their_own(self) -> None:
        """With names of their own, stored messages are nobody else's."""
        self.use(StoredSettings(stored_prefix="ws"))
        self.server.store(b"user:ann:code", b"secret")
        self.server.store(b"ws:user:ann:code", b"ours", expire=None)
        self.assertEqual({b"user:ann:code": b"ours"}, self.read(b"user:ann:code"))
        self.assertEqual([], self.server.sent(b"TTL"))

    def test_may_not_ask_for_sizes(self) -> None:
        """A user without the right to ask is served in small parts, and not asked again."""
        self.server.refuse["STRLEN"] = (
            "NOPERM User x has no permissions to run the 'strlen' command"
        )
        names = [b"c%d" % number for number in range(40)]
        for name in names:
            self.server.store(name, name)
        self.assertEqual(40, len(self.read(*names)))
        self.assertEqual([16, 16, 8], self.keys_in_batches())
        self.read(*names)
        self.assertEqual(40, len(self.server.sent(b"STRLEN")))

    def test_refused(self) -> None:
        """A Redis that does not hand them out costs the stored message, not the client."""
        self.server.loading = True
        with capturedLogs() as events:
            self.assertEqual({}, self.read(b"a"))
        self.assertIn("LOADING", events[0]["error"])

    def forbid(self, *names: bytes) -> None:
        """Redis refuses every command that reads one of *names*, as with an ACL for keys."""
        for verb in ("_mget", "_strlen"):
            self._forbid(verb, names)

    def _forbid(self, verb: str, names: Sequence[bytes]) -> None:
        real = getattr(Session, verb)

        def refuse(session: Session, *keys: bytes) -> bytes:
            if set(names).isdisjoint(keys):
                return bytes(real(session, *keys))
            return b"-NOPERM No permissions to access a key\r\n"

        self.patch(Session, verb, refuse)

    def test_forbidden(self) -> None:
        """A name that Redis does not let be read takes nothing from the others."""
        names = [b"c%d" % number for number in range(65)]
        for name in names:
            self.server.store(name, name)
        self.forbid(b"c3", b"c33", b"c64")
        expected = {name: name for name in names if name not in (b"c3", b"c33", b"c64")}
        with capturedLogs() as events:
            self.assertEqual(expected, self.read(*names))
        self.assertEqual(["NOPERM"], [each["error"].split()[0] for each in events])

    def test_lost(self) -> None:
        """A connection that is lost before an answer: it fails, in either half."""
        done = self.start_reading([b"a"])
        self.server.kill()
        self.failureResultOf(done, BrokerUnavailable)
        self.wait(1)
        self.server.store(b"a", b"x")
        done = self.start_reading([b"a"])
        self.server.sessions[0].move()
        self.assertEqual(1, self.protocol().unanswered)
        self.server.kill()
        self.failureResultOf(done, BrokerUnavailable)

    def test_lost_between_two_batches(self) -> None:
        """A connection that is lost while a batch is handed out: the next one is not waited for."""
        for name in (b"a", b"b"):
            self.server.store(name, bytes(_LARGE))
        handed_out: Deferred[None] = Deferred()
        done = Deferred.fromCoroutine(
            self.reader.read(self.protocol(), [b"a", b"b"], lambda _: handed_out)
        )
        self.server.pump()
        self.assertNoResult(done)
        self.server.kill()
        handed_out.callback(None)
        self.failureResultOf(done, BrokerUnavailable)

    def test_cancelled(self) -> None:
        """Replies that nobody waits for are taken all the same."""
        self.server.store(b"a", b"x")
        for moves in (0, 1):
            done = self.start_reading([b"a"])
            for _ in range(moves):
                self.server.sessions[0].move()
            done.addErrback(lambda failure: None)
            done.cancel()
            self.server.pump()
            self.assertEqual(0, self.protocol().unanswered)
        self.assertEqual([], self.batches)


class RepliesTests(LinkCase):
    """Several commands, and all their replies."""

    def test_errors_are_replies(self) -> None:
        """An error of Redis takes its place among the replies."""
        self.start()
        done = Replies(self.protocol(), [("PING",), ("NOSUCH",), ("TTL", b"a")], (bytes, int)).done
        self.server.pump()
        first, second, third = self.successResultOf(done)
        self.assertEqual((b"PONG", -2), (first, third))
        self.assertIsInstance(second, Exception)

    def test_replies_to_other_commands(self) -> None:
        """A reply of another type ends the connection, with one reason and without a traceback."""
        for kinds, reply in (((int,), b"+OK"), ((bytes,), b":1"), ((list,), b"$1\r\nx")):
            self.setUp()
            self.start()
            self.server.frozen = True
            done = Replies(self.protocol(), [("PING",)] * 2, kinds).done
            self.protocol().dataReceived(reply + b"\r\n")
            self.server.frozen = False
            self.wait(1)
            self.failureResultOf(done, BrokerUnavailable)
            self.assertEqual(1, len(self.owner.reasons))
            self.assertIn("a command was answered with", self.owner.reasons[0])
            self.assertEqual(["up", "down", "up"], self.owner.events)

    def test_values_of_another_command(self) -> None:
        """MGET has as many values as keys, or an error."""
        for reply in (b"+QUEUED", b":1", b"*1\r\n$1\r\nx", b"*2\r\n:1\r\n:2"):
            self.setUp()
            self.start()
            self.server.frozen = True
            done = _mget(self.protocol(), [b"a", b"b"])
            self.protocol().dataReceived(reply + b"\r\n")
            self.server.frozen = False
            self.wait(1)
            self.failureResultOf(done, BrokerUnavailable)
            self.assertIn("MGET was answered with", self.owner.reasons[0])
