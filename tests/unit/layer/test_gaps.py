"""Tests for `wsredis.layer.gaps`."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import run
from wsredis.errors import ConfigError
from wsredis.layer.gaps import calling_consumer, check_on_gap, gap_parcel, hears_gaps


class _Layer:
    """Asks who calls."""

    async def new_channel(self) -> Any:
        """Return the consumer."""
        return calling_consumer(self)


class _Consumer:
    """As one of Channels."""

    def __init__(self, layer: object) -> None:
        self.channel_layer = layer
        self.codes: list[int] = []

    async def __call__(self, layer: _Layer) -> Any:
        """Ask for a channel."""
        return await layer.new_channel()


class _Closing(_Consumer):
    """As a WebSocket consumer."""

    async def close(self, code: int) -> None:
        """Take note of it."""
        self.codes.append(code)


class _ClosingInThread(_Consumer):
    """As a synchronous WebSocket consumer."""

    def close(self, code: int) -> None:
        """Take note of it."""
        self.codes.append(code)


class _Hearing(_Closing):
    """It wants to know of gaps."""

    async def layer_gap(self, event: object) -> None:
        """Look for what was missed."""


class CallerTests(SynchronousTestCase):
    """The consumer that asks for a channel."""

    def test_found(self) -> None:
        """The consumer is found; one of another layer, or another object, is none."""
        layer = _Layer()
        consumer = _Consumer(layer)
        self.assertIs(consumer, run(consumer(layer)))
        self.assertIsNone(run(_Consumer(_Layer())(layer)))
        self.assertIsNone(run(layer.new_channel()))


class HearingTests(SynchronousTestCase):
    """The consumers that are told."""

    def test_method(self) -> None:
        """Those with a method for the event are told; for others an event would be the end."""
        for consumer, on_gap, told in (
            (_Hearing(None), "tell", True),
            (_Hearing(None), "close", True),
            (_Closing(None), "tell", False),
            (_Consumer(None), "tell", False),
            (_Consumer(None), "close", False),
        ):
            self.assertEqual(told, hears_gaps(consumer, on_gap))

    def test_close(self) -> None:
        """If wanted, those without a method get one that closes with 1012."""
        closing, in_thread = _Closing(None), _ClosingInThread(None)
        for consumer in (closing, in_thread):
            self.assertTrue(hears_gaps(consumer, "close"))
        method: Any = closing.layer_gap  # type: ignore[attr-defined]
        run(method({}))
        in_thread.layer_gap({})  # type: ignore[attr-defined]
        self.assertEqual([[1012], [1012]], [closing.codes, in_thread.codes])

    def test_does_not_keep(self) -> None:
        """The method does not keep the consumer alive, and does nothing after its end."""
        for kind in (_Closing, _ClosingInThread):
            consumer: Any = kind(None)
            hears_gaps(consumer, "close")
            method, alive = consumer.layer_gap, ref(consumer)
            gc.disable()
            try:
                del consumer
                self.assertIsNone(alive())
            finally:
                gc.enable()
            ended = method({})
            if ended is not None:
                run(ended)

    def test_setting(self) -> None:
        """The setting has two values."""
        self.assertEqual(["tell", "close"], [check_on_gap("tell"), check_on_gap("close")])
        error = self.assertRaises(ConfigError, check_on_gap, "die")
        self.assertEqual("on_gap: 'die' is not one of tell, close", str(error))

    def test_event(self) -> None:
        """The event tells how long nothing was heard, and is one object for each consumer."""
        parcel = gap_parcel(1.23456)
        self.assertEqual({"type": "layer.gap", "seconds": 1.235}, parcel.take())
        self.assertIsNot(parcel.take(), parcel.take())
