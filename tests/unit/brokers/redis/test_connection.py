"""Tests of one connection to Redis: greeting, order of replies, silence, coming back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import txredisapi
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_redis import FakeRedis
from wsredis.brokers.redis import connection as link
from wsredis.brokers.redis.connection import RedisConnection, RedisProtocol
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.publication import Publication

_PING = 3.0
_MAX_REPLY = 1000


class _Owner:
    """Writes down what a link tells, in order."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.batches: list[list[tuple[bytes, bytes]]] = []
        self.reasons: list[str] = []
        self.on_messages: Callable[[], None] = lambda: None

    def established(self, protocol: RedisProtocol) -> None:
        self.events.append("up")

    def lost(self) -> None:
        self.events.append("down")

    def failed(self, reason: str) -> None:
        self.reasons.append(reason)

    def messages(self, batch: Sequence[Publication]) -> None:
        self.batches.append([(each.channel, each.payload) for each in batch])
        self.events.append(self.batches[-1])
        self.on_messages()


class _LinkCase(SynchronousTestCase):
    """A link, and the Redis that it leads to."""

    def setUp(self) -> None:
        """Nothing is connected yet."""
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.owner = _Owner()

    def make(self, **more: Any) -> RedisConnection:
        """A link that is not started."""
        arguments: dict[str, Any] = {
            "target": self.server.target(),
            "ping_interval": _PING,
            "max_reply": _MAX_REPLY,
            "established": self.owner.established,
            "lost": self.owner.lost,
            "failed": self.owner.failed,
        }
        return RedisConnection(self.clock, **{**arguments, **more})

    def start(self, **settings: Any) -> RedisConnection:
        """Start a link that takes messages, and let it greet."""
        self.link = self.make(target=self.server.target(**settings), messages=self.owner.messages)
        self.link.start(self.clock)
        self.server.pump()
        return self.link

    def protocol(self) -> RedisProtocol:
        """The connection that is up."""
        assert self.link.protocol is not None
        return self.link.protocol

    def wait(self, seconds: float) -> None:
        """Let time pass, and bytes move, in small steps."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            self.server.pump()


class GreetingTests(_LinkCase):
    """A link counts only when Redis let it in."""

    def test_without_password(self) -> None:
        """With nothing else to say, one PING is the whole greeting."""
        self.start()
        self.assertEqual(["up"], self.owner.events)
        self.assertEqual([(b"PING",)], self.server.commands)

    def test_all_in_one_go(self) -> None:
        """AUTH with user and password, SELECT and PING are sent without waiting for answers."""
        self.server.users = {"app": "s e\u00e9cret"}
        self.server.frozen = True
        self.start(username="app", password="s e\u00e9cret", database=3)
        self.server.frozen = False
        self.server.sessions[0].move()
        self.assertEqual(
            [(b"AUTH", b"app", "s e\u00e9cret".encode()), (b"SELECT", b"3"), (b"PING",)],
            self.server.commands,
        )
        self.assertEqual(["up"], self.owner.events)

    def test_password_of_the_default_user(self) -> None:
        """A password without a user is sent alone, as servers before Redis 6 want it."""
        self.server.users = {"default": "x"}
        self.start(password="x")
        self.assertEqual((b"AUTH", b"x"), self.server.commands[0])
        self.assertEqual(["up"], self.owner.events)

    def test_nothing_counts_before_the_answer(self) -> None:
        """As long as Redis has not answered there is no protocol to send commands on."""
        self.server.frozen = True
        self.start()
        self.assertIsNone(self.link.protocol)
        self.assertEqual([], self.owner.events)

    def test_wrong_password_is_told_and_tried_again(self) -> None:
        """A password that is refused is told without it, and the link recovers when it fits."""
        self.server.users = {"default": "new"}
        self.start(password="0ld-secret")
        self.assertEqual([], self.owner.events)
        self.assertIn("AUTH was refused: WRONGPASS", self.owner.reasons[0])
        self.assertNotIn("0ld-secret", " ".join(self.owner.reasons))
        self.wait(10)
        self.assertGreater(self.server.accepted, 3)
        self.server.users = {"default": "0ld-secret"}
        self.wait(link.MAX_DELAY + 0.5)
        self.assertEqual(["up"], self.owner.events)

    def test_no_password_where_one_is_needed(self) -> None:
        """NOAUTH does not count as being let in."""
        self.server.users = {"default": "x"}
        self.start()
        self.assertEqual([], self.owner.events)
        self.assertIn("NOAUTH", self.owner.reasons[0])

    def test_connection_lost_during_login(self) -> None:
        """
        A connection that drops during AUTH is made again.

        txredisapi 1.6 stops for ever in this case, which is why it is told no password.
        """
        self.server.users = {"default": "x"}
        self.server.frozen = True
        self.start(password="x", database=1)
        self.server.kill()
        self.assertEqual(["the connection was closed during the login"], self.owner.reasons)
        self.server.frozen = False
        self.wait(1)
        self.assertEqual(["up"], self.owner.events)
        self.assertEqual(2, self.server.accepted)

    def test_certificate_is_not_good(self) -> None:
        """A TLS server that we do not trust is told in words."""
        for error, words in (
            (SSL.Error([("SSL routines", "", "certificate verify failed")]), "verify failed"),
            (VerificationError([]), "not for this host name"),
            (SSL.Error(), "closed during the login"),
        ):
            self.setUp()
            self.server.frozen = True
            self.start()
            self.server.sessions[0].cut(error)
            self.assertIn(words, self.owner.reasons[0])

    def test_too_many_clients(self) -> None:
        """A server that is full is tried again until it has room."""
        self.server.max_clients = 0
        self.start(password="x")
        self.assertEqual([], self.owner.events)
        self.assertIn("max number of clients", self.owner.reasons[0])
        self.server.max_clients = 1
        self.server.users = {"default": "x"}
        self.wait(link.MAX_DELAY)
        self.assertEqual(["up"], self.owner.events)

    def test_unknown_database(self) -> None:
        """A database that Redis does not have is no link, although PING would be answered."""
        self.start(database=99)
        self.assertEqual([], self.owner.events)
        self.assertIn("SELECT was refused: ERR DB index is out of range", self.owner.reasons[0])

    def test_refused_greeting_is_told_once(self) -> None:
        """After the first refusal, the answers to the rest of the greeting say nothing more."""
        self.server.users = {"default": "x"}
        self.start(password="y", database=1)
        self.assertEqual(1, len(self.owner.reasons))

    def test_loading(self) -> None:
        """A server that still reads its data takes subscriptions and publications: that counts."""
        self.server.loading = True
        self.start()
        self.assertEqual(["up"], self.owner.events)

    def test_nagle(self) -> None:
        """Commands are not delayed on TCP; a UNIX socket has no such option."""
        self.start()
        self.assertFalse(self.server.sessions[0].no_delay)
        self.start(path=None, host="localhost", port=1)
        self.assertTrue(self.server.sessions[1].no_delay)


class ReplyTests(_LinkCase):
    """Replies are matched with commands, and pushed messages keep apart."""

    def test_bytes_come_as_they_are(self) -> None:
        """Payloads that look like numbers, are empty or binary, arrive byte for byte."""
        self.start()
        payloads = [b"123", b"1.50", b"1_000", b"", b"\x00\xff\r\n", b"$-1\r\n", b"nan"]
        self.protocol().call("SUBSCRIBE", b"42")
        self.server.pump()
        for payload in payloads:
            self.server.publish(b"42", payload)
        self.server.pump()
        self.assertEqual([[(b"42", payload) for payload in payloads]], self.owner.batches)

    def test_three_channels_and_a_ping(self) -> None:
        """
        SUBSCRIBE with three names has three replies, and the PING behind it gets its own.

        txredisapi 1.6 gives the second reply of SUBSCRIBE to PING.
        """
        self.start()
        replies: list[Any] = []

        def three(reply: Any) -> bool:
            replies.append(reply)
            return len(replies) == 3

        self.protocol().send(three, "SUBSCRIBE", b"a", b"b", b"c")
        pong = self.protocol().call("PING")
        self.server.pump()
        self.assertEqual([b"a", b"b", b"c"], [reply[1] for reply in replies])
        self.assertEqual([b"pong", b""], self.successResultOf(pong))

    def test_messages_before_a_reply_come_before_it(self) -> None:
        """What arrived before an answer is delivered before it, within one read."""
        self.start()
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()
        self.server.publish(b"a", b"1")
        session = self.server.sessions[0]
        session.say(b"$1\r\nx\r\n")
        self.server.publish(b"a", b"2")
        self.protocol()._expected.append(
            lambda reply: bool(self.owner.events.append(reply)) or True
        )
        self.server.pump()
        self.assertEqual(["up", [(b"a", b"1")], b"x", [(b"a", b"2")]], self.owner.events)

    def test_one_byte_at_a_time(self) -> None:
        """The borders of reads do not matter."""
        self.start()
        data = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\r\n\r\n"
        for position in range(len(data)):
            self.protocol().dataReceived(data[position : position + 1])
        self.assertEqual([[(b"a", b"\r\n")]], self.owner.batches)

    def test_refusal_fails_the_call(self) -> None:
        """An error of Redis reaches the caller, and nobody else."""
        self.start()
        refused = self.protocol().call("NOSUCH")
        fine = self.protocol().call("PING")
        self.server.pump()
        self.failureResultOf(refused, txredisapi.ResponseError)
        self.assertEqual(b"PONG", self.successResultOf(fine))

    def test_waiting(self) -> None:
        """Commands without an answer are counted."""
        self.start()
        self.assertEqual(0, self.protocol().waiting)
        self.protocol().call("PING")
        self.protocol().call("PING")
        self.assertEqual(2, self.protocol().waiting)
        self.server.pump()
        self.assertEqual(0, self.protocol().waiting)

    def test_size_of_a_command(self) -> None:
        """The size that is returned is that of the bytes sent."""
        self.start()
        size = self.protocol().send(lambda reply: True, "PING")
        self.assertEqual(len(hiredis.pack_command(("PING",))), size)

    def test_loss_fails_what_is_under_way(self) -> None:
        """Commands without an answer fail at once when the connection is lost."""
        self.start()
        calls = [self.protocol().call("PING") for _ in range(3)]
        self.server.kill()
        for call in calls:
            self.failureResultOf(call, BrokerUnavailable)
        self.assertEqual(["up", "down"], self.owner.events)

    def test_cancelled_call(self) -> None:
        """A caller who lost patience does not disturb the order of replies."""
        self.start()
        impatient = self.protocol().call("PING")
        patient = self.protocol().call("MGET", b"a")
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.server.pump()
        self.assertEqual([None], self.successResultOf(patient))

    def test_values_that_look_like_a_pushed_message(self) -> None:
        """Three stored values of which the first is "message" are an answer, not a message."""
        self.link = self.make()
        self.link.start(self.clock)
        self.server.pump()
        for key, value in ((b"a", b"message"), (b"b", b"x"), (b"c", b"y")):
            self.server.store(key, value)
        values = self.protocol().call("MGET", b"a", b"b", b"c")
        after = self.protocol().call("PING")
        self.server.pump()
        self.assertEqual([b"message", b"x", b"y"], self.successResultOf(values))
        self.assertEqual(b"PONG", self.successResultOf(after))

    def test_command_from_within_delivery(self) -> None:
        """Whoever is told of a message may send a command right away."""
        self.start()
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()
        calls: list[Any] = []
        self.owner.on_messages = lambda: calls.append(self.protocol().call("PING"))
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.assertEqual([b"pong", b""], self.successResultOf(calls[0]))


class HoldTests(_LinkCase):
    """A connection that is held hands over nothing."""

    def test_reply_behind_a_batch_that_holds(self) -> None:
        """An answer in the same read as messages waits, where these hold the connection."""
        self.start()
        protocol = self.protocol()
        answers: list[object] = []
        self.owner.on_messages = protocol.pause
        protocol.call("PING").addCallback(answers.append)
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
        protocol.dataReceived(message + b"+PONG\r\n" + message)
        self.assertEqual(([[(b"a", b"x")]], []), (self.owner.batches, answers))
        self.owner.on_messages = lambda: None
        protocol.resume()
        self.assertEqual([b"PONG"], answers)
        self.assertEqual([[(b"a", b"x")]] * 2, self.owner.batches)

    def test_not_taken_for_silent(self) -> None:
        """A connection that we do not read is not left for its silence."""
        self.start()
        protocol = self.protocol()
        protocol.pause()
        self.wait(60)
        self.assertEqual([], self.owner.reasons)
        self.assertIs(protocol, self.protocol())


class RubbishTests(_LinkCase):
    """What is not Redis' protocol ends the connection, and a new one is made."""

    def _broken_by(self, data: bytes) -> str:
        self.start()
        self.server.sessions[0].say(data)
        self.server.pump()
        self.assertTrue(self.server.sessions[0].aborted)
        self.wait(1)
        self.assertEqual(["up", "down", "up"], self.owner.events)
        (reason,) = self.owner.reasons
        self.assertLess(len(reason), 200)
        return reason

    def test_not_resp(self) -> None:
        """Text that is not RESP."""
        self.assertIn("not understood", self._broken_by(b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    def test_absurd_length(self) -> None:
        """A length that no array can have."""
        self.assertIn("not understood", self._broken_by(b"*99999999999999\r\n"))

    def test_stray_reply(self) -> None:
        """A reply without a command, however long, is told in short."""
        self.assertIn("nobody asked for", self._broken_by(b"$500\r\n" + b"x" * 500 + b"\r\n"))

    def test_stray_error(self) -> None:
        """An error without a command."""
        self.assertIn("nobody asked for", self._broken_by(b"-ERR whatever\r\n"))

    def test_endless_reply(self) -> None:
        """A reply that is longer than the limit is not collected."""
        reason = self._broken_by(b"$999999999\r\n" + b"x" * (_MAX_REPLY + 1))
        self.assertIn(f"more than {_MAX_REPLY} bytes", reason)

    def test_long_replies_one_after_the_other(self) -> None:
        """The limit is for one reply, not for one read."""
        self.start()
        one = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$400\r\n" + b"x" * 400 + b"\r\n"
        self.server.sessions[0].say(one * 5)
        self.server.pump()
        self.assertEqual(5, len(self.owner.batches[0]))
        self.assertEqual(["up"], self.owner.events[:1])

    def test_error_of_a_listener(self) -> None:
        """A bug behind the link is logged with its traceback, and the link starts afresh."""
        self.start()

        def fail() -> None:
            raise ZeroDivisionError

        self.owner.on_messages = fail
        self.server.sessions[0].say(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n")
        self.server.pump()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.wait(1)
        self.assertEqual("up", self.owner.events[-1])


class KeepAliveTests(_LinkCase):
    """A server that falls silent is left."""

    def test_pings(self) -> None:
        """An idle link sends one PING per interval."""
        self.start()
        self.wait(_PING * 4)
        self.assertEqual(4, len(self.server.commands) - 1)
        self.assertEqual(["up"], self.owner.events)

    def test_no_ping_while_others_wait(self) -> None:
        """Commands under way are as good as a PING: none is added behind them."""
        self.start()
        self.server.frozen = True
        self.protocol().call("MGET", b"a")
        self.wait(_PING)
        self.assertEqual(1, self.protocol().waiting)

    def test_silence(self) -> None:
        """A frozen server is left after two intervals without an answer, and tried again."""
        self.start()
        self.server.frozen = True
        self.wait(_PING * 3 + 0.5)
        self.assertEqual(["up", "down"], self.owner.events)
        self.assertEqual(["no answer for 6 seconds"], self.owner.reasons)
        self.server.frozen = False
        self.wait(link.MAX_DELAY)
        self.assertEqual(["up", "down", "up"], self.owner.events)

    def test_silence_during_the_login(self) -> None:
        """A server that is frozen from the start is left as well."""
        self.server.frozen = True
        self.start()
        self.wait(_PING * 3 + 0.5)
        self.assertGreaterEqual(self.server.accepted, 2)
        self.assertIn("no answer for 6 seconds", self.owner.reasons)

    def test_short_pause(self) -> None:
        """A pause shorter than that costs nothing."""
        self.start()
        self.server.frozen = True
        self.wait(_PING + 1)
        self.server.frozen = False
        self.wait(_PING * 3)
        self.assertEqual(["up"], self.owner.events)
        self.assertEqual(1, self.server.accepted)

    def test_pushed_messages_are_a_sign_of_life(self) -> None:
        """A server that is too busy with messages to answer a PING in time is not left."""
        self.start()
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()
        self.protocol().send(lambda reply: True, "PING")
        self.server.frozen = True
        for _ in range(6):
            self.clock.advance(_PING)
            self.protocol().dataReceived(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n")
        self.assertEqual([], self.owner.reasons)

    def test_reply_that_never_ends(self) -> None:
        """Bytes alone are no sign of life: a length that never comes to an end is given up."""
        self.start()
        self.server.frozen = True
        self.protocol().call("PING").addErrback(lambda failure: None)
        self.protocol().dataReceived(b"$999\r\n")
        for _ in range(10):
            self.clock.advance(_PING)
            if self.link.protocol is not None:
                self.protocol().dataReceived(b"x")
        self.assertEqual(["no answer for 6 seconds"], self.owner.reasons[:1])

    def test_nothing_asked_and_nothing_said(self) -> None:
        """A login that waits for nothing is not timed by mistake."""
        self.start()
        protocol = self.protocol()
        self.link.protocol = None
        for _ in range(5):
            self.clock.advance(_PING)
        self.assertFalse(self.server.sessions[0].aborted)
        self.link.protocol = protocol

    def test_no_ping_while_there_is_no_connection(self) -> None:
        """The timer finds nothing to do while Redis is away."""
        self.server.down = True
        self.start()
        self.wait(_PING * 2)
        self.assertEqual([], self.server.commands)


class ReconnectTests(_LinkCase):
    """For ever, soon, and not all at once."""

    def test_server_is_not_there_yet(self) -> None:
        """The first attempts fail without a word; then the reason is told."""
        self.server.down = True
        self.start()
        self.assertEqual([], self.owner.reasons)
        self.wait(5)
        self.assertIn("nobody listens", self.owner.reasons[0])
        self.server.down = False
        self.wait(link.MAX_DELAY)
        self.assertEqual(["up"], self.owner.events)

    def test_quiet_attempts(self) -> None:
        """ClientService says nothing for each attempt: an outage of hours must not fill a log."""
        self.server.down = True
        with capturedLogs() as events:
            self.start()
            self.wait(30)
        self.assertEqual([], list(events))

    def test_delay(self) -> None:
        """The wait grows from a moment to at most three seconds, however long the outage."""
        factory = self.start()._factory
        for attempt in (1, 5, 10, 1000, 10**6):
            delays = [factory.retryDelay(attempt) for _ in range(50)]
            self.assertTrue(all(0 < delay <= link.MAX_DELAY for delay in delays), delays)
            self.assertGreater(len(set(delays)), 1, "all gateways would come back at once")
        self.assertLess(max(factory.retryDelay(1) for _ in range(50)), 0.2)

    def test_backoff_survives_refused_logins(self) -> None:
        """A server that accepts and then refuses is not hammered."""
        self.server.users = {"default": "x"}
        self.start(password="y")
        self.wait(60)
        # At most one attempt in half of the longest delay, after the first few quick ones.
        self.assertLess(self.server.accepted, 60 / (link.MAX_DELAY / 2) + 10)

    def test_back_soon_after_each_loss(self) -> None:
        """The wait starts from anew once Redis let us in."""
        self.start()
        for _ in range(12):
            self.server.kill()
            self.wait(0.5)
        self.assertEqual(["up", *["down", "up"] * 12], self.owner.events)


class StopTests(_LinkCase):
    """After a stop nothing is left: no connection, no timer, no word."""

    def _stopped(self) -> None:
        done = self.link.stop()
        self.server.pump()
        self.clock.advance(0)
        self.successResultOf(done)
        self.assertEqual([], self.server.sessions)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_connected(self) -> None:
        """A link that is up is closed."""
        self.start()
        self._stopped()

    def test_during_the_login(self) -> None:
        """A login under way is closed without a complaint."""
        self.start(password="x")
        self.server.users = {"default": "x"}
        self.server.kill()
        self.owner.reasons.clear()
        self.clock.advance(1)
        self.link.stop()
        self.wait(2)
        self.assertEqual([], self.owner.reasons)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_while_away(self) -> None:
        """Attempts end."""
        self.server.down = True
        self.start()
        self.wait(2)
        self._stopped()

    def test_last_connection_is_gone_by_itself(self) -> None:
        """If the connection goes while it is being stopped, there is nothing to reset."""
        self.start()
        self.server.frozen = True
        self.protocol().call("PING").addErrback(lambda failure: None)
        self.link.stop()
        self.server.kill()
        self.wait(2)
        self.link._abort()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_never_started(self) -> None:
        """There is nothing to wait for."""
        self.assertIsNone(self.successResultOf(self.make().stop()))

    def test_frozen_server(self) -> None:
        """A server that takes nothing delays the stop by about a second, not for ever."""
        self.start()
        self.server.frozen = True
        self.protocol().call("PING").addErrback(lambda failure: None)
        done = self.link.stop()
        self.assertNoResult(done)
        self.wait(1.5)
        self.successResultOf(done)
        self.assertEqual([], self.clock.getDelayedCalls())


class TxredisapiTests(SynchronousTestCase):
    """
    What we rely on in txredisapi 1.6 that it does not promise.

    A failure here means that wsredis/redis/link.py has to be read again beside the new release.
    """

    def test_pool_slot(self) -> None:
        """`_RedisFactory.startConnecting` makes a slot, and gives it a service with our clock."""
        factory = txredisapi.SubscriberFactory()
        slot = txredisapi._PoolSlot(factory, object())
        for name in ("service", "protocol", "start", "stop", "_retryDelay", "_prepareConnection"):
            self.assertTrue(hasattr(slot, name), name)
        self.assertEqual([], factory.slots, "disconnect() would not find our slot")
        self.assertEqual(1, factory.poolsize, "there would be several links")

    def test_slot_factory_reports_the_loss(self) -> None:
        """The slot is told of a lost connection, and the protocol as well."""
        heard: list[object] = []

        class Slot:
            def _connectionLost(self, protocol: object) -> None:
                heard.append("slot")

        class Protocol:
            def connectionLost(self, reason: object) -> None:
                heard.append("protocol")

        class Factory:
            def buildProtocol(self, addr: object) -> Protocol:
                return Protocol()

        made = txredisapi._SlotFactory(Factory(), Slot()).buildProtocol(None)
        made.connectionLost(None)
        self.assertEqual(["protocol", "slot"], heard)

    def test_no_login_of_its_own(self) -> None:
        """A factory without password and database sends nothing: the greeting is ours."""
        factory = txredisapi.SubscriberFactory()
        self.assertIsNone(factory.password)
        self.assertIsNone(factory.dbid)

    def test_backoff_is_reset_by_connection_made(self) -> None:
        """`greeted` ends in `whenConnected`, with which the slot forgets rejected attempts."""
        protocol = RedisProtocol(1)
        told = protocol.whenConnected()
        self.assertNoResult(told)
        protocol.greeted()
        self.assertIs(protocol, self.successResultOf(told))

    def test_hiredis_raises_our_error(self) -> None:
        """Rubbish is told from bugs by the class of error that hiredis is given."""
        reader = hiredis.Reader(protocolError=link._Rubbish, replyError=txredisapi.ResponseError)
        reader.feed(b"-ERR no\r\n")
        self.assertIsInstance(reader.gets(), txredisapi.ResponseError)
        reader.feed(b"rubbish\r\n")
        self.assertRaises(link._Rubbish, reader.gets)

    def test_plain_target_makes_an_endpoint(self) -> None:
        """Any endpoint will do: that of a host, too."""
        from wsredis.brokers.redis.url import Target

        target = Target(name="x", host="localhost", port=1)
        self.assertIsInstance(target.endpoint(MemoryReactorClock()), HostnameEndpoint)
