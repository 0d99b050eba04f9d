"""
Measure what TLS in the process costs: scenarios A and C, plain and under TLS, side by side.

    PYTHONPATH=. python benchmarks/tls.py

1000 clients on one channel, payloads of 128 bytes: A publishes 32 in one write to Redis and waits
for all of them, C publishes one every 50 ms. The client is Python's ssl module and is slow; only
the CPU time of the gateway is counted.
"""

from __future__ import annotations

import resource
import select
import shutil
import ssl
import sys
import tempfile
import time
from pathlib import Path

from growth import FRAME, PAYLOAD, cpu

from tests.support.certificates import Authority
from tests.support.children import Gateway, RedisServer, free_port
from tests.support.raw import RawClient, handshake

CLIENTS = 1000


class Crowd:
    """Clients on one channel, plain or under TLS, whose bytes are counted as they come."""

    def __init__(self, port: int, context: ssl.SSLContext | None) -> None:
        self._epoll = select.epoll()
        self._clients = {}
        for _ in range(CLIENTS):
            client = RawClient(port)
            if context is not None:
                client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
            client.send(handshake("/ws/crowd?subscribe-broadcast"))
            assert client.head().startswith("HTTP/1.1 101 ")
            client.socket.setblocking(False)
            self._clients[client.socket.fileno()] = client
            self._epoll.register(client.socket.fileno(), select.EPOLLIN)

    def take(self, messages: int) -> None:
        """Read until all clients have got *count* messages."""
        left = messages * FRAME * CLIENTS
        deadline = time.monotonic() + 30
        while left > 0:
            for descriptor, _ in self._epoll.poll(1):
                try:
                    while data := self._clients[descriptor].socket.recv(65536):
                        left -= len(data)
                except (ssl.SSLWantReadError, BlockingIOError):
                    pass
            if time.monotonic() > deadline:
                sys.exit("messages were lost")

    def close(self) -> None:
        """Close all connections."""
        self._epoll.close()
        for client in self._clients.values():
            client.socket.close()


def measure(redis: RedisServer, gateway: Gateway, crowd: Crowd) -> tuple[float, float]:
    """Deliveries per CPU second in A and in C."""
    pid = gateway.child.pid
    publish = ("PUBLISH", "broadcast:crowd", PAYLOAD)
    results = []
    for burst, rounds, pause in ((32, 30, 0.0), (1, 60, 0.05)):
        before = cpu(pid)
        for _ in range(rounds):
            redis.pipeline(*[publish] * burst)
            crowd.take(burst)
            time.sleep(pause)
        results.append(burst * rounds * CLIENTS / (cpu(pid) - before))
    return results[0], results[1]


def main() -> None:
    """Measure three times, and print a table."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp())
    authority = Authority(folder)
    certificate = authority.bundle(folder / "both.pem", "localhost")
    redis = RedisServer()
    ports = free_port(), free_port()
    gateway = Gateway(
        *("--redis", redis.url, "--ping-interval", "600", "--tls-cert", str(certificate)),
        *("--port", f"tcp:{ports[0]}:interface=127.0.0.1:backlog=1024"),
        *("--tls-port", f"tcp:{ports[1]}:interface=127.0.0.1:backlog=1024"),
    )
    try:
        context = ssl.create_default_context(cafile=str(authority.path))
        print("deliveries per CPU second of the gateway")
        print("                A             C")
        for _ in range(3):
            for name, port, how in (("plain", ports[0], None), ("TLS", ports[1], context)):
                crowd = Crowd(port, how)
                a, c = measure(redis, gateway, crowd)
                crowd.close()
                print(f"{name:>5}  {a:12,.0f}  {c:12,.0f}")
    finally:
        gateway.stop()
        redis.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
