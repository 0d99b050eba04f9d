"""permessage-deflate (RFC 7692) between a real gateway and clients of several kinds."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.case import FreshGatewayCase
from tests.support.deflate import OFFER, compressed, inflated, squeezed
from tests.support.raw import BINARY, CLOSE, TEXT, RawClient, frame
from tests.support.reading import receive_answer
from tests.support.require import missing
from tests.support.wire import WireCase, settle

_MEBIBYTE = 1024 * 1024
_HEARTBEAT = "--hb--"
_BOTH = "subscribe-broadcast&publish-broadcast"

#: Offers of clients, as options of `websockets`. If None, no compression.
_KINDS: dict[str, dict[str, Any] | None] = {
    "what the library asks for": {"client_max_window_bits": 12, "server_max_window_bits": 12},
    "context takeover on both sides": {},
    "none on both sides": {"server_no_context_takeover": True, "client_no_context_takeover": True},
    "a narrow window": {"server_max_window_bits": 10},
    "the narrowest window": {"server_max_window_bits": 9, "client_max_window_bits": 9},
    "nothing": None,
}

_LARGE = json.dumps([{"id": n, "name": f"number {n}", "on": True} for n in range(400)])


async def _open(url: str, kind: dict[str, Any] | None) -> Any:
    extensions = None if kind is None else [ClientPerMessageDeflateFactory(**kind)]
    return await connect(url, compression=None, extensions=extensions)


async def _heard(client: Any, count: int) -> list[str | bytes]:
    """Return the next messages, without heartbeats."""
    found: list[str | bytes] = []
    while len(found) < count:
        got = await asyncio.wait_for(client.recv(), 20)
        if got != _HEARTBEAT:
            found.append(got)
    return found


class DeflateTests(WireCase):
    """A gateway that compresses."""

    skip = missing("redis")
    options = ("--compress", "--heartbeat", _HEARTBEAT)

    def all_kinds(self, path: str, scenario: Any) -> None:
        """Run a scenario with a client of each kind on *path*."""

        async def run() -> None:
            clients = [await _open(self.gateway.url(path), kind) for kind in _KINDS.values()]
            for kind, client in zip(_KINDS.values(), clients, strict=True):
                self.assertEqual(kind is not None, bool(client.protocol.extensions))
            try:
                await scenario(dict(zip(_KINDS, clients, strict=True)))
            finally:
                await asyncio.gather(*(client.close() for client in clients))
            self.assertEqual({1000}, {client.close_code for client in clients})

        asyncio.run(run())

    def test_every_kind_of_client(self) -> None:
        """All clients get the same messages, text and binary, large and small, first and later."""
        sent = ["small", _LARGE, "é" * 300, b"\xff" * 5000, _LARGE, _LARGE[::-1], "", "end"]
        expected = [each for each in sent if each]

        async def scenario(clients: dict[str, Any]) -> None:
            for payload in sent:
                self.publish("broadcast:kinds", payload)
            for kind, client in clients.items():
                self.assertEqual(expected, await _heard(client, len(expected)), kind)

        self.all_kinds("/ws/kinds?subscribe-broadcast", scenario)

    def test_every_kind_speaks(self) -> None:
        """Each client sends a message twice; all others hear it, and the client itself does not."""

        async def scenario(clients: dict[str, Any]) -> None:
            for kind, speaker in clients.items():
                others = [client for client in clients.values() if client is not speaker]
                for payload in (f"{kind} {_LARGE}", f"{kind} says this", f"{kind} {_LARGE}!"):
                    await speaker.send(payload)
                    for client in others:
                        self.assertEqual([payload], await _heard(client, 1), kind)
            self.publish("broadcast:speak", "end")
            for kind, client in clients.items():
                self.assertEqual(["end"], await _heard(client, 1), kind)

        self.all_kinds(f"/ws/speak?{_BOTH}", scenario)

    def test_batches(self) -> None:
        """Messages on several channels that come in one read arrive in order at every client."""
        sent = [f"{n} {_LARGE}" if n % 3 else f"{n}" for n in range(60)]

        async def scenario(clients: dict[str, Any]) -> None:
            self.redis.pipeline(*(("PUBLISH", "broadcast:batch", each) for each in sent))
            for kind, client in clients.items():
                self.assertEqual(sent, await _heard(client, len(sent)), kind)

        self.all_kinds("/ws/batch?subscribe-broadcast", scenario)

    def test_stored(self) -> None:
        """A stored message comes first, whatever was negotiated."""
        self.redis.command("SET", "broadcast:old", _LARGE)

        async def scenario(clients: dict[str, Any]) -> None:
            for kind, client in clients.items():
                self.assertEqual([_LARGE], await _heard(client, 1), kind)

        self.all_kinds("/ws/old?subscribe-broadcast", scenario)

    def test_bytes_on_the_wire(self) -> None:
        """A message of 256 bytes or more is compressed, only for clients that can read it."""
        deflating = self.open("/ws/wire?subscribe-broadcast", OFFER)
        plain = self.open("/ws/wire?subscribe-broadcast")
        for payload, rsv in ((b"x" * 255, 0), (b"x" * 256, 4), (b"x" * 100000, 4)):
            self.publish("broadcast:wire", payload)
            for client, expected in ((deflating, rsv), (plain, 0)):
                while (got := receive_answer(client)).payload == _HEARTBEAT.encode():
                    self.assertEqual(0, got.rsv)
                self.assertEqual((TEXT, expected, payload), (got.opcode, got.rsv, inflated(got)))
                if expected:
                    self.assertLess(len(got.payload), len(payload) // 10)

    def test_bombs(self) -> None:
        """A message that inflates beyond max-message closes with 1009, and costs no memory."""
        bomb = squeezed(b"\x00" * 256 * _MEBIBYTE)
        listener = self.open("/ws/bomb?subscribe-broadcast")
        for limit in (self.bombed(bomb), self.bombed(bomb, pieces=50)):
            self.assertEqual(1009, limit)
        before = self.gateway.memory()
        for _ in range(10):
            self.bombed(bomb)
        self.assertLess(self.gateway.memory() - before, 20 * _MEBIBYTE)
        self.publish("broadcast:bomb", "after")
        self.assertEqual(b"after", self.message(listener))

    def bombed(self, data: bytes, pieces: int = 1) -> int | None:
        """Send a compressed message, in fragments. Returns: The code that it is closed with."""
        client = self.open("/ws/bomb?publish-broadcast", OFFER)
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            end = start + size
            first, last = start == 0, end >= len(data)
            opcode, rsv = (BINARY, 4) if first else (0, 0)
            client.send(frame(opcode, data[start:end], fin=last, rsv=rsv))
        code = client.closing()
        # The rest of the message comes after the close frame; the gateway reads our close frame.
        client.send(frame(CLOSE, struct.pack("!H", 1009)))
        self.assertEqual(b"", client.rest())
        return code

    def test_independent_client_sees_1009(self) -> None:
        """The `websockets` client sees the code for a message that inflates beyond the limit."""

        async def scenario() -> int | None:
            client = await _open(self.gateway.url(f"/ws/large?{_BOTH}"), {})
            try:
                await client.send("x" * (_MEBIBYTE + 1))
                await _heard(client, 1)
            except ConnectionClosed:
                pass
            return client.close_code  # type: ignore[no-any-return]

        self.assertEqual(1009, asyncio.run(scenario()))

    def test_largest(self) -> None:
        """A message of exactly max-message bytes passes."""
        speaker = self.open("/ws/largest?publish-broadcast", OFFER)
        listener = self.open("/ws/largest?subscribe-broadcast")
        payload = (b"%d " % 7**1000 * 2000)[:_MEBIBYTE]
        speaker.send(compressed(payload))
        self.assertEqual(payload, self.message(listener))

    def test_garbage(self) -> None:
        """Garbage closes with 1007, a misplaced bit closes with 1002; neither is published."""
        listener = self.open("/ws/garbage?subscribe-broadcast")
        deflater = zlib.compressobj(wbits=-15)
        deflater.compress(_LARGE.encode())
        deflater.flush(zlib.Z_SYNC_FLUSH)
        looks_back = deflater.compress(_LARGE.encode()) + deflater.flush(zlib.Z_SYNC_FLUSH)
        start = frame(TEXT, squeezed(b"a"), fin=False, rsv=4)
        for data, code in (
            (frame(TEXT, b"\xff\xff\xff\xff", rsv=4), 1007),
            (frame(TEXT, looks_back[:-4], rsv=4), 1007),
            (compressed(b"caf\xe9!"), 1007),
            (start + frame(0, b"", rsv=4), 1002),
            (frame(CLOSE, b"", rsv=4), 1002),
            (frame(TEXT, b"a", rsv=6), 1002),
        ):
            client = self.open("/ws/garbage?publish-broadcast", OFFER)
            client.send(data)
            self.assertEqual(code, client.closing(), data)
        client = self.open("/ws/garbage?publish-broadcast")
        client.send(compressed(b"not agreed"))
        self.assertEqual(1002, client.closing())
        self.publish("broadcast:garbage", "after")
        self.assertEqual(b"after", self.message(listener))

    def message(self, client: RawClient) -> bytes:
        """Return the next message that is not a heartbeat."""
        while (payload := client.message()) == _HEARTBEAT.encode():
            pass
        return payload


class OffTests(WireCase):
    """A gateway that was not asked to compress."""

    skip = missing("redis")

    def test_every_kind_of_client(self) -> None:
        """Clients that offer compression, in any form, are served without it."""

        async def scenario() -> None:
            for kind in (*_KINDS.values(), {"server_max_window_bits": 8}):
                client = await _open(self.gateway.url("/ws/off?subscribe-broadcast"), kind)
                self.publish("broadcast:off", _LARGE)
                self.assertEqual([_LARGE], await _heard(client, 1))
                self.assertEqual([], client.protocol.extensions)
                await client.close()

        asyncio.run(scenario())

    def test_offer_that_is_wrong(self) -> None:
        """An offer that nobody understands is declined, as RFC 7692 says, and is not an error."""
        settle(self.open("/ws/off?subscribe-broadcast", f"{OFFER}; nonsense=1"))


class MemoryTests(FreshGatewayCase):
    """The memory that compression costs a connection that has used it."""

    skip = missing("redis")
    options = ("--compress", "--ping-interval", "600", "--expire", "0")

    def grown(self, name: str, count: int, *headers: str) -> int:
        """Return the bytes that the gateway grew for clients that each sent and got a message."""
        start = self.gateway.memory()
        payload = _LARGE.encode()
        for number in range(count):
            client = self.open(f"/ws/{name}{number}?{_BOTH}&echo", *headers)
            client.send(compressed(payload) if headers else frame(TEXT, payload))
            self.assertEqual(payload, inflated(receive_answer(client)))
        return self.gateway.memory() - start

    def test_memory(self) -> None:
        """It takes no more memory than without, apart from noise; a context takes 100 KiB."""
        self.grown("first", 50)
        self.grown("second", 50, OFFER)
        plain = self.grown("third", 300)
        deflating = self.grown("fourth", 300, OFFER)
        self.assertLess((deflating - plain) / 300, 4096)
