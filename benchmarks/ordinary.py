"""
Ordinary clients of a gateway: they listen, answer pings, and count what they get.

    python benchmarks/ordinary.py PORT REDIS --clients 500 --rate 20

attack.py runs this program. It connects the clients, writes ``ready``, and publishes by itself,
over Redis. For each line that it reads it writes one line of JSON: all that happened since the
line before. It ends with its standard input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

#: Clients of one channel.
ROOM = 50
#: Every second client comes through this address, as if a proxy stood there.
PROXY = "127.0.0.3"
#: Bytes of a message.
SIZE = 128
#: Seconds between two clients who come new, and seconds for which each of them waits.
NEWCOMER_EVERY = 0.5
NEWCOMER_PATIENCE = 5.0
#: Seconds for which a message may be under way.
GRACE = 10.0

PING, PONG, CLOSE = 0x89, 0x8A, 0x88


def upgrade(path: str, forwarded: str = "", *more: str) -> bytes:
    """Return a handshake; *forwarded* is what the proxy says about the address."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: gateway.example",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *((f"X-Forwarded-For: {forwarded}",) if forwarded else ()),
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def masked(first: int, payload: bytes) -> bytes:
    """Return a frame of a client; its mask is zero, so the payload stands there as it is."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload


def connecting(port: int, source: str) -> socket.socket:
    """Begin a connection from the address *source*."""
    made = socket.socket()
    try:
        # The port is chosen when it connects: one address may use each towards every server.
        made.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        made.bind((source, 0))
        made.setblocking(False)
        made.connect_ex(("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


def address_of(number: int) -> tuple[str, str]:
    """Return the address from which a client comes, and the address that the proxy gives it."""
    # Four in five have addresses of their own; the others share one, as behind a company's NAT.
    host = number // 2 % 200 + 2 if number % 5 else 1
    return (PROXY, f"198.51.100.{host}") if number % 2 else (f"127.0.1.{host}", "")


@dataclass
class Tally:
    """
    All that happened in one part of the run.

    Attributes:
        waits: Milliseconds from the publisher to each client.
        newcomers: Milliseconds of each handshake that succeeded.
        refused: Handshakes that did not, by status; 0 if there was none in time.
        lost: Messages that a client did not get.
        closed: Clients who lost their connection, by close code; 0 if there was none.
    """

    waits: list[float] = field(default_factory=list)
    newcomers: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    closed: dict[int, int] = field(default_factory=dict)
    lost: int = 0

    def report(self) -> dict[str, object]:
        """Return figures for `attack`."""
        return {
            "messages": len(self.waits),
            "lost": self.lost,
            "closed": self.closed,
            "p50": quantile(self.waits, 0.5),
            "p99": quantile(self.waits, 0.99),
            "worst": max(self.waits, default=0.0),
            "newcomers": len(self.newcomers),
            "newcomers p99": quantile(self.newcomers, 0.99),
            "refused": self.refused,
        }


def quantile(values: list[float], part: float) -> float:
    """Return the value below which *part* of the values are. 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


class Client:
    """
    One client, whose connection has only begun.

    Attributes:
        next: The number of the message that it waits for. -1 if any is the first.
        request: The handshake. Empty if it was sent.
    """

    __slots__ = ("buffer", "next", "number", "open", "request", "room", "socket", "started")

    def __init__(self, port: int, number: int, room: int) -> None:
        source, forwarded = address_of(number)
        self.number = number
        self.room = room
        self.next = -1
        self.open = False
        self.started = time.monotonic()
        self.buffer = bytearray()
        self.request = upgrade(f"/ws/room{room}?subscribe-broadcast", forwarded)
        self.socket = connecting(port, source)


class Ordinary:
    """All clients, and the publisher. A client whose connection is lost comes back."""

    def __init__(self, port: int, redis: int, clients: int, rate: float) -> None:
        self._port = port
        self._rate = rate
        self._tally = Tally()
        self._rooms = max(1, clients // ROOM)
        self._clients: dict[int, Client] = {}
        self._newcomers: dict[int, Client] = {}
        self._count = clients
        self._serials = [0] * self._rooms
        self._epoll = select.epoll()
        self._redis = socket.create_connection(("127.0.0.1", redis))

    def run(self) -> None:
        """Work until standard input ends."""
        for number in range(self._count):
            self._connect(number)
            self._poll(0.0)
        limit = time.monotonic() + 60
        while not all(client.open for client in self._clients.values()):
            self._poll(0.1)
            if time.monotonic() > limit:
                sys.exit("not all ordinary clients were served, without an attack")
        print("ready", flush=True)
        self._epoll.register(0, select.EPOLLIN | select.EPOLLHUP)
        step = 1 / self._rate / self._rooms
        due, room, newcomer, number = time.monotonic(), 0, time.monotonic(), self._count
        while self._poll(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            if now >= newcomer:
                newcomer, number = now + NEWCOMER_EVERY, number + 1
                self._come(number)
            # The rooms take turns, so that the work of this program comes evenly, too.
            while due <= now:
                self._publish(room)
                room, due = (room + 1) % self._rooms, due + step

    def _publish(self, room: int) -> None:
        serial = self._serials[room]
        self._serials[room] = serial + 1
        text = b"%d %d " % (serial, time.monotonic_ns())
        channel = b"broadcast:room%d" % room
        self._redis.sendall(
            b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
            % (len(channel), channel, SIZE, text.ljust(SIZE, b"."))
        )
        with contextlib.suppress(BlockingIOError):
            self._redis.recv(65536, socket.MSG_DONTWAIT)

    def _connect(self, number: int) -> None:
        client = Client(self._port, number, number % self._rooms)
        self._clients[client.socket.fileno()] = client
        self._epoll.register(client.socket.fileno(), select.EPOLLOUT)

    def _come(self, number: int) -> None:
        """Let somebody new come, who goes as soon as he is served; forget those who wait long."""
        for fd, client in list(self._newcomers.items()):
            if time.monotonic() - client.started > NEWCOMER_PATIENCE:
                self._leave(fd, 0)
        try:
            client = Client(self._port, number, number % self._rooms)
        except OSError:
            self._tally.refused[0] = self._tally.refused.get(0, 0) + 1
            return
        self._newcomers[client.socket.fileno()] = client
        self._epoll.register(client.socket.fileno(), select.EPOLLOUT)

    def _leave(self, fd: int, status: int) -> None:
        """End a newcomer who got this answer; 0 if there was none."""
        client = self._newcomers.pop(fd)
        if status == 101:
            self._tally.newcomers.append((time.monotonic() - client.started) * 1e3)
        else:
            self._tally.refused[status] = self._tally.refused.get(status, 0) + 1
        client.socket.close()

    def _poll(self, timeout: float) -> bool:
        """Serve what comes. Returns: False if standard input has ended."""
        for fd, _ in self._epoll.poll(timeout):
            if fd == 0:
                if not os.read(0, 4096):
                    return False
                self._report()
                continue
            client = self._clients.get(fd) or self._newcomers.get(fd)
            if client is None:
                continue
            try:
                if client.request:
                    client.socket.send(client.request)
                    client.request = b""
                    self._epoll.modify(fd, select.EPOLLIN)
                    continue
                data = client.socket.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if fd in self._newcomers:
                self._leave(fd, int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0)
            elif not data:
                self._lost(client, 0)
            else:
                client.buffer += data
                self._read(client)
        return True

    def _read(self, client: Client) -> None:
        """Take the whole frames from the buffer of a client."""
        buffer, now, start = client.buffer, time.monotonic_ns(), 0
        if not client.open:
            head, end, _ = buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                return self._lost(client, 0)
            client.open = True
            start = len(head) + len(end)
        while len(buffer) - start >= 2:
            first, size, begin = buffer[start], buffer[start + 1], start + 2
            if size == 126:
                size, begin = int.from_bytes(buffer[begin : begin + 2], "big"), begin + 2
            if len(buffer) < begin + size:
                break
            payload = buffer[begin : begin + size]
            start = begin + size
            if first == PING:
                client.socket.send(masked(PONG, bytes(payload)))
            elif first == CLOSE:
                return self._lost(client, int.from_bytes(payload[:2], "big"))
            elif payload[:1].isdigit():
                self._take(client, payload, now)
        del buffer[:start]

    def _take(self, client: Client, payload: bytes | bytearray, now: int) -> None:
        serial, sent = map(int, payload.split(b" ", 2)[:2])
        if client.next >= 0:
            # A number below the one that is waited for would be doubled: count that, too.
            self._tally.lost += abs(serial - client.next)
        client.next = serial + 1
        self._tally.waits.append((now - sent) / 1e6)

    def _lost(self, client: Client, code: int) -> None:
        self._tally.closed[code] = self._tally.closed.get(code, 0) + 1
        del self._clients[client.socket.fileno()]
        client.socket.close()
        with contextlib.suppress(OSError):
            self._connect(client.number)
            return
        self._tally.refused[0] = self._tally.refused.get(0, 0) + 1

    def _report(self) -> None:
        """Wait for the messages that are under way, and write what happened."""
        end = time.monotonic() + GRACE
        while time.monotonic() < end and any(self._behind(each) for each in self._clients.values()):
            self._poll(0.05)
        for client in self._clients.values():
            self._tally.lost += self._behind(client)
            if client.next >= 0:
                client.next = self._serials[client.room]
        print(json.dumps(self._tally.report()), flush=True)
        self._tally = Tally()

    def _behind(self, client: Client) -> int:
        """Return the number of messages that a client should have by now, and has not."""
        return self._serials[client.room] - client.next if client.next >= 0 else 0


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("redis", type=int)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20.0)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Ordinary(options.port, options.redis, options.clients, options.rate).run()


if __name__ == "__main__":
    main()
