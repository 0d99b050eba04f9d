"""Tests for `wsredis.service.worker_events`."""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import ForwardConfig
from wsredis.errors import ConfigError
from wsredis.layer.messages import Codec
from wsredis.service.worker_events import event_encoder

EVENT = {"type": "gateway.receive", "text": "h\u00e9", "user": None, "groups": ["a"]}


class EncoderTests(SynchronousTestCase):
    """`event_encoder`."""

    def without_msgpack(self) -> None:
        """Let msgpack be missing."""
        modules: dict[str, Any] = sys.modules
        for name in (Codec.__module__, "msgpack"):
            self.addCleanup(modules.__setitem__, name, modules[name])
        del modules[Codec.__module__]
        modules["msgpack"] = None

    def test_none(self) -> None:
        """Without anything to forward no library is needed."""
        self.without_msgpack()
        self.assertIsNone(event_encoder(ForwardConfig()))

    def test_read(self) -> None:
        """The channel layer reads the event, with the key if there is one."""
        for key, keys in ((None, ()), ("secret", ("secret",)), ("new", ("newest", "new"))):
            encode = event_encoder(ForwardConfig(channels=("*=a",), key=key))
            assert encode is not None
            for event in (EVENT, {**EVENT, "bytes": b"\xff"}):
                self.assertEqual(event, Codec(keys=keys).decode(encode(event)))

    def test_missing(self) -> None:
        """A library that is missing is named at the start, with the remedy."""
        self.without_msgpack()
        error = self.assertRaises(ConfigError, event_encoder, ForwardConfig(channels=("*=a",)))
        self.assertEqual("forward: msgpack is missing: pip install 'wsredis[layer]'", str(error))
