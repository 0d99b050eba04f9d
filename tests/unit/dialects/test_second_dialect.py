"""
A second dialect works through the real gateway, with nothing but this file and one registration.

It is a toy: JSON objects in both directions, and subscriptions that come and go on one socket.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import MemoryGateway, Socket
from tests.support.raw import TEXT, frame
from wsredis.channels import Access, Audience, channel_name
from wsredis.config import GatewayConfig, Limits
from wsredis.dialects import from_config
from wsredis.errors import WsredisError
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.identity import Identity
from wsredis.gateway.publication import Publication

PATH = "/json/"


class JSONDialect:
    """Publications and commands are JSON objects."""

    is_binary: bool | None = False
    heartbeat: bytes | None = b"{}"
    heartbeat_interval = 7.0
    takes_batches = False

    def parse(self, path: str, query: str) -> Access | None:
        """Take one URL; the channels come later."""
        return Access("") if path == PATH else None

    def choose_subprotocol(self, offered: Sequence[str]) -> str | None:
        """Know one."""
        return "json" if "json" in offered else None

    def encode(self, publication: Publication) -> bytes:
        """Say where it came from, and at which offset if that is known."""
        message: dict[str, object] = {
            "channel": publication.channel.decode(),
            "text": publication.payload.decode(),
        }
        if publication.offset is not None:
            message["offset"] = publication.offset
        return json.dumps(message).encode()

    def connection(self, parts: ConnectionParts) -> JSONConnection:
        """Make one."""
        return JSONConnection(parts)


class JSONConnection(Connection):
    """Obeys the commands subscribe, unsubscribe and publish, and answers each."""

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Obey one command."""
        ((command, facility),) = json.loads(payload).items()
        name = channel_name("", facility, Audience.BROADCAST)
        assert name is not None
        if command == "subscribe":
            Deferred.fromCoroutine(self.subscribe([name])).addCallbacks(
                lambda _: self._reply(subscribed=facility), self._failed
            )
        elif command == "unsubscribe":
            self.unsubscribe([name])
            self._reply(unsubscribed=facility)
        else:
            self.publish(facility.encode())

    def publish(self, payload: bytes) -> None:
        """Publish on everything that it hears."""
        self.publish_on(self.channels, payload)

    def publish_failed(self, error: Exception, size: int) -> None:
        """Tell it."""
        self._reply(error=str(error))

    def _failed(self, failure: Failure) -> None:
        failure.trap(WsredisError)
        self._reply(error=failure.getErrorMessage())

    def _reply(self, **words: str) -> None:
        self.send(json.dumps(words))


class SecondDialectTests(SynchronousTestCase):
    """Two dialects on one port and one hub."""

    def setUp(self) -> None:
        """A gateway with both."""
        config = GatewayConfig(heartbeat="beat", ping_interval=3600, limits=Limits(max_channels=2))
        # The one line of registration.
        self.gateway = MemoryGateway(config, dialects=[*from_config(config), JSONDialect()])
        self.addCleanup(self.gateway.factory.stop)

    def said(self, client: Socket) -> list[Any]:
        """The JSON that came since the last time, as text messages."""
        found = []
        for each in client.frames():
            self.assertEqual(TEXT, each.opcode)
            found.append(json.loads(each.payload))
        return found

    def command(self, client: Socket, **words: str) -> list[Any]:
        """Send one command; returns the answers."""
        client.send(frame(TEXT, json.dumps(words).encode()))
        return self.said(client)

    def test_subscribe_and_unsubscribe(self) -> None:
        """Subscriptions come and go on one socket, beside a plain client on the same channel."""
        client = self.gateway.open(PATH, "Sec-WebSocket-Protocol: other, json")
        plain = self.gateway.open("/ws/news?subscribe-broadcast")
        plain.take()
        self.assertEqual([{}], self.said(client))
        self.assertEqual([{"subscribed": "news"}], self.command(client, subscribe="news"))
        self.gateway.redis.publish(b"broadcast:news", b"text")
        self.assertEqual([{"channel": "broadcast:news", "text": "text"}], self.said(client))
        self.assertEqual([b"text"], [each.payload for each in plain.frames()])
        self.assertEqual([{"unsubscribed": "news"}], self.command(client, unsubscribe="news"))
        self.gateway.redis.publish(b"broadcast:news", b"more")
        self.assertEqual([], self.said(client))

    def test_publish(self) -> None:
        """It publishes, and hears itself, for the echo rule belongs to the other dialect."""
        client = self.gateway.open(PATH)
        self.command(client, subscribe="a")
        self.assertEqual(
            [{"channel": "broadcast:a", "text": "x"}], self.command(client, publish="x")
        )

    def test_errors(self) -> None:
        """Errors are answers here, and the connection stays."""
        client = self.gateway.open(PATH)
        client.take()
        self.gateway.redis.forbidden.add(b"broadcast:secret")
        self.assertEqual(
            [{"error": "this channel is forbidden"}], self.command(client, subscribe="secret")
        )
        for name in ("a", "b"):
            self.assertEqual([{"subscribed": name}], self.command(client, subscribe=name))
        self.assertEqual([{"error": "more than 2 channels"}], self.command(client, subscribe="c"))
        self.gateway.broker.disconnect()
        self.assertEqual([{"error": "there is no link"}], self.command(client, publish="x"))
        self.assertFalse(client.closed)

    def test_heartbeats(self) -> None:
        """Each dialect has its own, at its own interval."""
        client, plain = self.gateway.open(PATH), self.gateway.open("/ws/a")
        client.take(), plain.take()
        for _ in range(704):
            self.gateway.clock.advance(0.01)
        self.assertEqual([{}], self.said(client))
        self.assertEqual({b"beat"}, {each.payload for each in plain.frames()})

    def test_offset(self) -> None:
        """A publication with an offset reaches the dialect with it."""

        class Numbered(Publication):
            __slots__ = ("offset",)

        client = self.gateway.open(PATH)
        self.command(client, subscribe="a")
        publication = Numbered(b"broadcast:a", b"x")
        publication.offset = 7
        self.gateway.hub.deliver([publication])
        self.assertEqual([{"channel": "broadcast:a", "text": "x", "offset": 7}], self.said(client))

    def test_other_urls(self) -> None:
        """A URL that no dialect knows is nowhere."""
        client = self.gateway.connect()
        client.send(
            b"GET /other HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.assertIn(b" 404 ", client.take())


class ByteEncoding:
    """An encoding for a transport that is not a WebSocket: one line for each message."""

    heartbeat: bytes | None = None
    heartbeat_interval = 1.0

    def encode(self, publication: Publication) -> bytes:
        """Name the channel in each line."""
        return b"%s %s\n" % (publication.channel, publication.payload)

    def join(self, publications: Sequence[Publication]) -> bytes:
        """One after the other."""
        return b"".join(map(self.encode, publications))

    def message(self, payload: str | bytes) -> bytes:
        """Mark a message that is not a publication."""
        return b"* %s\n" % (payload.encode() if isinstance(payload, str) else payload)


class ByteClient:
    """A transport that collects bytes."""

    peer = "somewhere"
    queue = None

    def __init__(self) -> None:
        self.data = b""
        self.closed: int | None = None

    def write(self, data: bytes) -> None:
        """Collect."""
        self.data += data

    def close(self, code: int, reason: str) -> None:
        """Remember the code."""
        self.closed = code

    def pause(self, why: object) -> None:
        """Nothing is read from it anyway."""

    resume = pause
    is_paused = False

    def charge(self, work: int) -> None:
        """Nor does anybody count."""


class OtherTransportTests(SynchronousTestCase):
    """A connection needs no WebSocket."""

    def test_collects_bytes(self) -> None:
        """It hears stored and live publications beside a WebSocket, in its own encoding."""
        config = GatewayConfig()
        gateway = MemoryGateway(config)
        self.addCleanup(gateway.factory.stop)
        (dialect,) = from_config(config)
        gateway.redis.store(b"broadcast:a", 60, b"old")
        client = ByteClient()
        socket = gateway.open("/ws/a?subscribe-broadcast")
        socket.take()
        access = Access("a", frozenset({Audience.BROADCAST}), frozenset({Audience.BROADCAST}))
        parts = (gateway.hub, config.limits, None, client, ByteEncoding(), Identity(), access)
        connection = dialect.connection(ConnectionParts(*parts))
        connection.opened(self.successResultOf(connection.open()))
        gateway.redis.publish(b"broadcast:a", b"new")
        connection.send("hello")
        connection.receive(b"mine", False)
        self.assertEqual(
            b"broadcast:a old\nbroadcast:a new\n* hello\n",
            client.data,
        )
        self.assertEqual([b"new", b"mine"], [each.payload for each in socket.frames()])
        connection.close(1000)
        self.assertEqual(1000, client.closed)
        connection.closed()
        self.assertEqual(1, len(gateway.hub))
