"""Tests for `wsredis.layer.gateway_channels`: groups that are the gateway's channels."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.layer import ChannelLayer
from wsredis.layer.carrier import register
from wsredis.layer.gateway_channels import GatewayChannels, use_prefixes
from wsredis.layer.messages import Codec
from wsredis.layer.names import Names
from wsredis.layer.routes import Routes


class GatewayChannelsTests(SynchronousTestCase):
    """`GatewayChannels`."""

    def setUp(self) -> None:
        """A gateway with both prefixes, and one without."""
        self.plain = GatewayChannels("", "")
        self.prefixed = GatewayChannels("p\u00e9", "s")

    def test_channel(self) -> None:
        """The names are those of the gateway, to the byte; another group is none of them."""
        for group, expected in (
            ("ws.broadcast.news", b"broadcast:news"),
            ("ws.user.john.chat_2F1", b"user:john:chat/1"),
            ("ws.group.a_2Eb.", b"group:a.b:"),
            ("ws.session.k3y.a_3Ab", b"session:k3y:a:b"),
            ("chat", None),
            ("ws.room", None),
        ):
            self.assertEqual(expected, self.plain.channel(group))
            prefixed = None if expected is None else "p\u00e9:".encode() + expected
            self.assertEqual(prefixed, self.prefixed.channel(group))
        self.assertRaises(ValueError, self.plain.channel, "ws.user.john")

    def test_prefixes(self) -> None:
        """Those that are not given are the gateway's of this process, else the publishers'."""
        self.patch(os, "environ", {"WSREDIS_PREFIX": "env", "WSREDIS_STORED_PREFIX": "kept"})
        message = {"type": "websocket.send", "text": "a", "expire": 1}

        def found(channels: GatewayChannels) -> tuple[Any, Any]:
            name = channels.channel("ws.broadcast.a")
            assert name is not None
            return name, channels.publication(name, message)[0][1]

        env = (b"env:broadcast:a", b"kept:env:broadcast:a")
        self.assertEqual(env, found(GatewayChannels()))
        self.assertEqual((b"p:broadcast:a", b"kept:p:broadcast:a"), found(GatewayChannels("p")))
        late = GatewayChannels()
        end = use_prefixes("gate", "")
        self.assertEqual((b"gate:broadcast:a",) * 2, found(late))
        self.assertEqual((b"broadcast:a", b"s:broadcast:a"), found(GatewayChannels("", "s")))
        end()
        self.assertEqual(env, found(GatewayChannels()))

    def test_bad_prefix(self) -> None:
        """A prefix that no gateway can have is refused by the name of the key."""
        for name in ("prefix", "stored_prefix"):
            error = self.assertRaises(ConfigError, GatewayChannels, **{name: "a b"})
            self.assertTrue(str(error).startswith(f"gateway_{name}: "), str(error))

    def test_publication(self) -> None:
        """The text or the bytes are published as they are; with *expire* they are stored before."""
        for message, payload in (
            ({"text": "h\u00e9"}, "h\u00e9".encode()),
            ({"text": "a", "bytes": None}, b"a"),
            ({"bytes": b"\xff", "text": None, "more": 1}, b"\xff"),
            ({"bytes": bytearray(b"a")}, b"a"),
            ({"text": ""}, b""),
        ):
            message = {"type": "websocket.send", **message}
            published = ("PUBLISH", b"user:j:a", payload)
            self.assertEqual([published], self.plain.publication(b"user:j:a", message))
            self.assertEqual(
                [published], self.plain.publication(b"user:j:a", {**message, "expire": 0})
            )
            message["expire"] = 60
            found = self.plain.publication(b"user:j:a", message)
            self.assertEqual([("SETEX", b"user:j:a", 60, payload), published], found)
            found = self.prefixed.publication(b"user:j:a", message)
            self.assertEqual(("SETEX", b"s:user:j:a", 60, payload), found[0])

    def test_refused(self) -> None:
        """Anything else is refused: no client of a gateway would understand it."""
        for message, text in (
            ({"type": "chat.message", "text": "a"}, "not 'chat.message'"),
            ({"text": "a"}, "not None"),
            ({"type": "websocket.send"}, "either text"),
            ({"type": "websocket.send", "text": "a", "bytes": b"b"}, "either text"),
            ({"type": "websocket.send", "text": b"a"}, "either text"),
            ({"type": "websocket.send", "bytes": "a"}, "either text"),
            ({"type": "websocket.send", "text": {"a": 1}}, "either text"),
            ({"type": "websocket.send", "text": "a", "expire": 1.5}, "expire: 1.5"),
            ({"type": "websocket.send", "text": "a", "expire": True}, "expire: True"),
            ({"type": "websocket.send", "text": "a", "expire": -1}, "expire: -1"),
        ):
            error = self.assertRaises(ValueError, self.plain.publication, b"c", message)
            self.assertIn(text, str(error))

    def test_event(self) -> None:
        """A consumer gets text or bytes, and the name of the channel without the prefix."""
        self.assertEqual(
            {"type": "gateway.message", "channel": "user:j:\u00e9", "text": "h\u00e9"},
            self.plain.event("user:j:\u00e9".encode(), "h\u00e9".encode()),
        )
        self.assertEqual(
            {"type": "gateway.message", "channel": "broadcast:a", "bytes": b"\xff"},
            self.prefixed.event("p\u00e9:broadcast:a".encode(), b"\xff"),
        )


class CarrierTests(SynchronousTestCase):
    """The layers that a gateway in the process carries."""

    def test_sentinels(self) -> None:
        """A layer that asks Sentinels has connections of its own: nobody else knows the server."""
        asked: list[Any] = []
        self.addCleanup(register(lambda target, sink: asked.append(target)))
        sentinel = {"sentinels": [("localhost", 26379)], "master_name": "main"}
        for hosts, count in (([sentinel], 0), (["redis://localhost"], 1), (None, 2)):
            layer = ChannelLayer(hosts=hosts)
            self.assertTrue(layer.client_prefix)
            self.assertEqual(count, len(asked))


class RouteTests(SynchronousTestCase):
    """The ways to groups, of which some are channels of the gateway."""

    def routes(self, gateway: GatewayChannels | None) -> Routes:
        """The ways of a layer with two hosts."""
        return Routes([Names("a"), Names("b")], Codec(keys=["secret"]), gateway)

    def test_channel(self) -> None:
        """Such a group has the name of the channel, on the first host, and nothing is encrypted."""
        routes = self.routes(GatewayChannels("p", ""))
        for number in range(20):
            route = routes.find(f"ws.broadcast.{number}")
            channel = b"p:broadcast:%d" % number
            self.assertEqual((0, channel, None), (route.host, route.channel, route.queues))
        message = {"type": "websocket.send", "text": "hello"}
        self.assertEqual([("PUBLISH", channel, b"hello")], route.commands(message))
        self.assertRaises(ValueError, route.commands, {"type": "chat.message"})
        parcel = route.parcel(b"hello")
        event = {"type": "gateway.message", "channel": "broadcast:19", "text": "hello"}
        first, second = parcel.take(), parcel.take()
        self.assertEqual((event, event), (first, second))
        self.assertIsNot(first, second)

    def test_others(self) -> None:
        """Other groups, and all of them if that is switched off, are the layer's own."""
        for gateway, group in ((GatewayChannels("", ""), "chat"), (None, "ws.user.5")):
            route = self.routes(gateway).find(group)
            self.assertTrue(route.channel.endswith(f":group:{group}".encode()))
            self.assertIsNotNone(route.queues)

    def test_slip(self) -> None:
        """A name that only begins like a channel is an error, each time."""
        routes = self.routes(GatewayChannels("", ""))
        for _ in range(2):
            self.assertRaises(ValueError, routes.find, "ws.user.john")
