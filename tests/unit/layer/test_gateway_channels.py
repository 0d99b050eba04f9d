"""Tests for `wsredis.layer.gateway_channels`: groups that are the gateway's channels."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.layer.gateway_channels import GatewayChannels


class GatewayChannelsTests(SynchronousTestCase):
    """`GatewayChannels`."""

    def setUp(self) -> None:
        """A gateway with both prefixes, and one without."""
        self.plain = GatewayChannels()
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
