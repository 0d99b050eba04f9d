"""
One hostile address: it opens connections to a gateway and does what no good client does.

    python benchmarks/hostile.py ATTACK PORT --source 127.0.0.2 --seconds 10

attack.py runs this program, once for each attack and address. It ends by itself after
``--seconds``, or with its standard input, and writes one line of JSON with what it could do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import select
import socket
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from ordinary import connecting, masked, upgrade

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
#: A text that is not finished, and a part of it that does not finish it.
BEGIN, PART = 0x01, 0x00
MEBIBYTE = 1048576
#: Payload of the messages to be stored: with its frame no larger than max-message.
LARGE = b"x" * MEBIBYTE
#: Seconds of one turn of the program, at most.
TURN = 0.01

#: Requests that no gateway accepts.
BAD_REQUESTS = (
    b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /ws/a?b HTTP/1.0\r\n\r\n",
    b"POST /ws/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    upgrade("/ws/a").replace(b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 7"),
    upgrade("/ws/a").replace(b"Sec-WebSocket-Key", b"Sec-WebSocket-Keys"),
    upgrade("/ws/%00?subscribe-broadcast"),
    upgrade("/ws/a", "", "Origin: https://elsewhere.example", "Cookie: session=made-up"),
    b"\x16\x03\x01 this is TLS, or nearly\r\n\r\n",
)


def bomb() -> bytes:
    """Return a compressed frame of about a kilobyte, that is a mebibyte when it is inflated."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflate.compress(b"\0" * (MEBIBYTE - 1024)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return masked(BINARY | 0x40, data[:-4])


@dataclass(frozen=True)
class Attack:
    """
    The attacks of one hostile address.

    Attributes:
        does: One line for the report.
        sockets: Connections at a time.
        opens: New connections a second, at most.
        path: The target of the handshake; {n} is the number of the connection.
        head: What a connection sends in place of a handshake, by its number.
        headers: More headers of the handshake.
        first: Bytes once the WebSocket is open, or after *head*.
        first_by: The number of connections that send *first*; the others only come.
        more: Bytes again and again after that, if there are any.
        rate: Bytes of *more* a second, for all connections together.
        reads: Read all that comes. Otherwise the answer to the handshake only.
        stays: Seconds until a connection is closed. None waits for the gateway to do it, 0 only for
            the first bytes of an answer.
        proxied: A proxy would pass it on.
    """

    does: str
    sockets: int = 20
    opens: int = 200
    path: str = "/ws/hostile{n}?subscribe-broadcast&publish-broadcast"
    head: Callable[[int], bytes] | None = None
    headers: tuple[str, ...] = ()
    first: bytes = b""
    first_by: int = 1_000_000
    more: bytes = b""
    rate: int = 2 * MEBIBYTE
    reads: bool = True
    stays: float | None = None
    proxied: bool = True


def many(frame: bytes) -> bytes:
    """Return 64 KiB of a frame."""
    return frame * (65536 // len(frame))


ATTACKS = {
    "handshakes": Attack("opens and closes WebSockets", sockets=100, opens=3000, stays=0.0),
    "silent": Attack(
        "opens TCP connections and says nothing",
        sockets=8000,
        opens=500,
        head=lambda n: b"",
        proxied=False,
    ),
    "half-heads": Attack(
        "sends heads that never end",
        sockets=2000,
        opens=500,
        head=lambda n: b"GET /ws/a HTTP/1.1\r\nHost: a\r\n",
        more=b"X-More: and more\r\n",
        rate=20_000,
        proxied=False,
    ),
    "endless-heads": Attack(
        "sends heads without end, as fast as it can",
        sockets=20,
        head=lambda n: b"GET /ws/a HTTP/1.1\r\nHost: a\r\n",
        more=many(b"X-More: and more\r\n"),
        rate=20 * MEBIBYTE,
        proxied=False,
    ),
    "bad-requests": Attack(
        "sends requests that are refused",
        sockets=50,
        opens=1000,
        head=lambda n: BAD_REQUESTS[n % len(BAD_REQUESTS)],
        stays=0.0,
    ),
    "pipelined": Attack(
        "sends one plain request after the other, and reads no answer",
        sockets=50,
        head=lambda n: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        more=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
        reads=False,
    ),
    "places": Attack("opens as many WebSockets as it can, and stays", sockets=18_000, opens=2000),
    "pings": Attack("sends pings", more=many(masked(PING, b"")), rate=20 * MEBIBYTE),
    "long-pings": Attack(
        "sends pings of 125 bytes, and does not read the pongs",
        more=many(masked(PING, b"x" * 125)),
        rate=20 * MEBIBYTE,
        reads=False,
    ),
    "texts": Attack("publishes messages of one byte", more=many(masked(TEXT, b"a"))),
    "unfinished": Attack(
        "sends messages that it never finishes",
        sockets=400,
        first=masked(BEGIN, b"a" * (MEBIBYTE - 1024)),
    ),
    "splinters": Attack(
        "sends messages in parts of two bytes",
        sockets=50,
        first=masked(BEGIN, b"aa"),
        more=many(masked(PART, b"aa")),
        rate=4 * MEBIBYTE,
    ),
    "empty-parts": Attack(
        "sends empty parts of a message",
        first=masked(BEGIN, b""),
        more=many(masked(PART, b"")),
        rate=4 * MEBIBYTE,
    ),
    "bombs": Attack(
        "sends small messages that are large when they are inflated",
        headers=("Sec-WebSocket-Extensions: permessage-deflate",),
        more=bomb() * 16,
    ),
    "crowd": Attack(
        "publishes to a crowd of its own",
        sockets=500,
        opens=500,
        path="/ws/crowd?subscribe-broadcast&publish-broadcast",
        more=masked(TEXT, b"x" * 128) * 8,
        rate=MEBIBYTE,
    ),
    "deaf-crowd": Attack(
        "publishes to a crowd of its own, and reads nothing",
        sockets=500,
        opens=500,
        path="/ws/deaf?subscribe-broadcast&publish-broadcast",
        more=masked(TEXT, b"x" * 65536) + masked(PONG, b""),
        reads=False,
    ),
    "shouts": Attack(
        "publishes to the ordinary clients, no more than they can read",
        path="/ws/room0?publish-broadcast",
        more=masked(TEXT, b"x" * 1024),
        rate=65536,
    ),
    "half-closed": Attack(
        "begins to close WebSockets, and does not end it",
        sockets=2000,
        opens=500,
        first=masked(CLOSE, b"\x03\xe8"),
        reads=False,
    ),
    "stored": Attack(
        "publishes large messages on a new channel each, to be stored",
        opens=20,
        first=masked(TEXT, LARGE),
        stays=1.0,
    ),
    "catch-up": Attack(
        "gets a large stored message again and again, and does not read it",
        sockets=1000,
        opens=100,
        path="/ws/large?subscribe-broadcast&publish-broadcast",
        first=masked(TEXT, LARGE),
        first_by=1,
        more=masked(PONG, b""),
        rate=2000,
        reads=False,
    ),
}


class Connection:
    """
    One connection of the attack.

    Attributes:
        request: What is sent before anything else; None if it has been sent.
        first: What is sent after the answer.
        rest: Bytes that the kernel did not take yet.
        ready: It may send *more*.
        ends: The time when it is closed.
    """

    __slots__ = ("closed", "ends", "first", "ready", "request", "rest", "socket")

    def __init__(self, made: socket.socket, request: bytes, first: bytes) -> None:
        self.socket = made
        self.request: bytes | None = request
        self.first = first
        self.rest = memoryview(b"")
        self.ready = False
        self.closed = False
        self.ends = float("inf")


class Hostile:
    """
    An attack from one address.

    Args:
        behind: The address that a proxy gives it. If empty, there is no proxy.
    """

    def __init__(self, attack: Attack, port: int, source: str, behind: str) -> None:
        self._attack = attack
        self._port = port
        self._source = source
        self._behind = behind
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._senders: deque[Connection] = deque()
        self._number = 0
        self._sent = 0
        self._repeated = 0
        self._answers: Counter[str] = Counter()

    def run(self, seconds: float) -> dict[str, object]:
        """Attack for so long, or until standard input ends. Returns: What it could do."""
        begin = now = time.monotonic()
        self._epoll.register(0, select.EPOLLIN | select.EPOLLHUP)
        while now < begin + seconds:
            self._open(min(self._attack.opens * (now - begin + TURN), 1e9))
            if not self._poll():
                break
            self._send(self._attack.rate * (now - begin))
            self._end(now)
            now = time.monotonic()
        return {
            "opened": self._number,
            "held": len(self._connections),
            "sent": self._sent,
            "answers": dict(self._answers),
        }

    def _open(self, allowed: float) -> None:
        """Open connections, up to *allowed* since the beginning."""
        while len(self._connections) < self._attack.sockets and self._number < allowed:
            try:
                made = connecting(self._port, self._source)
            except OSError as error:
                self._answers[f"error {error.errno}"] += 1
                return
            self._number += 1
            request = self._request(self._number)
            first = self._attack.first if self._number <= self._attack.first_by else b""
            self._connections[made.fileno()] = Connection(made, request, first)
            self._epoll.register(made.fileno(), select.EPOLLOUT)

    def _request(self, number: int) -> bytes:
        forwarded = ""
        if self._behind:
            # The left part is what a client makes up; the proxy adds the right one.
            forwarded = f"203.0.113.{random.randrange(256)}, {self._behind}"
        if self._attack.head is None:
            path = self._attack.path.format(n=number)
            return upgrade(path, forwarded, *self._attack.headers)
        head = self._attack.head(number)
        if forwarded and head.endswith(b"\r\n\r\n"):
            head = head[:-2] + f"X-Forwarded-For: {forwarded}\r\n\r\n".encode()
        return head

    def _poll(self) -> bool:
        """Serve what comes. Returns: False if standard input has ended."""
        for fd, event in self._epoll.poll(TURN, 500):
            if fd == 0:
                if not os.read(0, 4096):
                    return False
                continue
            connection = self._connections.get(fd)
            if connection is None:
                continue
            try:
                if connection.request is not None and event & select.EPOLLOUT:
                    connection.socket.send(connection.request)
                    connection.request = None
                    self._epoll.modify(fd, select.EPOLLIN)
                    if self._attack.head is not None:
                        self._ready(connection)
                    continue
                data = connection.socket.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._close(fd, "cut")
            elif data.startswith(b"HTTP/1."):
                self._answers[data[9:12].decode("latin-1")] += 1
                if self._attack.stays == 0:
                    self._close(fd, "left")
                elif data.startswith(b"HTTP/1.1 101"):
                    self._ready(connection)
                    if not self._attack.reads:
                        self._epoll.modify(fd, 0)
        return True

    def _ready(self, connection: Connection) -> None:
        connection.ready = True
        if self._attack.stays:
            connection.ends = time.monotonic() + self._attack.stays
        connection.rest = memoryview(connection.first)
        if connection.rest or self._attack.more:
            self._senders.append(connection)

    def _send(self, allowed: float) -> None:
        """Send from each connection in turn; of *more*, up to *allowed* since the beginning."""
        more = self._attack.more
        for _ in range(len(self._senders)):
            connection = self._senders.popleft()
            if connection.closed:
                continue
            if not connection.rest and self._repeated > allowed:
                self._senders.append(connection)
                continue
            try:
                count = connection.socket.send(connection.rest or more)
            except BlockingIOError:
                self._senders.append(connection)
                continue
            except OSError:
                self._close(connection.socket.fileno(), "cut")
                continue
            self._sent += count
            if connection.rest:
                connection.rest = connection.rest[count:]
            else:
                self._repeated += count
                connection.rest = memoryview(more)[count:]
            if connection.rest or more:
                self._senders.append(connection)

    def _end(self, now: float) -> None:
        """Close the connections whose time is over."""
        if self._attack.stays:
            for fd, connection in list(self._connections.items()):
                if connection.ends <= now and not connection.rest:
                    self._close(fd, "left")

    def _close(self, fd: int, how: str) -> None:
        self._answers[how] += 1
        connection = self._connections.pop(fd)
        connection.closed = True
        connection.socket.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("port", type=int)
    parser.add_argument("--source", default="127.0.0.2", help="the address it comes from")
    parser.add_argument("--behind", default="", help="the address that the proxy there gives it")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hostile = Hostile(ATTACKS[options.attack], options.port, options.source, options.behind)
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(hostile.run(options.seconds)), flush=True)


if __name__ == "__main__":
    main()
