"""Tests for `wsredis.auth.sources.django.recorder`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.django.recorder import CannotRecord, Messages, recording


class _Encoder:
    def __init__(self, decodes: bool) -> None:
        self._decodes = decodes

    def encode(self, value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else bytes(value)

    def decode(self, value: bytes) -> Any:
        return value.decode() if self._decodes else value


class _Pool:
    decodes = False

    def get_encoder(self) -> _Encoder:
        return _Encoder(self.decodes)


class _Client:
    """A client of redis-py, as far as it is needed."""

    def __init__(self, connection_pool: _Pool) -> None:
        self.connection_pool = connection_pool

    def get(self, key: str) -> str:
        """Answer."""
        return f"stored at {key}"


class RecorderTests(SynchronousTestCase):
    """`recording` and `Recorder`."""

    def setUp(self) -> None:
        """Make a connection."""
        self.pool = _Pool()
        self.connection = recording(_Client(self.pool)).fresh()

    def test_many(self) -> None:
        """A pubsub that nobody has any more does not count, and there are not too many others."""
        kept = self.connection.pubsub()
        kept.subscribe("a")
        for _ in range(1000):
            self.connection.pubsub().subscribe("b")
        self.assertIn(kept, self.connection.recorders)
        self.assertLessEqual(len(self.connection.recorders), 64)
        held = []
        with self.assertRaises(CannotRecord):
            while True:
                held.append(self.connection.pubsub())
        self.assertEqual(63, len(held))

    def test_many_refused(self) -> None:
        """What was wanted of a pubsub and cannot be done is known also when it is gone."""
        with self.assertRaises(CannotRecord):
            self.connection.pubsub().psubscribe("a*")
        for _ in range(1000):
            self.connection.pubsub()
        self.assertTrue(any(each.refused for each in self.connection.recorders))

    def test_channels(self) -> None:
        """Channels are noted in all forms in which redis-py takes them."""
        pubsub = self.connection.pubsub(ignore_subscribe_messages=True)
        self.assertFalse(pubsub.subscribed)
        pubsub.subscribe("a", b"b")
        pubsub.subscribe(["c", "d"], "e")
        pubsub.subscribe("a", f=print)
        pubsub.subscribe({"g": print})
        self.assertEqual((b"a", b"b", b"c", b"d", b"e", b"f", b"g"), pubsub.names)
        self.assertEqual([*pubsub.names], [*pubsub.channels])
        pubsub.unsubscribe("a", "unknown")
        pubsub.unsubscribe([b"b", "c"])
        self.assertEqual((b"d", b"e", b"f", b"g"), pubsub.names)
        self.assertTrue(pubsub.subscribed)
        pubsub.forget(lambda name: name > b"d")
        self.assertEqual((b"d",), pubsub.names)
        pubsub.unsubscribe()
        self.assertEqual((), pubsub.names)

    def test_strings(self) -> None:
        """A client that decodes replies has the names as strings."""
        self.pool.decodes = True
        pubsub = self.connection.pubsub()
        pubsub.subscribe(b"a", "b")
        self.assertEqual((["a", "b"], (b"a", b"b")), ([*pubsub.channels], pubsub.names))

    def test_harmless(self) -> None:
        """What a subscriber of the original does besides changes nothing."""
        with self.connection.pubsub() as pubsub:
            pubsub.subscribe("a")
            pubsub.punsubscribe()
            self.assertIsNone(pubsub.get_message(timeout=1))
            self.assertIsNone(pubsub.connection)
            self.assertEqual((b"a",), pubsub.names)
        self.assertEqual(((), ""), (pubsub.names, pubsub.refused))

    def test_refused(self) -> None:
        """What the gateway cannot do raises, and is remembered if that is caught."""
        pubsub = self.connection.pubsub()
        self.assertRaises(CannotRecord, lambda: pubsub.psubscribe("a*"))
        self.assertEqual("pubsub().psubscribe cannot be used in a gateway", pubsub.refused)
        self.assertFalse(hasattr(self.connection.pubsub(), "__len__"))

    def test_others(self) -> None:
        """Everything else reaches Redis, and subscribers do not see each other's recorders."""
        first, second = (recording(_Client(self.pool)).fresh() for _ in range(2))
        first.pubsub()
        self.assertIsInstance(first, _Client)
        self.assertEqual("stored at a", first.get("a"))
        self.assertEqual((1, 0), (len(first.recorders), len(second.recorders)))

    def test_redis_py(self) -> None:
        """It is a client of redis-py, which does not connect by that."""
        import redis

        connection = recording(redis.Redis(port=1)).fresh()
        self.assertIsInstance(connection, redis.StrictRedis)
        connection.pubsub().subscribe("é")
        self.assertEqual(("é".encode(),), connection.recorders[0].names)


class MessagesTests(SynchronousTestCase):
    """`Messages`."""

    def test_send(self) -> None:
        """Messages wait in their order, each once; an empty one is left out."""
        messages = Messages(100)
        messages.send("é")
        messages.send(b"\x00", binary=True)
        messages.send(bytearray(b"c"), False)
        messages.send("")
        messages.flush()
        self.assertEqual(["é".encode(), b"\x00", b"c"], messages.take())
        self.assertEqual([], messages.take())
        self.assertFalse(messages.closed)
        self.assertRaises(TypeError, messages.send, 5)
        self.assertRaises(TypeError, messages.send, None)

    def test_limit(self) -> None:
        """No more waits than the limit, which holds for each call."""
        messages = Messages(5)
        for _ in range(2):
            messages.send("12345")
            messages.take()
        messages.send("12345")
        self.assertRaises(CannotRecord, messages.send, "6")
        self.assertIn("max-queue", messages.refused)

    def test_refused(self) -> None:
        """Anything else that a WebSocket can do raises, and is remembered."""
        messages = Messages(None)
        self.assertRaises(CannotRecord, lambda: messages.receive())
        self.assertEqual("websocket.receive cannot be used in a gateway", messages.refused)
        self.assertFalse(hasattr(Messages(None), "__len__"))
