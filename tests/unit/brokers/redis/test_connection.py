"""Tests of one connection to Redis: login, silence, pause, stop."""

from __future__ import annotations

from socket import socketpair

import hiredis
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from tests.unit.brokers.redis.case import PING, LinkCase
from wsredis.brokers.redis.protocol import NoReply, NotServing
from wsredis.brokers.redis.reading import Replies
from wsredis.brokers.redis.reconnect import MAX_DELAY, self_test
from wsredis.errors import ConfigError


class GreetingTests(LinkCase):
    """A link is up when Redis has accepted the login."""

    def test_without_password(self) -> None:
        """Without a password and a database, the role and one PING are the whole login."""
        self.start()
        self.assertEqual(["up"], self.owner.events)
        self.assertEqual([(b"PING",), (b"ROLE",)], self.server.commands)

    def test_replica(self) -> None:
        """A replica is not used, and tried again until it is the master."""
        self.server.replica = True
        self.start()
        self.wait(1)
        self.assertEqual([], self.owner.events)
        self.assertIn("replica", self.owner.reasons[0])
        self.server.replica = False
        self.wait(3)
        self.assertEqual(["up"], self.owner.events)

    def test_role_is_not_told(self) -> None:
        """A server that does not say what it is is used."""
        self.server.refuse["ROLE"] = "NOPERM"
        self.start()
        self.assertEqual(["up"], self.owner.events)

    def test_password_is_read_again(self) -> None:
        """A password that was changed counts at the next login; one that cannot be read is told."""
        passwords = ["one"]

        def read() -> str:
            if not passwords:
                raise ConfigError("the file is gone")
            return passwords[-1]

        self.server.users = {"default": "one"}
        self.start(password="one", read_password=read)
        self.server.users = {"default": "two"}
        passwords.clear()
        self.server.kill()
        self.wait(1)
        self.assertEqual({"the file is gone"}, set(self.owner.reasons))
        passwords.append("two")
        self.wait(3)
        self.assertEqual(["up", "down", "up"], self.owner.events)

    def test_leave(self) -> None:
        """A connection that is left is made anew."""
        self.start()
        self.link.leave()
        self.wait(1)
        self.assertEqual(["up", "down", "up"], self.owner.events)
        self.assertEqual(2, self.server.accepted)

    def test_all_in_one_go(self) -> None:
        """AUTH with user and password, SELECT and PING are sent without waiting for answers."""
        self.server.users = {"app": "s e\u00e9cret"}
        self.server.frozen = True
        self.start(username="app", password="s e\u00e9cret", database=3)
        self.server.frozen = False
        self.server.sessions[0].move()
        self.assertEqual(
            [
                (b"AUTH", b"app", "s e\u00e9cret".encode()),
                (b"SELECT", b"3"),
                (b"PING",),
                (b"ROLE",),
            ],
            self.server.commands,
        )
        self.assertEqual(["up"], self.owner.events)

    def test_password_of_the_default_user(self) -> None:
        """A password without a user is sent alone, as servers before Redis 6 want it."""
        self.server.users = {"default": "x"}
        self.start(password="x")
        self.assertEqual((b"AUTH", b"x"), self.server.commands[0])
        self.assertEqual(["up"], self.owner.events)

    def test_nothing_counts_after_the_loss(self) -> None:
        """There is no protocol after the connection is lost."""
        self.start()
        self.server.down = True
        self.server.kill()
        self.assertIsNone(self.link.protocol)
        self.assertEqual([], self.owner.reasons)

    def test_last_end(self) -> None:
        """The reason for which an established connection ended is known in words."""
        for error, words in (
            (ConnectionDone(), "Redis has closed it"),
            (ConnectionAborted(), "the gateway gave it up"),
            (ConnectionLost(), "Connection to the other side was lost in a non-clean fashion."),
        ):
            self.setUp()
            self.start()
            self.assertEqual("", self.link.last_end)
            self.server.sessions[0].cut(error)
            self.assertEqual(words, self.link.last_end)

    def test_unsuitable_library(self) -> None:
        """A link is not made with a library that it cannot work with."""
        self_test.cache_clear()
        self.addCleanup(self_test.cache_clear)
        self.patch(hiredis, "pack_command", None)
        self.assertRaises(ConfigError, self.make)

    def test_nothing_counts_before_the_answer(self) -> None:
        """There is no protocol to send commands on before Redis has answered."""
        self.server.frozen = True
        self.start()
        self.assertIsNone(self.link.protocol)
        self.assertEqual([], self.owner.events)

    def test_wrong_password_is_told_and_tried_again(self) -> None:
        """A refused password is reported without it, and the link recovers when it is right."""
        self.server.users = {"default": "new"}
        self.start(password="0ld-secret")
        self.assertEqual([], self.owner.events)
        self.assertIn("AUTH was refused: WRONGPASS", self.owner.reasons[0])
        self.assertNotIn("0ld-secret", " ".join(self.owner.reasons))
        self.wait(10)
        self.assertGreater(self.server.accepted, 3)
        self.server.users = {"default": "0ld-secret"}
        self.wait(MAX_DELAY + 0.5)
        self.assertEqual(["up"], self.owner.events)

    def test_no_password_where_one_is_needed(self) -> None:
        """NOAUTH fails the login."""
        self.server.users = {"default": "x"}
        self.start()
        self.assertEqual([], self.owner.events)
        self.assertIn("NOAUTH", self.owner.reasons[0])

    def test_connection_lost_during_login(self) -> None:
        """
        A connection that drops during AUTH is made again.

        txredisapi 1.6 stops for ever in this case, so it does not get the password.
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
        """The reason why a TLS server is not trusted is reported as text."""
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
        self.wait(MAX_DELAY)
        self.assertEqual(["up"], self.owner.events)

    def test_unknown_database(self) -> None:
        """An unknown database fails the login, although PING would be answered."""
        self.start(database=99)
        self.assertEqual([], self.owner.events)
        self.assertIn("SELECT was refused: ERR DB index is out of range", self.owner.reasons[0])

    def test_refused_greeting_is_told_once(self) -> None:
        """After the first refusal, the replies to the rest of the login are not reported."""
        self.server.users = {"default": "x"}
        self.start(password="y", database=1)
        self.assertEqual(1, len(self.owner.reasons))

    def test_busy(self) -> None:
        """A server that runs a script is not used before it is through: it takes nothing."""
        self.server.refuse["PING"] = "BUSY Redis is busy running a script"
        self.start()
        self.assertEqual([], self.owner.events)
        self.assertIn("BUSY", self.owner.reasons[0])

    def test_loading(self) -> None:
        """A server that still loads its data takes subscriptions and publications."""
        self.server.loading = True
        self.start()
        self.assertEqual(["up"], self.owner.events)

    def test_nagle(self) -> None:
        """Commands are not delayed on TCP; a UNIX socket has no such option."""
        self.start()
        self.assertTrue(self.server.sessions[0].no_delay)
        self.server.tcp = False
        self.start()
        self.assertFalse(self.server.sessions[1].no_delay)


class PauseTests(LinkCase):
    """A paused connection hands over nothing and reads nothing, whichever connection it is."""

    def _subscribed(self) -> None:
        self.start()
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()

    def test_reply_after_a_batch_that_pauses(self) -> None:
        """A reply in the same read as publications waits, if their delivery pauses."""
        self.start()
        protocol = self.protocol()
        answers: list[object] = []
        self.owner.on_messages = self.link.pause
        protocol.call("PING").addCallback(answers.append)
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
        protocol.dataReceived(message + b"+PONG\r\n" + message)
        self.assertEqual(([[(b"a", b"x")]], []), (self.owner.batches, answers))
        self.owner.on_messages = lambda: None
        self.link.resume()
        self.assertEqual([b"PONG"], answers)
        self.assertEqual([[(b"a", b"x")]] * 2, self.owner.batches)

    def test_nothing_is_read(self) -> None:
        """However much comes, it stays in the transport, and none of it in our memory."""
        self._subscribed()
        self.link.pause()
        payload = b"x" * 500
        for _ in range(1000):
            self.server.publish(b"a", payload)
            self.server.pump()
        self.assertGreater(self.server.sessions[0].unread, 500_000)
        self.assertEqual([], self.owner.batches)
        self.link.resume()
        self.server.pump()
        self.assertEqual([[(b"a", payload)] * 1000], self.owner.batches)
        self.assertEqual(0, self.server.sessions[0].unread)

    def test_resume_without_a_pause(self) -> None:
        """It is harmless, with a connection and without one."""
        link = self.make()
        link.resume()
        self._subscribed()
        self.link.resume()
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.assertEqual([[(b"a", b"1")]], self.owner.batches)

    def test_next_connection_is_paused(self) -> None:
        """A connection that is made during a pause logs in, and is then paused like the last."""
        self._subscribed()
        self.link.pause()
        self.server.kill()
        self.wait(1)
        self.assertEqual(["up", "down", "up"], self.owner.events)
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()
        self.server.publish(b"a", b"1")
        self.wait(60)
        self.assertEqual([], self.owner.batches)
        self.assertEqual(2, self.server.accepted)
        self.link.resume()
        self.server.pump()
        self.assertEqual([[(b"a", b"1")]], self.owner.batches)

    def test_resumed_between_two_connections(self) -> None:
        """A pause that ends while there is no connection does not hold the next one."""
        self._subscribed()
        self.link.pause()
        self.server.kill()
        self.link.resume()
        self.wait(1)
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.server.publish(b"a", b"2")
        self.server.pump()
        self.assertEqual([[(b"a", b"2")]], self.owner.batches)

    def test_paused_before_the_login(self) -> None:
        """A pause does not keep a connection from logging in."""
        self.link = self.make(deliver=self.owner.messages)
        self.link.pause()
        self.link.start()
        self.server.pump()
        self.assertEqual(["up"], self.owner.events)
        self.assertTrue(self.protocol().is_paused)

    def test_not_taken_for_silent(self) -> None:
        """A connection that we do not read is not left for its silence."""
        self.start()
        protocol = self.protocol()
        self.link.pause()
        self.wait(60)
        self.assertEqual([], self.owner.reasons)
        self.assertIs(protocol, self.protocol())

    def test_silence_after_a_pause(self) -> None:
        """A server that died during the pause is noticed after it."""
        self.start()
        self.link.pause()
        self.wait(30)
        self.server.frozen = True
        self.link.resume()
        self.wait(PING * 4)
        self.assertEqual(["no answer for 6 seconds"], self.owner.reasons)


class KeepAliveTests(LinkCase):
    """A connection to a server that falls silent is given up."""

    def test_pings(self) -> None:
        """An idle link sends one PING per interval."""
        self.start()
        self.wait(PING * 4)
        self.assertEqual(4, len(self.server.commands) - 2)
        self.assertEqual(["up"], self.owner.events)

    def test_no_ping_while_others_wait(self) -> None:
        """Unanswered commands are as good as a PING: none is added after them."""
        self.start()
        self.server.frozen = True
        self.protocol().call("MGET", b"a")
        self.wait(PING)
        self.assertEqual(1, self.protocol().unanswered)

    def test_silence(self) -> None:
        """A frozen server is left after two intervals without an answer, and tried again."""
        self.start()
        self.server.frozen = True
        self.wait(PING * 3 + 0.5)
        self.assertEqual(["up", "down"], self.owner.events)
        self.assertEqual(["no answer for 6 seconds"], self.owner.reasons)
        self.server.frozen = False
        self.wait(MAX_DELAY)
        self.assertEqual(["up", "down", "up"], self.owner.events)

    def test_short_pauses_do_not_add_up(self) -> None:
        """Each answer starts the patience anew, however often the server is slow."""
        self.start()
        for _ in range(5):
            self.server.frozen = True
            self.wait(PING + 1)
            self.server.frozen = False
            self.wait(PING * 2)
        self.assertEqual(["up"], self.owner.events)
        self.assertEqual(1, self.server.accepted)

    def test_silence_of_an_earlier_connection(self) -> None:
        """Half of the patience that one connection used up is not missing for the next."""
        self.start()
        self.server.frozen = True
        self.wait(PING * 2)
        self.server.frozen = False
        self.server.kill()
        self.wait(1)
        self.assertEqual(["up", "down", "up"], self.owner.events)
        self.server.frozen = True
        self.wait(PING * 1.5)
        self.server.frozen = False
        self.wait(PING * 3)
        self.assertEqual(["up", "down", "up"], self.owner.events)
        self.assertEqual([], self.owner.reasons)

    def test_silence_during_the_login(self) -> None:
        """A server that is frozen from the start is left as well."""
        self.server.frozen = True
        self.start()
        self.wait(PING * 3 + 0.5)
        self.assertGreaterEqual(self.server.accepted, 2)
        self.assertEqual(["no answer for 6 seconds"], self.owner.reasons)

    def test_short_pause(self) -> None:
        """A pause shorter than that costs nothing."""
        self.start()
        self.server.frozen = True
        self.wait(PING + 1)
        self.server.frozen = False
        self.wait(PING * 3)
        self.assertEqual(["up"], self.owner.events)
        self.assertEqual(1, self.server.accepted)

    def _pushed(self, pause: float = PING) -> None:
        """Let messages come for 18 seconds, and no answer to a PING."""
        protocol = self.protocol()
        protocol.call("SUBSCRIBE", b"a")
        self.server.pump()
        protocol.send(lambda reply: True, "PING")
        self.server.frozen = True
        for _ in range(round(18 / pause)):
            for _ in range(round(pause * 4)):
                self.clock.advance(0.25)
            protocol.dataReceived(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n")

    def test_pushed_messages_are_no_answer(self) -> None:
        """A command is answered in time, whatever else comes meanwhile."""
        self.start()
        self._pushed()
        self.assertEqual("no answer for 6 seconds", self.owner.reasons[0])
        self.assertIn("down", self.owner.events)

    def test_messages_without_a_break(self) -> None:
        """A server that has many messages to send before the answer has more time, not for ever."""
        self.start()
        self._pushed(0.25)
        self.assertEqual([], self.owner.reasons)
        protocol = self.protocol()
        for _ in range(60):
            self.clock.advance(0.25)
            protocol.dataReceived(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n")
        self.assertEqual("no answer for 30 seconds", self.owner.reasons[0])

    def test_backlog(self) -> None:
        """A server is not left while there is something of it to read."""
        self.start()
        ours, theirs = socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.send(b"x")
        self.server.sessions[0].fileno = ours.fileno  # type: ignore[attr-defined]
        self.assertTrue(self.link.is_behind)
        self._pushed()
        self.assertEqual([], self.owner.reasons)
        ours.recv(1)
        self.assertFalse(self.link.is_behind)
        self.clock.advance(PING)
        self.assertEqual(["no answer for 6 seconds"], self.owner.reasons)

    def test_many_slow_answers(self) -> None:
        """A server that answers one command after the other is not left, however many wait."""
        self.start()
        self.server.frozen = True
        protocol = self.protocol()
        for _ in range(10):
            protocol.call("PING")
        for _ in range(10):
            self.clock.advance(PING)
            protocol.dataReceived(b"+PONG\r\n")
        self.assertEqual([], self.owner.reasons)

    def test_pipeline_that_is_answered_slowly(self) -> None:
        """Each reply to a pipeline counts."""
        self.start()
        self.server.frozen = True
        protocol = self.protocol()
        Replies(protocol, [("PING",)] * 10, (bytes,))
        for _ in range(9):
            self.clock.advance(PING)
            protocol.dataReceived(b"+PONG\r\n")
        self.assertEqual([], self.owner.reasons)

    def test_errors_are_no_sign_of_life(self) -> None:
        """A server that answers each PING with an error is left after a time, not at once."""
        self.start()
        self.server.refuse["PING"] = "BUSY a script is running"
        self.wait(PING + 1)
        self.server.refuse.clear()
        self.wait(PING * 4)
        self.assertEqual([], self.owner.reasons)
        self.server.refuse["PING"] = "ERR no, with args beginning with: secret"
        self.wait(PING * 4)
        self.assertIn("PING is answered with ERR no", self.owner.reasons)
        self.assertEqual("down", self.owner.events[-1])

    def test_errors_that_are_harmless(self) -> None:
        """A user who may not send PING is there all the same."""
        self.start()
        self.server.refuse["PING"] = "NOPERM no"
        self.wait(PING * 5)
        self.assertEqual([], self.owner.reasons)

    def test_answer_to_another_command(self) -> None:
        """A PING that is answered with something else ends the connection, with one reason."""
        for reply in (b"+QUEUED", b":1", b"*1\r\n+OK"):
            self.setUp()
            self.start()
            self.server.frozen = True
            self.wait(PING)
            self.protocol().dataReceived(reply + b"\r\n")
            self.server.frozen = False
            self.wait(0.5)
            self.assertEqual(1, len(self.owner.reasons))
            self.assertIn("invalid reply: PING was answered with", self.owner.reasons[0])
            self.assertEqual(["up", "down", "up"], self.owner.events)

    def test_not_serving(self) -> None:
        """A command that is refused for now ends the connection with that reason."""
        self.start()

        def refused(reply: object) -> bool:
            if isinstance(reply, NoReply):
                return True
            raise NotServing("SUBSCRIBE was refused: BUSY")

        self.protocol().send(refused, "PING")
        self.wait(0.5)
        self.assertEqual(["SUBSCRIBE was refused: BUSY"], self.owner.reasons)

    def test_process_that_was_late(self) -> None:
        """A process that did not run for long looks at what has come before it leaves."""
        self.start()
        self.server.frozen = True
        self.wait(PING + 0.5)
        self.clock.advance(100)
        self.server.frozen = False
        self.server.pump()
        self.wait(PING * 2)
        self.assertEqual([], self.owner.reasons)

    def test_reply_that_never_ends(self) -> None:
        """Bytes alone are not a sign of life: a reply that never ends is given up."""
        self.start()
        self.server.frozen = True
        self.protocol().call("PING").addErrback(lambda failure: None)
        self.protocol().dataReceived(b"$999\r\n")
        for _ in range(10):
            self.clock.advance(PING)
            if self.link.protocol is not None:
                self.protocol().dataReceived(b"x")
        self.assertEqual(["no answer for 12 seconds"], self.owner.reasons[:1])

    def test_reply_that_comes_slowly(self) -> None:
        """Bytes without a complete reply are half a sign of life: twice the time is waited."""
        self.start()
        self.server.frozen = True
        self.protocol().call("PING").addErrback(lambda failure: None)
        self.protocol().dataReceived(b"$999\r\n")
        for _ in range(4):
            self.protocol().dataReceived(b"x")
            self.clock.advance(PING)
        self.assertEqual([], self.owner.reasons)
        self.protocol().dataReceived(b"x")
        self.clock.advance(PING)
        self.assertEqual(["no answer for 12 seconds"], self.owner.reasons)

    def test_nothing_asked_and_nothing_said(self) -> None:
        """A login that waits for nothing is not timed by mistake."""
        self.start()
        protocol = self.protocol()
        self.link.protocol = None
        for _ in range(5):
            self.clock.advance(PING)
        self.assertFalse(self.server.sessions[0].aborted)
        self.link.protocol = protocol

    def test_no_ping_while_there_is_no_connection(self) -> None:
        """The timer finds nothing to do while Redis is away."""
        self.server.down = True
        self.start()
        self.wait(PING * 2)
        self.assertEqual([], self.server.commands)


class StopTests(LinkCase):
    """After a stop nothing is left: no connection, no timer, no report."""

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
