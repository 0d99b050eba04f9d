"""Tests for `wsredis.layer.messages`."""

from __future__ import annotations

from typing import Any

import msgpack
from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.layer.messages import BadPayload, Codec, Parcel, Verb

_MESSAGE = {"type": "chat.message", "text": "Grüße", "n": 5, "raw": b"\xff", "in": {"a": [1, None]}}


class CodecTests(SynchronousTestCase):
    """Messages as bytes."""

    def test_plain(self) -> None:
        """Without keys a message is msgpack and nothing else, and comes back as it was."""
        codec = Codec()
        payload = codec.encode(_MESSAGE)
        self.assertEqual(msgpack.packb(_MESSAGE), payload)
        self.assertEqual(_MESSAGE, codec.decode(payload))

    def test_json(self) -> None:
        """The format may be JSON, which has no bytes."""
        codec = Codec("json")
        self.assertEqual(b'{"type": "x"}', codec.encode({"type": "x"}))
        self.assertEqual({"type": "x"}, codec.decode(b'{"type": "x"}'))
        self.assertRaises(TypeError, codec.encode, {"type": "x", "raw": b"\xff"})
        order = codec.encode_order(Verb.MESSAGE, "c", {"type": "x"})
        self.assertEqual({"type": "x"}, codec.decode_order(order)[2].take())

    def test_unknown_format(self) -> None:
        """Another format is refused, with its name and the ones that there are."""
        error = self.assertRaises(ConfigError, Codec, "pickle")
        self.assertEqual("serializer_format: 'pickle' is not one of msgpack, json", str(error))

    def test_not_a_message(self) -> None:
        """Bytes of somebody else are an error of one kind, whatever the library raises."""
        codec = Codec()
        for payload in (b"", b"\xc1", b"\x81\xa1", b"\x92\x01", b"\xff\xff", b"\xa2\xff\xff"):
            self.assertRaises(BadPayload, codec.decode, payload)
            self.assertRaises(BadPayload, codec.parcel, payload)
            self.assertRaises(BadPayload, codec.decode_order, payload)
        for value in ([], "text", 5):
            self.assertRaises(BadPayload, codec.parcel, msgpack.packb(value))
            self.assertRaises(BadPayload, codec.decode_order, msgpack.packb(value))
            inner = msgpack.packb((0, "c", msgpack.packb(value)))
            self.assertRaises(BadPayload, codec.decode_order, inner)

    def test_orders(self) -> None:
        """An order comes back as it was; that of a message has the message."""
        codec = Codec()
        verb, name, parcel = codec.decode_order(codec.encode_order(Verb.MESSAGE, "c!d", _MESSAGE))
        self.assertEqual((Verb.MESSAGE, "c!d", _MESSAGE), (verb, name, parcel.take()))
        order = codec.decode_order(codec.encode_order(Verb.ADD, "c!d", ["group", "0af", 7]))
        self.assertEqual((Verb.ADD, "c!d", ["group", "0af", 7]), order)


class KeyTests(SynchronousTestCase):
    """Encryption."""

    def test_round(self) -> None:
        """With keys nothing of a message shows, and who has a key can read it."""
        codec = Codec(keys=["secret"])
        for payload in (codec.encode(_MESSAGE), codec.encode_order(Verb.MESSAGE, "c", _MESSAGE)):
            self.assertNotIn(b"chat.message", payload)
        self.assertEqual(_MESSAGE, codec.decode(codec.encode(_MESSAGE)))
        self.assertEqual(_MESSAGE, codec.parcel(codec.encode(_MESSAGE)).take())

    def test_rotation(self) -> None:
        """The first key encrypts and all decrypt, so keys are exchanged one process at a time."""
        old, both, new = Codec(keys=["old"]), Codec(keys=["new", "old"]), Codec(keys=[b"new"])
        self.assertEqual(_MESSAGE, both.decode(old.encode(_MESSAGE)))
        self.assertEqual(_MESSAGE, new.decode(both.encode(_MESSAGE)))
        self.assertRaises(BadPayload, old.decode, both.encode(_MESSAGE))
        self.assertRaises(BadPayload, new.decode, Codec().encode(_MESSAGE))

    def test_age(self) -> None:
        """A message that is too old is refused: somebody may have kept and repeated it."""
        codec = Codec(keys=["secret"], max_age=-1)
        self.assertRaises(BadPayload, codec.decode, codec.encode(_MESSAGE))

    def test_as_channels_redis(self) -> None:
        """The keys are made as channels_redis makes them."""
        from channels_redis.serializers import registry

        theirs = registry.get_serializer("msgpack", symmetric_encryption_keys=["secret"])
        codec = Codec(keys=["secret"])
        self.assertEqual(_MESSAGE, codec.decode(theirs.serialize(_MESSAGE)))
        self.assertEqual(_MESSAGE, theirs.deserialize(codec.encode(_MESSAGE)))

    def test_no_list(self) -> None:
        """A single string is no list of keys, and says so: each letter would be a key."""
        for keys in ("secret", b"secret", [5]):
            wrong: Any = keys
            error = self.assertRaises(ConfigError, Codec, keys=wrong)
            self.assertEqual("symmetric_encryption_keys: a list of strings is needed", str(error))


class ParcelTests(SynchronousTestCase):
    """One message for several consumers."""

    def test_own(self) -> None:
        """What one consumer does to its message, another does not see, at any depth."""
        codec = Codec()
        for message in (_MESSAGE, {"type": "flat", "text": "x"}):
            parcel = codec.parcel(codec.encode(message))
            first = parcel.take()
            first["type"] = "changed"
            first.get("in", {})["a"] = "changed"
            self.assertEqual(message, parcel.take())

    def test_flat(self) -> None:
        """A message without inner parts is copied and not decoded again."""
        parcel = Parcel({"type": "x"}, 5, lambda: self.fail("decoded again"))
        self.assertEqual({"type": "x"}, parcel.take())
        self.assertIsNot(parcel.take(), parcel.take())
