"""
Tests of a handler, a policy and a publisher, without Redis.

Run them in this folder: python -m twisted.trial test_rooms
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis import Connection, GatewayConfig, Handler, Handshake, HandshakeRejected, Identity
from wsredis.publisher import RedisPublisher
from wsredis.testing import HandshakeFailed, MemoryGateway, RedisClient

ROOM = "/ws/room?subscribe-broadcast&publish-broadcast&echo"


class Polite(Handler):
    def on_connect(self, connection: Connection) -> None:
        connection.send("Welcome.")

    def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
        if is_binary:
            connection.close(4000, "text only")
        else:
            connection.publish(payload.replace(b"darn", b"****"))


class Cookies:
    def identify(self, handshake: Handshake) -> Identity | None:
        name = handshake.headers.get("cookie", "").removeprefix("name=")
        return Identity(name) if name else None


class MembersOnly:
    def allow(self, identity: Identity, handshake: Handshake):
        if identity.user is None:
            raise HandshakeRejected("log in first", 403)
        return handshake.requested


class HandlerTests(SynchronousTestCase):
    def test_words(self) -> None:
        gateway = MemoryGateway(handler=Polite())
        speaker, listener = gateway.client(ROOM), gateway.client("/ws/room?subscribe-broadcast")
        speaker.send("darn it")
        self.assertEqual(["Welcome.", "**** it"], speaker.messages())
        self.assertEqual(["Welcome.", "**** it"], listener.messages())

    def test_binary(self) -> None:
        client = MemoryGateway(handler=Polite()).client(ROOM)
        client.send(b"\xff")
        self.assertFalse(client.is_open)
        self.assertEqual((4000, "text only"), (client.close_code, client.close_reason))


class PolicyTests(SynchronousTestCase):
    def test_members(self) -> None:
        gateway = MemoryGateway(authenticator=Cookies(), policy=MembersOnly())
        self.assertTrue(gateway.client(ROOM, "Cookie: name=john").is_open)
        refused = self.assertRaises(HandshakeFailed, gateway.client, ROOM)
        self.assertEqual(403, refused.status)


class PublisherTests(SynchronousTestCase):
    def test_message(self) -> None:
        gateway = MemoryGateway(GatewayConfig(expire=60))
        redis = RedisClient(gateway.redis)
        early = gateway.client("/ws/room?subscribe-broadcast")
        publisher = RedisPublisher(connection=redis, facility="room", broadcast=True, expire=60)
        self.assertEqual(1, publisher.publish_message("hello"))
        late = gateway.client("/ws/room?subscribe-broadcast")
        self.assertEqual([["hello"], ["hello"]], [early.messages(), late.messages()])
        gateway.wait(61)
        self.assertEqual([], gateway.client("/ws/room?subscribe-broadcast").messages())
