"""Tests of the bytes on their way to a client."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.http_output import Output


class _Transport:
    """A transport that takes what the test allows."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.producer: Any = None
        self.room = 10**9

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.room -= len(data)
        if self.room < 0:
            self.producer.pauseProducing()


class _Clock:
    tick = 7


class OutputTests(SynchronousTestCase):
    """`Output`."""

    def setUp(self) -> None:
        """Make one."""
        self.transport = _Transport()
        self.drained: list[None] = []
        self.output = Output(self.transport, _Clock(), lambda: self.drained.append(None))

    def test_at_once(self) -> None:
        """What the kernel takes is written at once, and as it is; nothing is no write."""
        data = bytes(1000)
        self.output.send(data)
        self.output.send(b"")
        self.assertEqual([data], self.transport.written)
        self.assertIs(data, self.transport.written[0])
        self.assertFalse(self.output.is_full)

    def test_large(self) -> None:
        """A large body goes in pieces, of which the next one waits for the one before."""
        data = bytes(range(256)) * 2000
        self.transport.room = 1
        self.output.send(data)
        self.output.send(b"after")
        self.assertEqual(1, len(self.transport.written))
        self.assertEqual((True, 7), (self.output.is_full, self.output.full_since))
        self.assertEqual([], self.drained)
        while self.output.is_full:
            self.transport.room = 1 if len(self.transport.written) < 3 else 10**9
            self.output.resumeProducing()
        self.assertEqual(data + b"after", b"".join(self.transport.written))
        self.assertLessEqual(max(map(len, self.transport.written)), 131072)
        self.assertEqual([None], self.drained)

    def test_drop(self) -> None:
        """What waits for a connection that is gone is forgotten."""
        self.transport.room = 1
        self.output.send(bytes(500_000))
        self.output.drop()
        self.output.stopProducing()
        self.output.send(b"late")
        self.assertEqual(1, len(self.transport.written))

    def test_release(self) -> None:
        """The transport has another producer then, or none."""
        self.output.release()
        self.assertIsNone(self.transport.producer)
