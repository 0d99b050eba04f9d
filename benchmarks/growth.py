"""
Measure how the cost of a delivery, and of a subscription, grows with their number.

    PYTHONPATH=. python benchmarks/growth.py

Needs the Python that has wsredis' dependencies, a redis-server, and 20,000 open files. Everything
happens on loopback, with a Redis of its own, and ends by itself after about two minutes.
"""

from __future__ import annotations

import os
import resource
import select
import statistics
import sys
import time
import timeit
from collections.abc import Callable

from twisted.internet.task import Clock

from tests.support.children import Gateway, RedisServer
from tests.support.raw import PING, PONG, RawClient, frame
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.transports.websocket import frames
from wsredis.transports.websocket.encoding import Encodings

PAYLOAD = b"x" * 128
FRAME = len(frames.message(PAYLOAD))
ENCODING = Encodings(0)[PlainDialect(), 0]


def cpu(pid: int) -> float:
    """Return the seconds of user and system time that a process has used."""
    return time.clock_gettime(~pid << 3 | 2)


class Crowd:
    """Clients on one channel whose bytes are counted as they come."""

    def __init__(self, gateway: Gateway, count: int) -> None:
        self.clients = [
            RawClient.opened(gateway.port, "/ws/crowd?subscribe-broadcast") for _ in range(count)
        ]
        self._epoll = select.epoll()
        for client in self.clients:
            client.socket.setblocking(False)
            self._epoll.register(client.socket.fileno(), select.EPOLLIN)

    def take(self, size: int) -> None:
        """Read until *size* bytes have come, pings not counted."""
        deadline = time.monotonic() + 30
        while size > 0:
            for descriptor, _ in self._epoll.poll(1):
                data = os.read(descriptor, 65536)
                size -= len(data) - (2 if len(data) % FRAME else 0)
            if time.monotonic() > deadline:
                sys.exit("messages were lost")

    def close(self) -> None:
        """Close all connections."""
        self._epoll.close()
        for client in self.clients:
            client.socket.close()


def deliveries(count: int) -> tuple[float, float]:
    """Microseconds of CPU a delivery, and the longest ping of a bystander in milliseconds."""
    redis = RedisServer()
    options = ("--max-connections", "16000", "--max-connections-per-address", "16000")
    options += ("--handshake-rate", "1000000", "--ping-interval", "600")
    gateway = Gateway("--redis", redis.url, *options)
    try:
        crowd = Crowd(gateway, count)
        bystander = RawClient.opened(gateway.port, "/ws/bystander")
        messages = max(4, min(2000, 150_000 // count))
        before = cpu(gateway.child.pid)
        for _ in range(messages):
            # One at a time: no messages are joined, so each delivery has its full cost.
            redis.command("PUBLISH", "broadcast:crowd", PAYLOAD)
            crowd.take(count * FRAME)
        cost = (cpu(gateway.child.pid) - before) / (messages * count)
        waits = []
        for _ in range(10):
            redis.command("PUBLISH", "broadcast:crowd", PAYLOAD)
            start = time.monotonic()
            bystander.send(frame(PING, b"p"))
            answer = bystander.receive()
            waits.append(time.monotonic() - start)
            assert answer.opcode == PONG
            crowd.take(count * FRAME)
        crowd.close()
        return cost * 1e6, max(waits) * 1e3
    finally:
        gateway.stop()
        redis.stop()


class Listener:
    """A listener of the hub that takes everything and does nothing."""

    def __init__(self, *channels: bytes, direct: bool = True) -> None:
        self.channels = channels
        self.direct = self if direct else None
        self.encoding = ENCODING
        self.send = self.write = len

    def deliver(self, items: list[Publication]) -> None:
        """Read each payload, as the echo rule does."""
        b"".join([item[ENCODING] for item in items if hash(item.payload) != 1])

    def restore(self, item: Publication) -> None:
        """Nothing."""

    def forbid(self) -> None:
        """Nothing."""


def hub() -> Hub:
    """A hub on a broker in memory."""
    broker = MemoryBroker(MemoryServer(Clock()))
    made = Hub(broker, 1 << 20, Metrics())
    broker.start(made)
    return made


def best(action: Callable[[], object], number: int) -> float:
    """Microseconds of one call, the median of five rounds."""
    return statistics.median(timeit.repeat(action, number=number, repeat=5)) / number * 1e6


def subscriptions(channels: int) -> float:
    """Microseconds of one subscription and its end, beside so many channels."""
    made = hub()
    for number in range(channels):
        made.subscribe(Listener(b"channel-%d" % number))
    newcomer = Listener(b"new")

    def come_and_go() -> None:
        made.subscribe(newcomer)
        made.unsubscribe(newcomer)

    return best(come_and_go, 5000)


def fan_out(listeners: list[Listener], batch: list[Publication], per: int) -> float:
    """Microseconds of the hub's own work for one of *per* deliveries."""
    made = hub()
    for listener in listeners:
        made.subscribe(listener)
    return best(lambda: made.deliver(batch), 50) / per


def main() -> None:
    """Measure, and print tables."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("connections  CPU us a delivery  longest ping of a bystander, ms")
    for count in (10, 1000, 10_000, 15_000):
        cost, wait = deliveries(count)
        print(f"{count:11}  {cost:17.2f}  {wait:31.1f}")
    print("\nother channels  us to subscribe and unsubscribe")
    for count in (10, 50_000):
        print(f"{count:14}  {subscriptions(count):31.2f}")
    four = (b"a", b"b", b"c", b"d")
    message = [Publication(name, PAYLOAD) for name in four]
    print("\nwork of the hub without the socket, us a delivery")
    rows = {
        "1000 on one channel, a message": (
            [Listener(b"a") for _ in range(1000)],
            message[:1],
            1000,
        ),
        "1000 on four channels each, a message on one": (
            [Listener(*four) for _ in range(1000)],
            message[:1],
            1000,
        ),
        "1000 on four channels each, a message on each in one read": (
            [Listener(*four) for _ in range(1000)],
            message,
            4000,
        ),
        "1000 on one channel, one in ten under the echo rule": (
            [Listener(b"a", direct=bool(n % 10)) for n in range(1000)],
            message[:1],
            1000,
        ),
    }
    for name, (listeners, batch, per) in rows.items():
        print(f"{fan_out(listeners, batch, per):6.3f}  {name}")


if __name__ == "__main__":
    main()
