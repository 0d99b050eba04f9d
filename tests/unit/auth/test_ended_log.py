"""Tests of `wsredis.auth.ended_log`, with a gateway in memory around it."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import MemoryGateway
from tests.support.raw import handshake
from tests.unit.auth.case import ALL, AuthCase
from wsredis.auth.control_commands import Command
from wsredis.auth.ended_log import EndedLog
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import LOG_BATCH, LogEntry
from wsredis.gateway.identity import Identity


class MissedTests(AuthCase):
    """Commands that were given while the gateway did not hear."""

    def order(self, selector: str, name: str) -> None:
        """Append a command to the log."""
        text = json.dumps({"end": {selector: name}}).encode()
        self.gateway.redis.append(b"wsredis-ended", text)

    def test_session(self) -> None:
        """The connections of the session are closed at the next read, and it is refused."""
        self.register.known["ann"] = Identity("ann", (), "key-of-ann")
        client, other = self.come(), self.come("ann")
        self.order("session", "key-of-john")
        self.assertEqual([], self.codes(client))
        self.wait(2.0)
        self.assertEqual([4401], self.codes(client))
        self.assertEqual(401, self.answer(handshake(ALL, "Authorization: john"))[0])
        self.wait(3600.0)
        self.assertEqual(401, self.answer(handshake(ALL, "Authorization: john"))[0])
        self.assertEqual([], self.codes(other))
        self.check_nothing_left(client, other)

    def test_user_and_group(self) -> None:
        """Connections from before the command are closed, and no newer ones."""
        for selector, name in (("user", "john"), ("group", "chatters")):
            old = self.come()
            self.wait(0.5)
            self.order(selector, name)
            self.wait(0.5)
            new = self.come()
            self.wait(2.0)
            self.assertEqual(([4401], []), (self.codes(old), self.codes(new)), selector)
            old.leave()
            new.leave()
        self.nothing_left()

    def test_before_the_start(self) -> None:
        """A gateway that starts refuses the sessions that ended while it was away."""
        gateway = MemoryGateway(self.config, authenticator=self.register)
        for number in range(LOG_BATCH):
            gateway.redis.append(b"wsredis-ended", b'{"end": {"session": "%d"}}' % number)
        gateway.redis.append(b"wsredis-ended", b'{"end": {"session": "key-of-john"}}')
        self.use(gateway)
        self.wait(2.0)
        self.assertEqual(401, self.answer(handshake(ALL, "Authorization: john"))[0])
        self.nothing_left()

    def test_other_entries(self) -> None:
        """An entry that ends nothing changes nothing."""
        client = self.come()
        for text in (b"", b"x", b'{"recheck": {"user": "john"}}', b'{"end": 5}'):
            self.gateway.redis.append(b"wsredis-ended", text)
        self.wait(2.0)
        self.assertEqual([], self.codes(client))
        self.check_nothing_left(client)


class ReadTests(SynchronousTestCase):
    """When the log is read."""

    def setUp(self) -> None:
        """A broker whose answers the test gives."""
        self.clock = Clock()
        self.clock.advance(100.0)
        self.asked: list[tuple[bytes, bytes]] = []
        self.answers: list[Deferred[list[LogEntry]]] = []
        self.given: list[tuple[Command, float]] = []
        self.up: Deferred[None] = succeed(None)
        self.log = EndedLog(self.clock, self, "my", lambda *each: self.given.append(each))

    def read_log(self, key: bytes, after: bytes) -> Deferred[list[LogEntry]]:
        """Return an answer that is to come."""
        self.asked.append((key, after))
        self.answers.append(Deferred())
        return self.answers[-1]

    def when_up(self) -> Deferred[None]:
        """Return when the broker is up."""
        return self.up

    def test_start(self) -> None:
        """It reads as soon as Redis is there; if Redis stays away, it goes on trying."""
        self.up = Deferred()
        self.log.start()
        self.assertEqual([], self.asked)
        self.clock.advance(0.1)
        self.up.callback(None)
        self.assertEqual(1, len(self.asked))
        self.log.stop()
        self.up = Deferred()
        late = EndedLog(self.clock, self, "my", lambda *each: None)
        late.start()
        self.up.errback(BrokerUnavailable("away"))
        self.clock.advance(2.0)
        self.assertEqual(2, len(self.asked))
        late.stop()

    def test_stop_before_redis_is_there(self) -> None:
        """Nothing is read after a stop."""
        self.up = Deferred()
        self.log.start()
        self.log.stop()
        self.assertEqual(([], []), (self.asked, self.clock.getDelayedCalls()))

    def test_position(self) -> None:
        """It goes on after the last entry; a command has the time at which it was given."""
        self.log.start()
        text = b'{"end": {"user": "john"}}'
        self.answers[0].callback([LogEntry(b"1-0", 30.0, text), LogEntry(b"2-0", 4.0, text)])
        john = Command("end", "user", "john")
        self.assertEqual([(john, 70.0), (john, 96.0)], self.given)
        self.clock.advance(2.0)
        self.clock.advance(2.0)
        self.assertEqual([(b"my:wsredis-ended", b""), (b"my:wsredis-ended", b"2-0")], self.asked)
        self.log.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_away(self) -> None:
        """While Redis is away it tries again, without a word."""
        self.log.start()
        with capturedLogs() as logs:
            self.answers[0].errback(BrokerUnavailable("away"))
            self.clock.advance(2.0)
        self.assertEqual((2, []), (len(self.asked), logs))
        self.log.stop()

    def test_refused(self) -> None:
        """A refusal is logged once, and then it tries once a minute."""
        self.log.start()
        with capturedLogs() as logs:
            for _ in range(3):
                self.answers[-1].errback(PermissionDenied("NOPERM no"))
                self.clock.pump([2.0] * 30)
        (line,) = [formatEvent(event) for event in logs]
        self.assertIn("cannot read my:wsredis-ended: NOPERM no; ", line)
        self.assertEqual(4, len(self.asked))
        self.log.stop()

    def test_failed(self) -> None:
        """Another error is logged, and does not end it."""
        self.log.start()
        self.answers[0].errback(ValueError("bug"))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.clock.advance(2.0)
        self.assertEqual(2, len(self.asked))
        self.log.stop()
        self.log.stop()
