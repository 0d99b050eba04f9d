"""Tests for `wsredis.layer.station`. What a layer does is tested in test_channel_layer."""

from __future__ import annotations

import asyncio

from tests.support.layer import LayerCase, run
from wsredis.layer.names import host_of


class StationTests(LayerCase):
    """A layer in one process."""

    def test_joined_once(self) -> None:
        """Many consumers that come at once need one subscription, and none goes on before it."""

        async def join() -> None:
            layer = self.layer()
            channels = await asyncio.gather(*[layer.new_channel() for _ in range(20)])
            self.assertEqual(20, len(set(channels)))
            [carrier] = self.redis.carriers
            self.assertEqual(2, len(carrier.counts))

        run(join())

    def test_host(self) -> None:
        """What is sent to a process is heard on the host that its name belongs to."""
        hosts = [("localhost", 6379 + number) for number in range(3)]
        layers = [self.layer(hosts=hosts) for _ in range(10)]
        for layer in layers:
            run(layer.new_channel())
            name = f"asgi:process:{layer.client_prefix}".encode()
            server = self.server(6379 + host_of(layer.client_prefix, 3))
            self.assertTrue(any(name in carrier.counts for carrier in server.carriers))

    def test_no_home(self) -> None:
        """With carriers that others read, there is no home."""
        self.assertIsNone(self.layer()._station.home)

    def test_log(self) -> None:
        """A channel that cannot be heard yet is a line of the log."""
        self.redis.away = True
        with self.assertLogs("wsredis.layer", "WARNING") as caught:
            run(self.layer().new_channel())
        self.assertIn("not heard yet: away", caught.output[0])
