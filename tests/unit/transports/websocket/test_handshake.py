"""Tests for `wsredis.transports.websocket.handshake`: the decision, and the answer to an error."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_enrolment import FakeEnrolment
from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import TEXT, frame, handshake
from tests.unit.transports.websocket.case import BOTH, LISTEN, SlowAuthenticator, codes
from wsredis.channels import Access
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import (
    BadRequest,
    BrokerUnavailable,
    HandshakeRejected,
    LimitExceeded,
    PermissionDenied,
)
from wsredis.gateway.connection import Connection
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity
from wsredis.transports.websocket.handshake import error_response, rejection_for
from wsredis.transports.websocket.lean import State


class _Stubborn:
    """An authenticator that ignores that it is cancelled."""

    def __init__(self) -> None:
        self.answer: Deferred[Identity] = Deferred(lambda answer: answer.callback(Identity()))

    def identify(self, handshake: Handshake) -> Deferred[Identity]:
        return self.answer


class _Failing:
    """An authenticator that raises an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def identify(self, handshake: Handshake) -> Identity:
        raise self.error


class _Own:
    """A policy made of a function."""

    def __init__(self, grant: Callable[[Identity, Handshake], Any]) -> None:
        self.allow = grant


class _NoApplication:
    """Refuses."""

    def decide(self, *args: object) -> Any:
        raise HandshakeRejected("no")


class _WithApplication(MemoryGateway):
    """A gateway with an application."""

    def make_applications(self, config: GatewayConfig) -> _NoApplication:
        """Refuse."""
        return _NoApplication()


class _Refuses:
    """Refuses later."""

    def __init__(self, cause: str = "application") -> None:
        self._cause = cause

    def decide(self, *args: object) -> Any:
        return fail(HandshakeRejected("forbidden", 403, "by the application", cause=self._cause))


class RefusedByApplicationTests(MemoryGatewayCase):
    """A handshake that the application of ``asgi`` refuses."""

    def line(self, path: str, cause: str = "application") -> str:
        """The line of the log about a handshake that it refuses."""

        class Gateway(MemoryGateway):
            def make_applications(self, config: GatewayConfig) -> _Refuses:
                return _Refuses(cause)

        self.use(Gateway(self.config))
        with capturedLogs() as logs:
            self.answer(handshake(path))
        (line,) = [str(formatEvent(each)) for each in logs]
        return line

    def test_hint(self) -> None:
        """The log says so if it may have been meant for the gateway."""
        for path, hint in (
            ("/chat?subscribe-broadcast", "sockets of the gateway are below /ws/"),
            ("/ws/a", "with a flag such as ?subscribe-broadcast the gateway would serve it"),
            ("/ws/a?broadcast", 'unknown flag "broadcast": did you mean subscribe-broadcast?'),
        ):
            self.assertTrue(self.line(path).endswith(f"(by the application; {hint})"), path)
            self.assertTrue(self.line(path, "other").endswith("(by the application)"), path)
        self.assertTrue(self.line("/chat?x=1").endswith("(by the application)"))


class AdmissionTests(MemoryGatewayCase):
    """The decision on a handshake may take time, and much may happen meanwhile."""

    def setUp(self) -> None:
        """Make a gateway whose authenticator is slow."""
        self.slow = SlowAuthenticator()
        self.use(MemoryGateway(self.config, authenticator=self.slow))

    def _asking(self, rest: bytes = b"") -> Socket:
        client = self.connect()
        client.send(handshake(BOTH) + rest)
        self.assertEqual(b"", client.take())
        return client

    def test_answered_later(self) -> None:
        """The handshake goes on with the answer."""
        client = self._asking()
        self.slow.asked[0].callback(Identity())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "))

    def test_unusual_handshake(self) -> None:
        """One that Autobahn has checked waits in the same way, and its early frames are kept."""
        for leaves in (False, True):
            client = self.connect()
            client.send(handshake(BOTH, "X-A: 1", "X-A: 2") + frame(TEXT, b"1"))
            client.send(frame(TEXT, b"2"))
            self.assertEqual(State.PENDING, client.protocol.state)
            if leaves:
                client.leave()
            else:
                self.slow.asked[0].callback(Identity())
                _, _, rest = client.take().partition(b"\r\n\r\n")
                self.assertEqual(b"\x81\x011\x81\x012", rest)
                client.leave()
        self.assertTrue(self.slow.asked[1].called)
        self.nothing_left()

    def test_client_leaves(self) -> None:
        """It leaves no WebSocket, no hub entry and no timer; the authenticator is cancelled."""
        client = self._asking()
        client.leave()
        self.assertTrue(self.slow.asked[0].called)
        self.assertEqual(0, self.metrics.opened)
        self.nothing_left()

    def test_client_leaves_and_the_answer_comes_all_the_same(self) -> None:
        """An answer that comes after the client has gone changes nothing."""
        client = self._asking()
        protocol = self.protocol(client)
        client.leave()
        protocol.failHandshake("too late")
        self.assertEqual(0, self.metrics.opened)
        self.nothing_left()

    def test_client_leaves_and_the_question_is_not_cancelled(self) -> None:
        """An authenticator that answers all the same opens nothing."""
        self.use(MemoryGateway(self.config, authenticator=_Stubborn()))
        client = self.connect()
        client.send(handshake(BOTH))
        client.leave()
        self.assertEqual([], self.flushLoggedErrors())
        self.nothing_left()

    def test_full_meanwhile(self) -> None:
        """Many handshakes may be decided at once; no more than the limit are accepted."""
        config = GatewayConfig(limits=Limits(max_connections=1))
        self.use(MemoryGateway(config, authenticator=self.slow))
        clients = [self._asking(), self._asking()]
        for each in self.slow.asked:
            each.callback(Identity())
        statuses = [client.take().split(b" ", 2)[1] for client in clients]
        self.assertEqual([b"101", b"503"], statuses)
        self.assertEqual(1, len(self.factory.registry.connections))

    def test_second_request_meanwhile(self) -> None:
        """A second request is not parsed as one; after the answer it is a broken frame."""
        client = self._asking(handshake(BOTH))
        client.send(handshake(BOTH))
        self.assertEqual(1, len(self.slow.asked))
        self.slow.asked[0].callback(Identity())
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(1, head.count(b"HTTP/1.1 101 "))
        client.received = rest
        self.assertEqual([1002], codes(client.frames()))
        self.assertEqual(1, self.metrics.opened)

    def test_early_frames(self) -> None:
        """Frames that come before the answer are kept, in order."""
        client = self._asking(frame(TEXT, b"1"))
        client.send(frame(TEXT, b"2"))
        self.slow.asked[0].callback(Identity())
        _, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(b"\x81\x011\x81\x012", rest)

    def test_too_many_early_bytes(self) -> None:
        """The early bytes are bounded."""
        client = self._asking()
        client.send(b"x" * 16384)
        self.assertFalse(client.closed)
        client.send(b"x")
        self.assertTrue(client.aborted)
        self.nothing_left()

    def test_gateway_stops_meanwhile(self) -> None:
        """A client that is accepted too late is sent away."""
        client = self._asking()
        self.factory.drain()
        self.slow.asked[0].callback(Identity())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        # The admission still hears the application.
        self.assertEqual(1, len(self.gateway.hub))

    def test_redis_leaves_meanwhile(self) -> None:
        """Redis may be gone when the answer comes."""
        client = self._asking()
        self.gateway.broker.disconnect()
        self.slow.asked[0].callback(Identity())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        client.leave()
        self.nothing_left()

    def test_published_meanwhile(self) -> None:
        """
        Too much for the queue of a client that is not there yet refuses it.

        Here the subscription stands, and the stored messages are still being fetched.
        """
        fetching: Deferred[dict[bytes, bytes]] = Deferred()
        self.patch(self.gateway.broker, "fetch", lambda channels: fetching)
        client = self._asking()
        self.slow.asked[0].callback(Identity())
        for _ in range(30):
            self.publish(b"x" * 600_000)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(fetching.called)
        self.nothing_left()

    def test_held_and_then_sent(self) -> None:
        """A message that is published meanwhile follows the stored message."""
        fetching: Deferred[dict[bytes, bytes]] = Deferred()
        self.patch(self.gateway.broker, "fetch", lambda channels: fetching)
        client = self._asking()
        self.slow.asked[0].callback(Identity())
        self.publish(b"live")
        fetching.callback({b"broadcast:a": b"stored"})
        _, _, rest = client.take().partition(b"\r\n\r\n")
        client.received = rest
        self.assertEqual([b"stored", b"live"], [each.payload for each in client.frames()])


class RefusalTests(MemoryGatewayCase):
    """A refusal has a status, a harmless body, and a line in the log."""

    def _refused_by(self, error: BaseException) -> tuple[int, bytes]:
        self.use(MemoryGateway(self.config, authenticator=_Failing(error)))
        status, answer = self.answer(handshake(LISTEN))
        self.nothing_left()
        return status, answer

    def test_remembered(self) -> None:
        """Those who ask why are told of a refusal with its advice."""
        self.answer(handshake("/ws/a?subscribe-user", "Origin: http://elsewhere.example"))
        (incident,) = self.gateway.hub.incidents.of("a")
        self.assertEqual(
            "refused with 403: this page may not open this WebSocket: "
            "--allow-origin http://elsewhere.example would allow it",
            incident.text,
        )

    def test_by_the_authenticator(self) -> None:
        """Its status and its reason are the answer; its hint is for the log alone."""
        with capturedLogs() as events:
            status, answer = self._refused_by(HandshakeRejected("not today", 403, "use --magic"))
        self.assertEqual(403, status)
        self.assertTrue(answer.endswith(b"\r\n\r\nnot today"))
        self.assertNotIn(b"magic", answer)
        self.assertIn("--magic", events[0]["hint"])

    def test_words_cannot_split_the_answer(self) -> None:
        """A reason with any characters stands in the body only."""
        reason = "a\r\nX-Evil: 1\r\n\r\n<script>\ud800"
        status, answer = self._refused_by(HandshakeRejected(reason))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual(403, status)
        self.assertNotIn(b"Evil", head)
        self.assertIn(b"Content-Type: text/plain", head)
        self.assertIn(b"nosniff", head)
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)

    def test_by_a_bug(self) -> None:
        """The text of an unexpected exception is for the log, not for the client."""
        status, answer = self._refused_by(ValueError("the password is hunter2"))
        self.assertEqual(500, status)
        self.assertNotIn(b"hunter2", answer)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_by_the_end_of_a_program(self) -> None:
        """An authenticator that calls `sys.exit` refuses the handshake, and ends nothing else."""
        self.assertEqual(500, self._refused_by(SystemExit())[0])
        self.assertEqual(1, len(self.flushLoggedErrors(SystemExit)))

    def test_by_rights_and_limits(self) -> None:
        """A channel that Redis forbids, or a limit, is 403."""
        for error in (PermissionDenied("no"), LimitExceeded("no")):
            self.assertEqual(403, self._refused_by(error)[0])

    def test_unavailable(self) -> None:
        """A broker that is away is 503, with the seconds to wait."""
        status, answer = self._refused_by(BrokerUnavailable("Redis has gone"))
        self.assertEqual(503, status)
        self.assertIn(b"\r\nRetry-After: ", answer)
        self.assertNotIn(b"gone", answer)

    def test_broker_comes_back(self) -> None:
        """A broker that is away for a moment is waited for, and a client may leave meanwhile."""
        broker = self.gateway.broker
        waiting: list[Deferred[None]] = []

        def when_up() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        self.patch(broker, "when_up", when_up)
        broker.disconnect()
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            client.send(handshake(LISTEN))
        self.assertEqual([b""] * 3, [client.take() for client in clients])
        clients[0].leave()
        broker.connect()
        waiting[1].callback(None)
        self.assertEqual(b"101", clients[1].take()[9:12])
        waiting[2].errback(BrokerUnavailable("Redis is away"))
        self.assertEqual(b"503", clients[2].take()[9:12])
        clients[1].leave()
        self.nothing_left()

    def test_redis_is_away(self) -> None:
        """Without Redis no client is accepted."""
        self.gateway.broker.disconnect()
        self.assertEqual(503, self.answer(handshake(LISTEN))[0])

    def test_forbidden_channel(self) -> None:
        """A channel that Redis forbids is 403, and leaves nothing in the hub."""
        self.gateway.redis.forbidden.add(b"broadcast:a")
        self.assertEqual(403, self.answer(handshake(LISTEN))[0])
        self.nothing_left()

    def test_other_paths(self) -> None:
        """A path outside of the prefix is 404."""
        for path in ("/", "/ws", "/wsx/a", "/x/ws/a"):
            self.assertEqual(404, self.answer(handshake(path))[0], path)

    def test_foreign_origin(self) -> None:
        """A page of another origin may not publish."""
        self.assertEqual(403, self.answer(handshake(BOTH, "Origin: https://evil.example"))[0])

    def test_seams_of_any_kind(self) -> None:
        """Authenticator and policy may answer at once, with a Deferred, or as coroutines."""

        class Authenticator:
            async def identify(self, handshake: Handshake) -> Identity:
                return Identity(user="joe")

        def policy(identity: Identity, handshake: Handshake) -> Deferred[Access]:
            return succeed(handshake.requested)

        self.use(
            MemoryGateway(
                self.config,
                authenticator=Authenticator(),  # type: ignore[arg-type]
                policy=_Own(policy),
            )
        )
        client = self.open("/ws/a?subscribe-user")
        self.publish(b"hello", b"user:joe:a")
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])

    def test_enrolment(self) -> None:
        """A subscriber of a project chooses the channels, and hears of the end of its client."""
        enrolment = FakeEnrolment([b"room:1"])
        waiting: list[Deferred[Any]] = []

        def enrol(granted: Access) -> Deferred[Any]:
            # A client that leaves does not keep it from answering.
            waiting.append(Deferred(lambda late: late.callback(enrolment)))
            return waiting[-1]

        class Authenticator:
            def identify(self, handshake: Handshake) -> Identity:
                return Identity("joe", enrol=enrol)

        self.use(MemoryGateway(self.config, authenticator=Authenticator()))
        client = self.connect()
        client.send(handshake(LISTEN))
        self.assertEqual(b"", client.take())
        waiting[0].callback(enrolment)
        self.assertIn(b" 101 ", client.take())
        self.publish(b"not for it")
        self.publish(b"hello", b"room:1")
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])
        self.assertEqual(0, enrolment.released)
        client.leave()
        self.assertEqual(1, enrolment.released)
        client = self.connect()
        client.send(handshake(LISTEN))
        client.leave()
        self.assertEqual(2, enrolment.released)
        self.nothing_left()

    def test_handler_that_fails_in_on_connect(self) -> None:
        """A bug of the embedding program closes with 1011, after a proper answer."""

        class Bad(Handler):
            def on_connect(self, connection: Connection) -> None:
                raise ZeroDivisionError

        self.use(MemoryGateway(self.config, handler=Bad()))
        client = self.open()
        self.assertEqual([1011], codes(client.frames()))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_bug_behind_the_answer(self) -> None:
        """If the opening itself fails, the connection is dropped and the bug is logged."""
        client = self.connect()

        def fail(*words: object) -> None:
            raise ZeroDivisionError

        self.patch(Connection, "opened", fail)
        client.send(handshake(LISTEN))
        self.assertTrue(client.aborted)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.nothing_left()


class OwnerTests(MemoryGatewayCase):
    """A refusal is told in the subprotocol of ours where the URL is not the application's."""

    def test_owner(self) -> None:
        """Without an application every URL is ours, or nobody's."""
        ours = ["/ws/a?subscribe-user", "/ws/%ff?publish-user"]
        theirs = ["/ws/a", "/ws/%ff", "/other?subscribe-user"]
        is_ours = self.protocol(self.open()).handshaker.is_ours
        self.assertEqual([True] * 5, [*map(is_ours, ours + theirs)])
        self.use(_WithApplication(self.config))
        is_ours = self.protocol(self.open()).handshaker.is_ours
        self.assertEqual([True] * 2 + [False] * 3, [*map(is_ours, ours + theirs)])

    def test_application(self) -> None:
        """A URL of the application is refused by HTTP, whatever is offered."""
        self.use(_WithApplication(self.config))
        offer = "Sec-WebSocket-Protocol: wsredis"
        self.assertEqual(403, self.answer(handshake("/chat", offer))[0])
        self.assertEqual(101, self.answer(handshake("/ws/%ff?publish-user", offer))[0])


class ErrorResponseTests(SynchronousTestCase):
    """`error_response`."""

    def check(self, status: int, reason: str, *headers: str) -> None:
        """Check a whole answer: its status line, all its headers, and its body."""
        head, _, body = error_response(status, reason).partition(b"\r\n\r\n")
        line, *rest = head.decode("ascii").split("\r\n")
        self.assertEqual(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", line)
        common = [
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        ]
        self.assertEqual([*common, *headers], rest)
        self.assertEqual(reason.encode("utf-8", "replace"), body)

    def test_headers(self) -> None:
        """Some statuses need a header more (RFC 6455, 4.2.2; RFC 9110, 10.2.3 and 15.5.2)."""
        self.check(400, "no", "Sec-WebSocket-Version: 13")
        self.check(401, "no", "WWW-Authenticate: Bearer")
        for status in (403, 404, 408, 413, 431, 500):
            self.check(status, "no")
        self.check(426, "no", "Sec-WebSocket-Version: 13")
        self.check(503, "no", "Retry-After: 2")

    def test_body(self) -> None:
        """The reason stays in the body, whatever is in it."""
        for reason in ("", "gr\xfc\xdfe", "a\r\nX-Evil: 1\r\n\r\n<b>", "\ud800"):
            self.check(404, reason)


class RejectionTests(SynchronousTestCase):
    """`rejection_for`."""

    def test_table(self) -> None:
        """Each known error has its status; the text of some is for the log alone."""
        mine = HandshakeRejected("mine", 418, "hint")
        self.assertIs(mine, rejection_for(mine))
        for error, status, reason, hint in (
            (BadRequest("bad"), 400, "bad", ""),
            (BrokerUnavailable("gone"), 503, "try again later", "gone"),
            (PermissionDenied("forbidden"), 403, "forbidden", ""),
            (LimitExceeded("many"), 403, "many", ""),
        ):
            found = rejection_for(error)
            assert found is not None
            self.assertEqual((status, reason, hint), (found.status, found.reason, found.hint))

    def test_bug(self) -> None:
        """Any other error stands for no refusal."""
        for error in (ValueError("x"), CancelledError(), None):
            self.assertIsNone(rejection_for(error))
