"""Tests of the look at the keys of Redis at the start."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from tests.unit.brokers.redis.case import LinkCase
from wsredis.brokers.redis.survey import survey
from wsredis.errors import BrokerUnavailable


class SurveyTests(LinkCase):
    """A Redis that others use as well."""

    def setUp(self) -> None:
        """Connected."""
        super().setUp()
        self.link = self.make(max_reply=100000)
        self.link.start()
        self.server.pump()

    def look(self, prefix: str = "") -> tuple[int, int]:
        """The number of keys that were found, and of log lines."""
        with capturedLogs() as events:
            done = Deferred.fromCoroutine(survey(self.protocol(), prefix))
            self.server.pump()
        return self.successResultOf(done), len(events)

    def test_ours(self) -> None:
        """Messages that expire, and keys under other names, are nothing to warn about."""
        self.server.store(b"broadcast:news", b"x")
        self.server.store(b"user:ann:news", b"x")
        self.server.store(b"users", ["ann"], expire=None)
        self.server.store(b"stock:5", b"7", expire=None)
        self.server.store(b"site:user:ann:x", b"7", expire=None)
        self.assertEqual((0, 0), self.look())

    def test_of_others(self) -> None:
        """Keys without an end or of another type are told in one line, without their names."""
        self.server.store(b"user:ann:role", b"customer", expire=None)
        self.server.store(b"group:chess:members", ["ann"])
        with capturedLogs() as events:
            self.assertEqual(2, self.look()[0])
        self.assertNotIn("role", formatEvent(events[0]))
        self.assertNotIn("chess", formatEvent(events[0]))

    def test_prefix(self) -> None:
        """With a prefix other names count; its characters have no other meaning."""
        self.server.store(b"user:ann:role", b"customer", expire=None)
        self.server.store(b"s*[o]:user:ann:role", b"customer", expire=None)
        self.assertEqual((1, 1), self.look("s*[o]"))
        self.assertEqual((0, 0), self.look("so"))

    def test_large(self) -> None:
        """A Redis with very many keys is not read to its end."""
        for number in range(150000):
            self.server.databases[0][b"stock:%d" % number] = b""
        self.assertEqual((0, 0), self.look())
        self.assertEqual(100, len(self.server.sent(b"SCAN")))

    def test_not_allowed(self) -> None:
        """Where it may not look, it says nothing."""
        self.server.store(b"user:ann:role", b"customer", expire=None)
        self.server.refuse["SCAN"] = "NOPERM"
        self.assertEqual((0, 0), self.look())

    def test_lost(self) -> None:
        """The connection is lost meanwhile."""
        done = Deferred.fromCoroutine(survey(self.protocol(), ""))
        self.server.kill()
        self.failureResultOf(done, BrokerUnavailable)
