"""Tests for `wsredis.layer.link`. What a connection is for is tested in test_commands."""

from __future__ import annotations

from threading import Event

from tests.support.layer import run
from tests.unit.layer.case import MultiplexCase
from wsredis.layer import LayerUnavailable
from wsredis.layer.link import guarded


class LinkTests(MultiplexCase):
    """A connection that comes back."""

    def test_late(self) -> None:
        """Who comes while the failure is being told is not forgotten."""
        self.redis.down = True
        told = Event()
        second: list[object] = []
        again = Event()

        def first(result: object) -> None:
            self.clock.advance(1)
            self.carrier.call(
                [(b"LLEN", b"a")], lambda result: (second.append(result), again.set())
            )
            told.set()

        self.carrier.call([(b"LLEN", b"a")], first)
        self.assertTrue(told.wait(10))
        self.assertTrue(again.wait(10))
        self.assertIsInstance(second[0], LayerUnavailable)

    def test_at_once(self) -> None:
        """Right after a failure others are told at once, without another attempt."""
        self.redis.down = True
        for _ in range(5):
            with self.assertRaises(LayerUnavailable):
                run(self.call((b"LLEN", b"a")))
        self.redis.down = False
        with self.assertRaises(LayerUnavailable) as caught:
            run(self.call((b"LLEN", b"a")))
        self.assertEqual("redis://r:6379: nobody listens", str(caught.exception))
        self.clock.advance(0.6)
        self.assertEqual([0], run(self.call((b"LLEN", b"a"))))

    def test_closed_while_connecting(self) -> None:
        """Who waits for a connection when the layer is closed is told."""
        reached, go = Event(), Event()
        dial = self.redis.dial

        def slow(host: object) -> object:
            reached.set()
            go.wait(10)
            return dial(host)

        self.carrier._commands._dial = slow  # type: ignore[assignment]
        results: list[object] = []
        self.carrier.call([(b"LLEN", b"a")], results.append)
        self.assertTrue(reached.wait(10))
        self.carrier.close()
        self.assertIsInstance(results[0], LayerUnavailable)
        go.set()

    def test_guarded(self) -> None:
        """An error of one who is told does not hinder the others."""

        def fails(result: object) -> None:
            raise ValueError("a bug")

        guarded(fails, 5)
