"""The plain dialect, over real sockets and a real Redis, with an independent client."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect

from tests.support.case import GatewayCase
from tests.support.raw import TEXT, frame
from tests.support.require import missing


class PlainTests(GatewayCase):
    """What every page and every backend relies on."""

    skip = missing("redis")

    def test_thousand_receivers(self) -> None:
        """1000 sockets on one broadcast each get the message."""

        async def scenario() -> list[object]:
            clients = [await connect(self.gateway.url("/ws/many?subscribe-broadcast")) for _ in range(1000)]
            self.redis.command("PUBLISH", "broadcast:many", "hello")
            got = await asyncio.gather(*(asyncio.wait_for(client.recv(), 20) for client in clients))
            await asyncio.gather(*(client.close() for client in clients))
            return list(got)

        self.assertEqual(["hello"] * 1000, asyncio.run(scenario()))

    def test_burst(self) -> None:
        """Ten pipelined PUBLISHes are delivered at once and in order."""
        client = self.open("/ws/burst?subscribe-broadcast")
        self.redis.pipeline(*(("PUBLISH", "broadcast:burst", f"m{n}") for n in range(10)))
        self.assertEqual([b"m%d" % n for n in range(10)], [client.message() for _ in range(10)])

    def test_three_frames_in_one_segment(self) -> None:
        """Three messages that arrive in one read are all published."""
        listener = self.open("/ws/three?subscribe-broadcast")
        speaker = self.open("/ws/three?publish-broadcast")
        speaker.send(b"".join(frame(TEXT, b"m%d" % n) for n in range(3)))
        self.assertEqual([b"m0", b"m1", b"m2"], [listener.message() for _ in range(3)])
