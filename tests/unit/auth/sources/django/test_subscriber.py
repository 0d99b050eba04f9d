"""Tests for `wsredis.auth.sources.django.subscriber`, with real threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from threading import Event
from types import ModuleType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent

from tests.support.children import PATIENCE
from tests.support.django_project import SETTINGS
from tests.unit.auth.sources.django.case import DjangoCase
from wsredis.auth.sources.django.authenticator import DjangoAuthenticator
from wsredis.channels import Access
from wsredis.config import GatewayConfig, Limits
from wsredis.django import Subscriber
from wsredis.errors import (
    BrokerUnavailable,
    ClientError,
    HandshakeRejected,
    PermissionDenied,
)
from wsredis.gateway.enrolment import Enrolment
from wsredis.gateway.identity import Handshake, Identity

_ALL = "subscribe-broadcast&subscribe-user&publish-user"


class _Encoder:
    def encode(self, value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else bytes(value)

    def decode(self, value: bytes) -> bytes:
        return value


class _Pool:
    def get_encoder(self) -> _Encoder:
        return _Encoder()


class _Client:
    """A client of redis-py, as far as it is needed."""

    def __init__(self, connection_pool: _Pool) -> None:
        self.connection_pool = connection_pool


class SubscriberCase(DjangoCase):
    """A test case with an authenticator for a project with this subscriber class."""

    def start(self, cls: type, **config: Any) -> DjangoAuthenticator:
        """Make the authenticator."""
        self.vary(WS4REDIS_SUBSCRIBER=cls)
        self.authenticator = DjangoAuthenticator(
            self.reactor,
            GatewayConfig(django=SETTINGS, **config),
            redis=lambda: _Client(_Pool()),
        )
        self.addCleanup(self.authenticator.stop)
        return self.authenticator

    def identity(
        self, query: str = _ALL, cookie: str | None = None, address: str = ""
    ) -> tuple[Identity, Access]:
        """Return the identity of a new client, and what it may do."""
        handshake: Handshake = replace(self.handshake(cookie, query), address=address)
        identity: Identity = self.done(self.authenticator.identify(handshake))
        return identity, identity.granted or handshake.requested

    def entering(
        self,
        query: str = _ALL,
        cookie: str | None = None,
        granted: Access | None = None,
        address: str = "",
    ) -> Deferred[Enrolment]:
        """Begin to enrol a client; without *granted*, with all that it asks for."""
        identity, access = self.identity(query, cookie, address)
        assert identity.enrol is not None
        entered: Any = identity.enrol(access if granted is None else granted)
        return entered

    def enrol(self, *args: Any, **more: Any) -> Enrolment:
        """Enrol a client; see `entering`."""
        return self.done(self.entering(*args, **more))

    def done(self, asked: Deferred[Any]) -> Any:
        """Wait for a thread."""
        return self.successResultOf(self.waited(asked))

    def waited(self, asked: Deferred[Any]) -> Deferred[Any]:
        """Wait for any outcome."""
        fired: list[object] = []

        def note(outcome: object) -> object:
            fired.append(outcome)
            return outcome

        asked.addBoth(note)
        self.reactor.run_until(lambda: fired)
        return asked

    def failed(self, asked: Deferred[Any]) -> Any:
        """Wait for a thread that fails."""
        return self.failureResultOf(self.waited(asked)).value


class EnrolTests(SubscriberCase):
    """`set_pubsub_channels`."""

    def rejected(self, method: Callable[..., object], **more: object) -> HandshakeRejected:
        """Return the rejection by a class with this method."""
        self.start(type("Own", (Subscriber,), {"set_pubsub_channels": method, **more}))
        error = self.failed(self.entering())
        assert isinstance(error, HandshakeRejected), repr(error)
        return error

    def test_chosen(self) -> None:
        """The client gets the channels that the class subscribes to, and those it publishes on."""

        class Own(Subscriber):
            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                super().set_pubsub_channels(request, channels)
                self._subscription.subscribe("room:1")
                self._publishers.add("room:2")

        self.start(Own)
        enrolment = self.enrol(cookie=self.log_in("john"))
        self.assertEqual((b"broadcast:a b", b"user:john:a b", b"room:1"), enrolment.channels)
        self.assertEqual((b"room:2", b"user:john:a b"), enrolment.publishes)
        self.assertEqual((False, False), (enrolment.chooses_first, enrolment.takes_messages))
        stranger = self.enrol()
        self.assertEqual((b"broadcast:a b", b"room:1"), stranger.channels)
        self.assertEqual((b"room:2",), stranger.publishes)

    def test_flags(self) -> None:
        """Flags of its own reach hook and class in the order of the URL, in any letter case."""
        seen: list[object] = []

        class Own(Subscriber):
            subscription_channels = [*Subscriber.subscription_channels, "subscribe-server"]
            publish_channels = ["publish-Server", "publish-user"]

            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                seen.append(channels)

        def hook(request: Any, channels: list[str]) -> list[str]:
            seen.append(channels)
            return [*channels, "subscribe-added"]

        query = "x&PUBLISH-server=0&publish-broadcast&echo&subscribe-broadcast&Subscribe-Server"
        known = ["publish-Server", "subscribe-broadcast", "subscribe-server"]
        self.start(Own)
        self.enrol(query)
        self.vary(WS4REDIS_ALLOWED_CHANNELS=hook)
        self.start(Own)
        self.enrol(query)
        self.assertEqual([known, known, [*known, "subscribe-added"]], seen)

    def test_granted(self) -> None:
        """What a policy takes away does not reach the class, and what it adds comes last."""
        seen: list[object] = []

        class Own(Subscriber):
            subscription_channels = ["subscribe-server", "subscribe-broadcast"]

            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                seen.append((request.path_info, request.facility, channels))
                super().set_pubsub_channels(request, channels)

        self.start(Own)
        access = self.handshake(None, "publish-user&subscribe-broadcast").requested
        query = "subscribe-server&subscribe-broadcast"
        self.assertEqual(("subscribe-server",), self.identity(query)[1].own)
        self.enrol(query, granted=access)
        self.enrol(query, granted=Access("c", access.subscribe))
        self.assertEqual(
            [
                ("/ws/a b", "a b", ["subscribe-broadcast", "publish-user"]),
                ("/ws/c", "c", ["subscribe-broadcast"]),
            ],
            seen,
        )

    def test_refused(self) -> None:
        """An exception refuses the client as that of a hook does, and it is released."""
        from django.core.exceptions import PermissionDenied as Denied
        from django.core.exceptions import SuspiciousOperation
        from django.db import OperationalError
        from redis.exceptions import ConnectionError as Away
        from redis.exceptions import DataError

        for raised, status, reason in (
            (Denied("unknown room"), 403, "unknown room"),
            (SuspiciousOperation("secret"), 400, "bad request"),
            (OperationalError("secret"), 503, "try again later"),
            (Away("secret"), 503, "try again later"),
            (DataError("secret"), 500, "internal error"),
            (KeyError("secret"), 500, "internal error"),
            (SystemExit("secret"), 500, "internal error"),
        ):
            released: list[object] = []

            def refuse(self: Any, request: Any, channels: list[str], raised: Any = raised) -> None:
                raise raised

            def release(self: Any, released: list[object] = released) -> None:
                released.append(self)

            error = self.rejected(refuse, release=release)
            self.assertEqual((status, reason), (error.status, error.reason))
            self.assertNotIn("secret", error.hint)
            self.reactor.run_until(lambda released=released: released)

    def test_cannot(self) -> None:
        """What the gateway cannot do is refused, also if the class hides the error."""

        def patterns(self: Any, request: Any, channels: list[str]) -> None:
            self._subscription = self._connection.pubsub()
            try:
                self._subscription.psubscribe("a*")
            except Exception:
                pass

        def own(self: Any, request: Any, channels: list[str]) -> None:
            self._subscription = object()

        def control(self: Any, request: Any, channels: list[str]) -> None:
            self._connection.pubsub().subscribe("wsredis-control")

        def publishes(self: Any, request: Any, channels: list[str]) -> None:
            self._publishers.add("wsredis-ended")

        for method, words in (
            (patterns, "pubsub().psubscribe cannot be used"),
            (own, "does not subscribe through the connection that it was given"),
            (control, "a channel of the gateway itself"),
            (publishes, "a channel of the gateway itself"),
        ):
            error = self.rejected(method)
            self.assertEqual((500, "internal error"), (error.status, error.reason))
            self.assertTrue(error.hint.startswith("WS4REDIS_SUBSCRIBER: set_pubsub_channels: "))
            self.assertIn(words, error.hint)

    def test_nobody(self) -> None:
        """A client without a user or a session does not share a channel with others like it."""

        class Own(Subscriber):
            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                name = "user:<ws4redis.redis_store.SELF_TYPE object at 0x7f>:a"
                self._subscription = self._connection.pubsub()
                self._subscription.subscribe(name, "session:None:a", "broadcast:a")
                self._publishers |= {name, "session:None:a", "broadcast:a"}
                Own.made = self

            made: Any = None

        self.start(Own)
        enrolment = self.enrol()
        self.assertEqual(((b"broadcast:a",),) * 2, (enrolment.channels, enrolment.publishes))
        self.assertEqual({"broadcast:a"}, Own.made._publishers)
        self.assertEqual([b"broadcast:a"], [*Own.made._subscription.channels])

    def test_colons(self) -> None:
        """A name with a colon gets no channel, which could be that of another user."""

        class Own(Subscriber):
            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                self._subscription = self._connection.pubsub()
                for each in (*request.user.groups.all(), request.user.username):
                    self._subscription.subscribe(f"app:group:{each}:f", f"app:user:{each}:f")
                self._publishers = {f"user:{request.user.username}:f", "group:team:f"}

        from django.contrib.auth.models import Group, User

        user = User.objects.create(username="john:x")
        self.addCleanup(user.delete)
        for name in ("team:red", "team"):
            group = Group.objects.create(name=name)
            self.addCleanup(group.delete)
            user.groups.add(group)
        self.start(Own)
        enrolment = self.enrol(cookie=self.log_in("john:x"))
        names = {b"app:group:team:f", b"app:user:team:f", b"app:user:team:red:f"}
        self.assertEqual({*names, b"app:group:john:x:f"}, {*enrolment.channels})
        self.assertEqual((b"group:team:f",), enrolment.publishes)

    def test_coroutines(self) -> None:
        """A method may be a coroutine function; nothing that it refuses is let in."""
        from django.core.exceptions import PermissionDenied as Denied

        class Own(Subscriber):
            async def set_pubsub_channels(  # type: ignore[override]
                self, request: Any, channels: list[str]
            ) -> None:
                if not request.user.is_authenticated:
                    raise Denied("log in first")
                super().set_pubsub_channels(request, channels)

        self.start(Own)
        error = self.failed(self.entering())
        self.assertEqual((403, "log in first"), (error.status, error.reason))
        self.assertEqual(3, len(self.enrol(cookie=self.log_in("john")).channels) + 1)

    def test_no_base(self) -> None:
        """A class without a base of ours is asked for what it has."""

        class Own:
            subscription_channels = publish_channels = ["subscribe-broadcast"]

            def __init__(self, connection: Any) -> None:
                self.pubsub = connection.pubsub()

            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                self.pubsub.subscribe(*channels)

        self.start(Own)
        enrolment = self.enrol()
        self.assertEqual((b"subscribe-broadcast",), enrolment.channels)
        self.assertEqual(
            ((), False, False),
            (enrolment.publishes, enrolment.chooses_first, enrolment.takes_messages),
        )

    def test_left(self) -> None:
        """A client that leaves while the class works is released when it has done so, once."""
        event, begun = Event(), Event()
        self.addCleanup(event.set)
        released: list[object] = []

        class Own(Subscriber):
            def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
                begun.set()
                assert event.wait(PATIENCE)

            def release(self) -> None:
                released.append(self)

        self.start(Own)
        entered = self.entering()
        assert begun.wait(PATIENCE)
        entered.cancel()
        self.failureResultOf(entered, CancelledError)
        self.assertEqual([], released)
        event.set()
        self.reactor.run_until(lambda: released)
        self.assertEqual(1, len(released))

    def test_crowd(self) -> None:
        """Clients are refused while too many of their address, or at all, wait for `release`."""
        event = Event()
        self.addCleanup(event.set)

        class Own(Subscriber):
            def release(self) -> None:
                assert event.wait(PATIENCE)

        self.start(Own, auth_concurrency=1)
        one, other = "192.0.2.1", "192.0.2.2"
        for count, address, refused in ((43, one, one), (14, other, other), (7, "", "")):
            for _ in range(count):
                self.enrol(address=address).release()
            identity, access = self.identity(address=refused)
            assert identity.enrol is not None
            error = self.assertRaises(HandshakeRejected, identity.enrol, access)
            self.assertEqual((503, "busy"), (error.status, error.cause))
        idle: Any = self.authenticator.idle()
        self.assertNoResult(idle)
        event.set()
        self.reactor.run_until(lambda: idle.called)
        self.enrol()
        self.successResultOf(self.authenticator.idle())


class MethodTests(SubscriberCase):
    """The other methods."""

    def test_first(self) -> None:
        """What `send_persisted_messages` sends is what the client hears first."""

        class Own(Subscriber):
            def send_persisted_messages(self, websocket: Any) -> None:
                websocket.send("welcome")
                self._subscription.subscribe("more")

        self.start(Own)
        enrolment = self.enrol()
        self.assertTrue(enrolment.chooses_first)
        self.assertEqual([b"welcome"], self.done(enrolment.first()))
        self.assertEqual((b"broadcast:a b", b"more"), enrolment.channels)

    def test_first_refused(self) -> None:
        """It may refuse the client, and sends no more than fits into the queue."""
        from django.core.exceptions import PermissionDenied as Denied

        class Own(Subscriber):
            def send_persisted_messages(self, websocket: Any) -> None:
                if "user" in repr(self._subscription.names):
                    raise Denied("not now")
                websocket.send("a" * 70_000)

        self.start(Own, limits=Limits(max_queue=65536, max_queue_hard=65536))
        error = self.failed(self.enrol(cookie=self.log_in("john")).first())
        self.assertEqual((403, "not now"), (error.status, error.reason))
        error = self.failed(self.enrol().first())
        self.assertEqual(500, error.status)
        self.assertIn("max-queue", error.hint)

    def test_first_late(self) -> None:
        """A client whose messages do not come in time is asked to come again."""
        event = Event()
        self.addCleanup(event.set)

        class Own(Subscriber):
            def send_persisted_messages(self, websocket: Any) -> None:
                assert event.wait(PATIENCE)

        self.start(Own)
        asked = self.enrol().first()
        self.reactor.advance(3)
        error: Any = self.failureResultOf(asked).value
        self.assertEqual((503, "try again later"), (error.status, error.reason))

    def test_take(self) -> None:
        """A message is given as bytes; the class may answer, and change the channels."""
        taken: list[object] = []

        class Own(Subscriber):
            def send_persisted_messages(self, websocket: Any) -> None:
                self.websocket = websocket

            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                taken.append((type(message), message, expire))
                self.websocket.send(b"got " + message)
                self._subscription.unsubscribe()
                self._publishers.clear()

        self.start(Own)
        enrolment = self.enrol(cookie=self.log_in("john"))
        self.assertTrue(enrolment.takes_messages)
        self.done(enrolment.first())
        self.assertEqual([b"got hello"], self.done(enrolment.take(b"hello")))
        self.assertEqual([(bytes, b"hello", None)], taken)
        self.assertEqual(((), ()), (enrolment.channels, enrolment.publishes))

    def test_original_message(self) -> None:
        """An heir of the original's store is given its messages; the heartbeat is none."""

        class RedisMessage(bytes):
            def __new__(cls, value: bytes) -> Any:
                return None if value == b"beat" else super().__new__(cls, value)

        module: Any = ModuleType("ws4redis.redis_store")
        module.RedisMessage = RedisMessage
        kept = {**sys.modules}
        self.addCleanup(sys.modules.update, kept)
        self.addCleanup(sys.modules.pop, module.__name__)
        sys.modules[module.__name__] = module
        taken: list[object] = []

        class Store(Subscriber):
            __module__ = module.__name__

        class Own(Store):
            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                taken.append(message)

        self.start(Own)
        enrolment = self.enrol()
        self.done(enrolment.take(b"hello"))
        self.assertIsInstance(taken[0], RedisMessage)
        self.assertEqual((), self.successResultOf(enrolment.take(b"beat")))
        self.assertEqual([b"hello"], taken)

    def test_take_failed(self) -> None:
        """The error says how the connection is to be closed, and shows no data."""
        from django.core.exceptions import PermissionDenied as Denied
        from django.db import OperationalError
        from redis.exceptions import ConnectionError as Away

        raised: list[BaseException] = []

        class Own(Subscriber):
            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                raise raised.pop()

        self.start(Own)
        enrolment = self.enrol()
        for error, kind, code in (
            (Denied("too long"), PermissionDenied, 1008),
            (OperationalError("secret"), BrokerUnavailable, None),
            (Away("secret"), BrokerUnavailable, None),
            (KeyError("secret"), ClientError, 1011),
        ):
            raised.append(error)
            found = self.failed(enrolment.take(b"x"))
            self.assertIsInstance(found, kind)
            self.assertEqual(code, getattr(found, "code", None))
            self.assertNotIn("secret", f"{found} {getattr(found, 'reason', '')}")
            if code != 1008:
                self.assertRegex(str(found), r"\w+ at test_subscriber\.py:\d+$")

    def test_take_late(self) -> None:
        """A message that takes too long fails, and its client is released when it is done."""
        event, begun = Event(), Event()
        self.addCleanup(event.set)
        released: list[object] = []

        class Own(Subscriber):
            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                begun.set()
                assert event.wait(PATIENCE)

            def release(self) -> None:
                released.append(self)

        self.start(Own)
        enrolment = self.enrol()
        late = enrolment.take(b"x")
        assert begun.wait(PATIENCE)
        self.reactor.advance(3)
        self.failureResultOf(late, BrokerUnavailable)
        enrolment.release()
        self.assertEqual([], released)
        event.set()
        self.reactor.run_until(lambda: released)
        self.assertEqual(1, len(released))

    def test_first_crowd(self) -> None:
        """One address does not get all threads for its first messages."""
        event = Event()
        self.addCleanup(event.set)

        class Own(Subscriber):
            def send_persisted_messages(self, websocket: Any) -> None:
                assert event.wait(PATIENCE)

        self.start(Own, auth_concurrency=4)
        enrolments = [self.enrol(address="192.0.2.1") for _ in range(5)]
        asked = [each.first() for each in enrolments]
        self.enrol(address="192.0.2.2")
        event.set()
        for each in asked:
            self.done(each)

    def test_busy_release(self) -> None:
        """A client that has gone while a method works is released, and a stop waits for that."""
        for method in ("publish_message", "set_pubsub_channels"):
            event, begun = Event(), Event()
            self.addCleanup(event.set)
            released: list[object] = []

            def work(self: object, *_: object, event: Event = event, begun: Event = begun) -> None:
                begun.set()
                assert event.wait(PATIENCE)

            def release(self: object, released: list[object] = released) -> None:
                released.append(self)

            self.start(type("Own", (Subscriber,), {method: work, "release": release}))
            entered = self.entering()
            if method == "publish_message":
                enrolment = self.done(entered)
                taken = enrolment.take(b"x")
                assert begun.wait(PATIENCE)
                enrolment.release()
            else:
                assert begun.wait(PATIENCE)
                entered.cancel()
                self.failureResultOf(entered, CancelledError)
            idle = self.authenticator.idle()
            self.assertNoResult(idle)
            event.set()
            self.reactor.run_until(lambda idle=idle: idle.called)
            self.assertEqual(1, len(released))
            if method == "publish_message":
                self.done(taken)

    def test_many_pubsubs(self) -> None:
        """A method may make a pubsub each time."""

        class Own(Subscriber):
            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                self._subscription = self._connection.pubsub()
                self._subscription.subscribe(message)

        self.start(Own)
        enrolment = self.enrol()
        for number in range(100):
            self.done(enrolment.take(b"room:%d" % number))
            self.assertEqual((b"room:%d" % number,), enrolment.channels)

    def test_deviations(self) -> None:
        """Whatever changes messages or names of channels by another way is honoured, too."""

        class Expires(Subscriber):
            _expire = 5

        class Wraps(Subscriber):
            def __init__(self, connection: Any) -> None:
                super().__init__(connection)
                self._connection = _Wrapper(connection)

        class Sets(Subscriber):
            def __init__(self, connection: Any) -> None:
                super().__init__(connection)
                self._expire = 0

        class Computes(Subscriber):
            _publishers = property(lambda self: {"a"}, lambda self, names: None)

        class Watches(Subscriber):
            def __getattribute__(self, name: str) -> Any:
                return super().__getattribute__(name)

        for cls, expected in (
            (Watches, (True, True)),
            (Computes, (False, True)),
            (Expires, (False, True)),
            (Wraps, (True, True)),
            (Sets, (False, True)),
        ):
            self.start(cls)
            enrolment = self.enrol()
            self.assertEqual(expected, (enrolment.chooses_first, enrolment.takes_messages), cls)

    def test_release(self) -> None:
        """It is called once, however often the client is lost; if it fails, that is logged."""
        released: list[object] = []

        class Own(Subscriber):
            def release(self) -> None:
                released.append(self)
                raise KeyError("secret")

        self.start(Own)
        enrolment = self.enrol()
        with capturedLogs() as events:
            enrolment.release()
            enrolment.release()
            idle = self.authenticator.idle()
            self.reactor.run_until(lambda: idle.called)
        self.assertEqual(1, len(released))
        (event,) = events
        self.assertRegex(
            str(formatEvent(event)),
            r"^WS4REDIS_SUBSCRIBER: release\(\) failed: KeyError at test_subscriber\.py:\d+$",
        )

    def test_gone(self) -> None:
        """A message that waited while its client left is not handed over."""
        taken: list[object] = []

        class Own(Subscriber):
            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                taken.append(message)

        self.start(Own)
        enrolment = self.enrol()
        enrolment.release()
        self.assertIsInstance(self.failed(enrolment.take(b"x")), BrokerUnavailable)
        self.assertEqual([], taken)

    def test_stopped(self) -> None:
        """After the stop of the gateway nothing is called."""
        calls: list[object] = []

        class Own(Subscriber):
            def release(self) -> None:
                calls.append(self)

        self.start(Own)
        enrolment = self.enrol()
        self.authenticator.stop()
        enrolment.release()
        self.successResultOf(self.authenticator.idle())
        self.assertEqual([], calls)


class _Wrapper:
    """A connection that may change anything."""

    def __init__(self, connection: Any) -> None:
        self._wrapped = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)
