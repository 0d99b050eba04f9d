"""Tests of `wsredis.brokers.redis.log_reader`."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.unit.brokers.redis.case import LinkCase
from wsredis.brokers.redis.log_reader import read_log
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import LOG_BATCH, LogEntry


class ReadLogTests(LinkCase):
    """`read_log`."""

    def setUp(self) -> None:
        """The connection is up."""
        super().setUp()
        self.start()

    def read(self, after: bytes = b"") -> Deferred[list[LogEntry]]:
        """Read the log."""
        reading = Deferred.fromCoroutine(read_log(self.protocol(), b"log", after))
        self.server.pump()
        return reading

    def test_empty(self) -> None:
        """A log that does not exist has no entries, and its time is not asked for."""
        self.assertEqual([], self.successResultOf(self.read()))
        self.assertEqual([], self.server.sent(b"TIME"))

    def test_entries(self) -> None:
        """The first value of each entry, and its age."""
        self.clock.advance(100.5 - self.clock.seconds())
        self.server.append(b"log", b"99000-0", b"command", b"a", b"by", b"x")
        self.server.append(b"log", b"100000-3", b"command", b"b")
        first, second = self.successResultOf(self.read())
        self.assertEqual(LogEntry(b"99000-0", 1.5, b"a"), first)
        self.assertEqual(LogEntry(b"100000-3", 0.5, b"b"), second)
        self.assertEqual([second], self.successResultOf(self.read(first.position)))
        self.assertEqual([], self.successResultOf(self.read(second.position)))
        # The entry that is known may have been trimmed.
        self.assertEqual([second], self.successResultOf(self.read(b"99000-1")))

    def test_batch(self) -> None:
        """No more than a batch, whether the known entry is among them or not."""
        for number in range(LOG_BATCH + 2):
            self.server.append(b"log", b"1-%d" % number, b"command", b"x")
        self.assertEqual(LOG_BATCH, len(self.successResultOf(self.read())))
        found = self.successResultOf(self.read(b"1-0"))
        self.assertEqual((LOG_BATCH, b"1-1"), (len(found), found[0].position))
        self.assertEqual(2, len(self.successResultOf(self.read(found[-2].position))))

    def test_refused(self) -> None:
        """A refusal is told without the arguments that Redis may quote."""
        self.server.refuse["XRANGE"] = "ERR unknown command 'XRANGE', with args beginning with: 'x'"
        error = self.failureResultOf(self.read(), PermissionDenied).value
        self.assertEqual("ERR unknown command 'XRANGE'", str(error))

    def test_not_now(self) -> None:
        """A server that is still loading has not refused to read: it is asked again soon."""
        self.server.refuse["XRANGE"] = "LOADING Redis is loading the dataset in memory"
        self.failureResultOf(self.read(), BrokerUnavailable)

    def test_lost(self) -> None:
        """A connection that is lost meanwhile."""
        reading = Deferred.fromCoroutine(read_log(self.protocol(), b"log", b""))
        self.server.kill()
        self.failureResultOf(reading, BrokerUnavailable)

    def test_reply_to_another_command(self) -> None:
        """A reply that is no log is no log, and one of another type ends the connection."""
        for reply in (b"*1\r\n:1", b"*1\r\n*1\r\n+x", b"*1\r\n*2\r\n+x\r\n*0"):
            self.setUp()
            self.server.frozen = True
            reading = Deferred.fromCoroutine(read_log(self.protocol(), b"log", b""))
            self.protocol().dataReceived(reply + b"\r\n")
            self.protocol().dataReceived(b"*2\r\n+1\r\n+1\r\n")
            self.failureResultOf(reading, PermissionDenied)
        reading = Deferred.fromCoroutine(read_log(self.protocol(), b"log", b""))
        self.protocol().dataReceived(b"+QUEUED\r\n")
        self.clock.advance(0)
        self.failureResultOf(reading, BrokerUnavailable)
