"""Tests of the service: its parts, and the order in which it starts and stops."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Application, IService
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock, RaisingMemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.certificates import Authority
from tests.support.django_project import SETTINGS, configured, missing_django
from tests.support.memory_gateway import Socket
from tests.support.raw import CLOSE, TEXT, frame, handshake
from tests.support.threads import ThreadReactor
from tests.support.tokens import signed, verifier
from wsredis import (
    AuthUrlConfig,
    Connection,
    GatewayConfig,
    GatewayService,
    Handler,
    JwtConfig,
    RedisConfig,
)
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.channels import Access
from wsredis.config.rules import Rule
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.canary import Canary
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.metrics import Metrics

_LISTEN = "/ws/a?subscribe-broadcast"


class _OnlyPublishes:
    """The channel settings of a Django project."""

    subscription_channels: list[str] = []
    publish_channels = ["publish-broadcast"]


class _Port:
    """A port that takes its time to close."""

    def __init__(self, address: Any = None) -> None:
        self.address = address or IPv4Address("TCP", "0.0.0.0", 8080)
        self.stopped: Deferred[None] | None = None

    def getHost(self) -> Any:
        return self.address

    def stopListening(self) -> Deferred[None]:
        self.stopped = Deferred()
        return self.stopped


class _Reactor(MemoryReactorClock):  # type: ignore[misc]
    """Hands out `_Port`s, and remembers what was bound."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[_Port] = []
        self.bound: list[tuple[Any, ...]] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> _Port:
        self.bound.append((port, backlog, interface))
        self.ports.append(_Port())
        return self.ports[-1]

    def listenUNIX(self, address: str, factory: Any, *words: Any, **more: Any) -> _Port:
        self.bound.append((address,))
        self.ports.append(_Port(UNIXAddress(address)))
        return self.ports[-1]


class _ServiceCase(SynchronousTestCase):
    """A service on a reactor and a broker in memory."""

    def setUp(self) -> None:
        """Nothing is built yet."""
        self.reactor = _Reactor()
        self.redis = MemoryServer(self.reactor)
        self.broker = MemoryBroker(self.redis)

    def make(self, config: GatewayConfig | None = None, **more: Any) -> GatewayService:
        """Build it."""
        arguments = {"reactor": self.reactor, "broker": self.broker, **more}
        return GatewayService(config or GatewayConfig(), **arguments)

    def open(self, service: GatewayService, path: str = _LISTEN) -> Socket:
        """A WebSocket."""
        client = Socket(service.factory)
        client.send(handshake(path))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        client.received = rest
        return client


class BuildTests(_ServiceCase):
    """Everything has a default, and every default can be replaced."""

    def test_is_a_service(self) -> None:
        """It goes under an Application."""
        service = self.make()
        service.setServiceParent(Application("x"))
        self.assertTrue(IService.providedBy(service))
        self.assertEqual("wsredis", service.name)

    def test_numbers(self) -> None:
        """The numbers are those of its parts at this moment."""
        service = self.make(GatewayConfig(metrics=True))
        service.startService()
        self.open(service)
        total, workers = service.snapshot()
        self.assertEqual({}, workers)
        for name, value in {"connections": 1, "ready": 1, "redis_up": 1, "channels": 1}.items():
            self.assertEqual(value, total[name], name)
        self.broker.disconnect()
        total, _ = service.snapshot()
        self.assertEqual((0, 0), (total["ready"], total["redis_up"]))

    def test_metrics_port(self) -> None:
        """The private port is there until Redis is left, and is not one of the clients'."""
        service = self.make(GatewayConfig(metrics_port="9100", drain=0))
        service.startService()
        self.assertEqual([8080, 9100], [port for port, *_ in self.reactor.bound])
        public, private = self.reactor.ports
        stopped = service.stopService()
        self.reactor.advance(1)
        self.assertIsNone(private.stopped)
        assert public.stopped is not None
        public.stopped.callback(None)
        self.assertNoResult(stopped)
        assert private.stopped is not None
        private.stopped.callback(None)
        self.successResultOf(stopped)

    def test_tokens(self) -> None:
        """With a key for tokens, they say who a client is; keys at a URL are fetched meanwhile."""
        key = Path(self.mktemp())
        key.write_bytes(verifier("HS256"))
        service = self.make(GatewayConfig(jwt=JwtConfig(key=str(key), query="t")))
        service.startService()
        client = self.open(service, f"/ws/a?subscribe-user&t={signed()}")
        self.redis.publish(b"user:john:a", b"x")
        self.assertEqual([b"x"], [each.payload for each in client.frames()])
        jwt = JwtConfig(jwks_url="http://127.0.0.1:81/", algorithm="RS256")
        other = self.make(GatewayConfig(port=(), jwt=jwt))
        self.assertEqual([], self.reactor.tcpClients)
        other.startService()
        self.assertEqual(81, self.reactor.tcpClients[0][1])
        other.stopService()

    def test_django(self) -> None:
        """With a Django project, it says who a client is, and which flags count."""
        reason = missing_django()
        if reason is not None:
            raise SkipTest(reason)
        configured()
        from django.test import override_settings

        with override_settings(WS4REDIS_SUBSCRIBER=f"{__name__}._OnlyPublishes"):
            service = self.make(GatewayConfig(django=SETTINGS))
        service.startService()
        client = self.open(service, "/ws/a?subscribe-broadcast&publish-broadcast")
        self.redis.publish(b"broadcast:a", b"x")
        self.assertEqual([], client.frames())

    def test_defaults(self) -> None:
        """Everybody may listen; a page from elsewhere may not publish."""
        service = self.make()
        service.startService()
        client = self.open(service)
        self.redis.publish(b"broadcast:a", b"x")
        self.assertEqual([b"x"], [each.payload for each in client.frames()])
        stranger = Socket(service.factory)
        stranger.send(handshake("/ws/a?publish-broadcast", "Origin: https://evil.example"))
        self.assertTrue(stranger.take().startswith(b"HTTP/1.1 403 "))

    def test_real_redis_and_reactor_by_default(self) -> None:
        """Without a broker it is the Redis of the configuration; nothing connects before start."""
        service = GatewayService(GatewayConfig(port=()))
        self.assertIsInstance(service._broker, RedisBroker)
        self.assertFalse(service.is_ready())

    def test_bad_redis(self) -> None:
        """A URL that cannot be used is a ConfigError."""
        config = GatewayConfig(redis=RedisConfig(url="http://x"))
        self.assertRaises(ConfigError, self.make, config, broker=None)

    def test_own_parts(self) -> None:
        """Authenticator, policy and handler are asked."""

        class Authenticator:
            def identify(self, handshake: Handshake) -> Identity:
                return Identity(user="joe")

        class Policy:
            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                if identity.user != "joe" or handshake.requested.facility == "secret":
                    raise HandshakeRejected("no")
                return handshake.requested

        class Echo(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                connection.send(payload[::-1])

        service = self.make(authenticator=Authenticator(), policy=Policy(), handler=Echo())
        service.startService()
        client = self.open(service)
        client.send(frame(TEXT, b"abc"))
        self.assertEqual([b"cba"], [each.payload for each in client.frames()])
        refused = Socket(service.factory)
        refused.send(handshake("/ws/secret"))
        self.assertTrue(refused.take().startswith(b"HTTP/1.1 403 "))

    def test_resource(self) -> None:
        """The resource leads to the same connections."""
        service = self.make()
        self.assertIs(service.factory, service.resource()._factory)

    def test_demo_page(self) -> None:
        """With ``demo`` the page is there, and knows the prefix and the Redis."""
        config = GatewayConfig(
            demo=True, prefix="p", redis=RedisConfig(url="redis://:secret@localhost:7000")
        )
        service = GatewayService(config, reactor=self.reactor)
        client = Socket(service.factory)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        page = client.take()
        self.assertIn(b'"prefix": "p"', page)
        self.assertIn(b"-p 7000", page)
        self.assertNotIn(b"secret", page)

    def test_no_demo_page(self) -> None:
        """Without, there is none."""
        client = Socket(self.make().factory)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 404 "))


class SourceTests(_ServiceCase):
    """Where identities come from."""

    def test_auth_url(self) -> None:
        """With auth-url, the application is asked about each handshake."""
        url = AuthUrlConfig("http://127.0.0.1:8000/who")
        service = self.make(GatewayConfig(auth_url=url))
        service.startService()
        client = Socket(service.factory)
        client.send(handshake(_LISTEN))
        self.assertEqual(b"", client.take())
        ((host, port, *_),) = self.reactor.tcpClients
        self.assertEqual(("127.0.0.1", 8000), (host, port))
        client.leave()
        service.stopService()

    def test_cache_without_auth_url(self) -> None:
        """Without an application that is asked there is nothing to remember."""
        config = GatewayConfig(auth_url=AuthUrlConfig(cache=5))
        error = self.assertRaises(ConfigError, self.make, config)
        self.assertTrue(str(error).startswith("auth-cache: "))

    def test_pages_of_others(self) -> None:
        """A page of another site cannot use the cookie of a user to hear messages for users."""
        key = Path(self.mktemp())
        key.write_bytes(verifier("HS256"))
        config = GatewayConfig(
            jwt=JwtConfig(key=str(key), cookie="t"),
            rules=(Rule(allow=True, who=("users",)), Rule(allow=False)),
        )
        service = self.make(config)
        service.startService()
        for headers, status in (
            ([f"Cookie: t={signed()}"], b"101"),
            ([f"Cookie: t={signed()}", "Origin: http://evil.example"], b"403"),
            ([f"Sec-WebSocket-Protocol: bearer.{signed()}", "Origin: http://a.example"], b"101"),
            ([], b"403"),
        ):
            client = Socket(service.factory)
            client.send(handshake("/ws/a?subscribe-broadcast", *headers))
            self.assertEqual(status, client.take().split()[1], headers)
            client.leave()
        service.stopService()


class PortTests(_ServiceCase):
    """Ports are bound when the service starts, or not at all."""

    def test_number(self) -> None:
        """A number is a TCP port on all interfaces, with a long queue."""
        self.make(GatewayConfig(port=("8080",))).startService()
        self.assertEqual([(8080, 4096, "")], self.reactor.bound)

    def test_several(self) -> None:
        """Endpoint descriptions are taken as they are; each port is logged."""
        config = GatewayConfig(port=("tcp:1:interface=127.0.0.1", "unix:/run/ws.sock"))
        with capturedLogs() as events:
            self.make(config).startService()
        self.assertEqual([(1, 4096, "127.0.0.1"), ("/run/ws.sock",)], self.reactor.bound)
        shown = [event["address"] for event in events if event.get("event") == "listening"]
        self.assertEqual(["0.0.0.0:8080", "unix:/run/ws.sock"], shown)

    def test_demo_is_told(self) -> None:
        """With ``demo`` the log has the URL of the page, for ports that a browser can open."""
        config = GatewayConfig(port=("8080", "unix:/run/ws.sock"), demo=True)
        with capturedLogs() as events:
            self.make(config).startService()
        shown = [event["port"] for event in events if "demo page" in event["log_format"]]
        self.assertEqual([8080], shown)

    def test_none(self) -> None:
        """Without ports nothing is bound."""
        self.make(GatewayConfig(port=())).startService()
        self.assertEqual([], self.reactor.bound)

    def test_bound_with_privileges(self) -> None:
        """twistd binds before it gives up its rights; starting does not bind again."""
        service = self.make()
        service.privilegedStartService()
        self.assertEqual(1, len(self.reactor.bound))
        self.assertFalse(self.broker.up)
        service.startService()
        self.assertEqual(1, len(self.reactor.bound))
        self.assertTrue(self.broker.up)

    def test_in_use(self) -> None:
        """A port that cannot be bound is raised, not logged."""
        error = CannotListenError("", 8080, OSError(98, "Address already in use"))
        service = self.make(reactor=RaisingMemoryReactor(listenException=error))
        self.assertRaises(CannotListenError, service.privilegedStartService)

    def test_tls(self) -> None:
        """Ports for TLS are bound like others, logged as such, and their certificates looked at."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = Authority(directory).bundle(directory / "a.pem", "a.example")
        config = GatewayConfig(
            port=(), tls_port=("443", "tcp:1:interface=127.0.0.1"), tls_cert=str(path), demo=True
        )
        service = self.make(config)
        with capturedLogs() as events:
            service.startService()
        self.assertEqual([(443, 4096, ""), (1, 4096, "127.0.0.1")], self.reactor.bound)
        shown = [event["log_format"].format(**event) for event in events]
        self.assertIn("listening on 0.0.0.0:8080 with TLS", shown)
        self.assertIn("demo page: https://localhost:8080/", shown)
        path.write_text("junk")
        with capturedLogs() as events:
            self.reactor.pump([1] * 10)
            service.reload()
        kept = [event for event in events if "certificate" in event.get("_kept", "")]
        self.assertEqual(2, len(kept))
        service.stopService()
        self.reactor.advance(0.25)
        for port in self.reactor.ports:
            assert port.stopped is not None
            port.stopped.callback(None)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_nothing_to_reload(self) -> None:
        """Without certificates there is nothing to read again."""
        with capturedLogs() as events:
            self.make().reload()
        self.assertEqual(1, len(events))

    def test_reload_fails(self) -> None:
        """What cannot be used is one line and changes nothing; the rest is read all the same."""
        key, file = Path(self.mktemp()), Path(self.mktemp())
        key.write_bytes(verifier("HS256"))
        file.write_text("")
        config = GatewayConfig(port=(), jwt=JwtConfig(key=str(key)), file=str(file))
        service = self.make(config)
        key.unlink()
        file.write_text("[[rule]]\nallow = false\n")
        with capturedLogs() as events:
            service.reload()
        failed, done = (formatEvent(event) for event in events)
        self.assertEqual(
            f"jwt-key: {key.absolute()}: No such file or directory; what was read before is kept",
            failed,
        )
        self.assertEqual("read again: rules", done)


class ReadyTests(_ServiceCase):
    """Ready while Redis is there and the gateway does not stop."""

    def test_ready(self) -> None:
        """Health says the same as `is_ready`."""
        service = self.make(GatewayConfig(port=()))
        self.assertFalse(service.is_ready())
        service.startService()
        self.assertTrue(service.is_ready())
        self.broker.disconnect()
        self.assertFalse(service.is_ready())
        client = Socket(service.factory)
        client.send(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        self.broker.connect()
        service.stopService()
        self.assertFalse(service.is_ready())

    def test_canary(self) -> None:
        """A broker that proves that messages arrive hears its own, as each client would."""
        heard: list[bytes] = []
        canary = Canary(b"proof", Metrics(), heard.append, lambda: None)
        self.patch(MemoryBroker, "canary", canary)
        service = self.make(GatewayConfig(port=()))
        service.startService()
        self.redis.publish(b"proof", b"1")
        self.assertEqual([b"1"], heard)
        service.stopService()


class StopTests(_ServiceCase):
    """Ports first, then connections, then Redis."""

    def setUp(self) -> None:
        """A service with one client."""
        super().setUp()
        self.service = self.make()
        self.service.startService()
        self.client = self.open(self.service)

    def _close_port(self) -> None:
        self.reactor.advance(0.25)
        (port,) = self.reactor.ports
        assert port.stopped is not None
        port.stopped.callback(None)

    def test_order(self) -> None:
        """Each step waits for the one before."""
        done = self.service.stopService()
        self.assertEqual([], self.client.frames(), "the port is not closed yet")
        self._close_port()
        (goodbye,) = self.client.frames()
        self.assertEqual(1001, goodbye.close_code)
        self.assertTrue(self.broker.up, "clients may still say something")
        self.client.send(frame(CLOSE, goodbye.payload))
        self.successResultOf(done)
        self.assertFalse(self.broker.up)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_deaf_client(self) -> None:
        """A client that does not answer is reset after the time to drain."""
        done = self.service.stopService()
        self._close_port()
        # The time to close one connection is over before that.
        self.reactor.advance(1)
        self.assertNoResult(done)
        for _ in range(8):
            self.reactor.advance(1)
        self.successResultOf(done)
        self.assertTrue(self.client.aborted)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_messages_on_their_way(self) -> None:
        """A message that was published before goes out before the goodbye."""
        self.redis.publish(b"broadcast:a", b"last")
        self.service.stopService()
        self._close_port()
        self.assertEqual([TEXT, CLOSE], [each.opcode for each in self.client.frames()])

    def test_without_patience(self) -> None:
        """With ``drain`` and ``drain-spread`` 0 nobody is waited for."""
        config = GatewayConfig(port=(), drain=0, drain_spread=0)
        service = self.make(config, broker=MemoryBroker(self.redis))
        service.startService()
        client = self.open(service)
        done = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(done)
        self.assertTrue(client.closed)

    def test_red_first(self) -> None:
        """Not ready and 503 at once, while the port is open and clients still get messages."""
        # No ping comes between the frames that are compared.
        self.use(drain_delay=4.0)
        done = self.service.stopService()
        self.assertFalse(self.service.is_ready())
        self.assertEqual(["draining"], list(self.service.health.problems))
        self.reactor.advance(3.9)
        (port,) = self.reactor.ports
        self.assertIsNone(port.stopped)
        late = Socket(self.service.factory)
        late.send(handshake("/ws/a?subscribe-broadcast"))
        self.assertTrue(late.take().startswith(b"HTTP/1.1 503 "))
        self.redis.publish(b"broadcast:a", b"still here")
        self.assertEqual([TEXT], [each.opcode for each in self.client.frames()])
        self._close_port()
        self.assertEqual([1001], [each.close_code for each in self.client.frames()])
        self.client.leave()
        self.successResultOf(done)

    def test_spread(self) -> None:
        """Clients are closed one after the other, and the last one has the time to drain too."""
        self.use(drain_spread=4.0, drain=2.0)
        clients = [self.client, *(self.open(self.service) for _ in range(3))]
        done = self.service.stopService()
        self._close_port()
        told = []
        for _ in range(4):
            frames = [got for each in clients for got in each.frames()]
            told.append([got.opcode for got in frames].count(CLOSE))
            self.reactor.advance(1)
        self.assertEqual([1, 1, 1, 1], told)
        self.reactor.advance(1.5)
        self.assertNoResult(done)
        self.reactor.advance(0.5)
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_stop_now(self) -> None:
        """A second signal closes all at once, in the delay as in the drain, and waits no more."""
        for passed in (1.0, 12.0):
            self.use(drain_delay=10.0, drain_spread=60.0, drain=60.0)
            clients = [self.client, self.open(self.service), self.open(self.service)]
            self.service.stop_now()
            self.assertEqual([[]] * 3, [each.frames() for each in clients], "it does not stop")
            done = self.service.stopService()
            self.reactor.advance(passed)
            for port in self.reactor.ports:
                if port.stopped is not None:
                    port.stopped.callback(None)
            self.service.stop_now()
            self.service.stop_now()
            last = clients[2].frames()[-1]
            self.assertEqual((CLOSE, 1001), (last.opcode, last.close_code))
            self.reactor.advance(0.5)
            if passed < 10:
                self._close_port()
            self.reactor.advance(0.5)
            self.successResultOf(done)
            self.assertEqual([True] * 3, [each.aborted for each in clients])
            self.assertFalse(self.broker.up)
            self.assertEqual([], self.reactor.getDelayedCalls())

    def use(self, **settings: Any) -> None:
        """Take a service with these settings and one client."""
        super().setUp()
        self.service = self.make(GatewayConfig(ping_interval=3600, **settings))
        self.service.startService()
        self.client = self.open(self.service)

    def test_redis_is_away(self) -> None:
        """The same without Redis."""
        self.broker.disconnect()
        done = self.service.stopService()
        self._close_port()
        self.client.send(frame(CLOSE, b"\x03\xe9"))
        self.successResultOf(done)

    def test_work_for_clients_that_have_gone(self) -> None:
        """The stop waits for it as long as for clients, and half a second at least."""
        busy: Deferred[None] = Deferred()
        self.patch(self.service._auth, "idle", lambda: busy)
        done = self.service.stopService()
        self._close_port()
        self.client.send(frame(CLOSE, b"\x03\xe9"))
        self.reactor.advance(0.4)
        self.assertNoResult(done)
        self.assertTrue(self.broker.up)
        busy.callback(None)
        self.successResultOf(done)
        self.assertFalse(self.broker.up)

    def test_port_that_closes_at_once(self) -> None:
        """A port may have nothing to wait for."""
        service = self.make(GatewayConfig(), broker=MemoryBroker(self.redis))
        service._ports = [_AtOnce()]  # type: ignore[list-item]
        done = service.stopService()
        self.reactor.advance(0.25)
        self.successResultOf(done)

    def test_counted_losses(self) -> None:
        """A loss that was counted is logged at the end, and leaves no timer."""
        self.client.leave()
        for _ in range(11):
            self.service._hub.log_loss(self.service._log, "kind", "a loss")
        with capturedLogs() as events:
            done = self.service.stopService()
            self._close_port()
        self.successResultOf(done)
        self.assertEqual(["a loss"], [each["line"] for each in events if "line" in each])
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_quiet(self) -> None:
        """A clean stop has nothing to say."""
        with capturedLogs() as events:
            self.service.stopService()
            self._close_port()
            self.client.send(frame(CLOSE, b"\x03\xe9"))
        self.assertEqual([], list(events))

    def test_port_that_does_not_close(self) -> None:
        """
        A port that fails to close must not keep clients and Redis.

        twistd ends all the same, and clients would never hear goodbye.
        """
        self.reactor.ports[0].stopListening = lambda: fail(OSError("bad"))  # type: ignore[method-assign]
        done = self.service.stopService()
        self.reactor.advance(0.25)
        self.client.send(frame(CLOSE, b"\x03\xe9"))
        done.addErrback(lambda failure: None)
        self.assertFalse(self.broker.up)
        self.flushLoggedErrors(OSError)


class _AtOnce:
    """A port whose `stopListening` returns nothing, as that of Twisted's UDP does."""

    def stopListening(self) -> None:
        return None


class ResourceStopTests(_ServiceCase):
    """A service without ports stops as well."""

    def test_stop(self) -> None:
        """There is nothing to unbind."""
        service = self.make(GatewayConfig(port=()))
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual([], self.reactor.getDelayedCalls())


class PagesTests(_ServiceCase):
    """A WSGI application beside the sockets."""

    def _hello(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    def test_application(self) -> None:
        """It answers while the service runs, and Python's switch interval is as before after it."""
        reactor = ThreadReactor()
        before = sys.getswitchinterval()
        service = self.make(GatewayConfig(port=()), reactor=reactor, application=self._hello)
        service.startService()
        client = Socket(service.factory)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert service._site.application is not None
        pages: Any = service._site.application
        reactor.run_until(lambda: not pages.busy)
        self.assertTrue(client.take().endswith(b"hello"))
        self.assertLess(sys.getswitchinterval(), before)
        self.successResultOf(service.stopService())
        self.assertTrue(client.closed)
        self.assertAlmostEqual(before, sys.getswitchinterval(), places=6)
        self.assertEqual([], reactor.getDelayedCalls())

    def test_request_under_way(self) -> None:
        """A request that does not come to an end has the time to drain, and no more."""
        config = GatewayConfig(port=(), drain=4, drain_spread=1)
        service = self.make(config, application=self._hello)
        client = Socket(service.factory)
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        service.startService()
        done = service.stopService()
        self.reactor.advance(4)
        self.assertNoResult(done)
        self.reactor.advance(1)
        self.successResultOf(done)
        self.assertTrue(client.aborted)

    def test_named(self) -> None:
        """The application may be named; one that cannot be used is a ConfigError."""
        config = GatewayConfig(port=(), wsgi="tests.unit.service.test_service:named_application")
        self.assertIsNotNone(self.make(config)._site.application)
        config = GatewayConfig(port=(), wsgi="tests.unit.service.test_service:nosuch")
        self.assertRaises(ConfigError, self.make, config)

    def test_demo(self) -> None:
        """The demo page and the pages would be at the same place."""
        config = GatewayConfig(port=(), demo=True)
        error = self.assertRaises(ConfigError, self.make, config, application=self._hello)
        self.assertIn("demo: ", str(error))


def named_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """An application that is never called."""
    raise AssertionError
