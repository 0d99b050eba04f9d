"""
Measure what pages under load (``--wsgi``) cost the sockets of the same process.

    PYTHONPATH=. python benchmarks/pages.py [--seconds 5] [--switch 0.005 0.0001] [--threads 4]

Needs the Python that has wsredis' dependencies, and a redis-server. Everything happens on loopback,
with a Redis of its own, and ends by itself. Only the ratio to the row without load is meaningful.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from tests.support.children import Gateway, RedisServer
from tests.support.raw import PING, PONG, RawClient, frame, response

#: Clients that ask for pages, one request after the other.
CLIENTS = 20

#: Sockets on the channel of the publications.
CROWD = 100


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """A page that sleeps, one that computes, and one that sets Python's switch interval."""
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(0.05)
    elif path == "/burn":
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
    else:
        sys.setswitchinterval(float(parse_qs(environ["QUERY_STRING"])["seconds"][0]))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def hammer(port: int, path: str) -> None:
    """Ask for a page on all connections until standard input ends, and print the rate."""
    stop = threading.Event()
    counts = [0] * CLIENTS

    def ask(number: int) -> None:
        with RawClient(port) as client:
            while not stop.is_set():
                client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert " 200 " in client.head()
                client.take(2)
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=[number]) for number in range(CLIENTS)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    print("started", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(round(sum(counts) / (time.monotonic() - start)), flush=True)


def measure(
    gateway: Gateway, redis: RedisServer, crowd: list[RawClient], seconds: float
) -> list[float]:
    """p50 and p99 of a ping, and of a publication until the last of the crowd has it, in ms."""
    pings, publications = [], []
    with RawClient.opened(gateway.port, "/ws/ping") as bystander:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            bystander.send(frame(PING, b"p"))
            while bystander.receive().opcode != PONG:
                pass
            pings.append(time.monotonic() - start)
            start = time.monotonic()
            redis.command("PUBLISH", "broadcast:crowd", b"x" * 128)
            for client in crowd:
                client.message()
            publications.append(time.monotonic() - start)
            time.sleep(0.005)
    found = []
    for times in (pings, publications):
        cuts = statistics.quantiles(times, n=100)
        found += [cuts[49] * 1e3, cuts[98] * 1e3]
    return found


def row(name: str, values: list[float], rate: str, base: list[float]) -> None:
    """Print figures, and their ratios to those without load."""
    cells = [
        f"{value:7.2f} ({value / first:4.1f})" for value, first in zip(values, base, strict=True)
    ]
    print(f"{name:24} {'  '.join(cells)}  {rate:>7}", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--switch", nargs="*", default=["0.005", "0.001", "0.0005", "0.0001"])
    parser.add_argument("--pages", nargs="*", default=["/sleep", "/burn"])
    parser.add_argument("--threads", default="4")
    parser.add_argument("--hammer", nargs=2)
    given = parser.parse_args()
    if given.hammer:
        hammer(int(given.hammer[0]), given.hammer[1])
        return
    redis = RedisServer()
    gateway = Gateway(
        *("--redis", redis.url, "--wsgi", "benchmarks.pages:application", "--ping-interval", "600"),
        *("--wsgi-threads", given.threads),
        environ={"PYTHONPATH": os.getcwd()},
    )
    try:
        crowd = [
            RawClient.opened(gateway.port, "/ws/crowd?subscribe-broadcast") for _ in range(CROWD)
        ]
        print(f"load average at the start: {os.getloadavg()[0]:.1f}")
        print(f"ms, and the ratio to no load; a publication goes to {CROWD} sockets")
        print(
            f"{'':24} {'ping p50':14}  {'ping p99':14}  {'publ. p50':14}  {'publ. p99':14}  pages/s"
        )
        base = measure(gateway, redis, crowd, given.seconds)
        row("no load", base, "", base)
        for path in given.pages:
            for switch in given.switch:
                request = f"GET /switch?seconds={switch} HTTP/1.0\r\n\r\n".encode()
                response(gateway.port, request)
                load = subprocess.Popen(
                    [sys.executable, __file__, "--hammer", str(gateway.port), path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                assert load.stdout is not None
                load.stdout.readline()
                values = measure(gateway, redis, crowd, given.seconds)
                rate, _ = load.communicate("")
                row(f"{path}, switch {float(switch) * 1e3:g} ms", values, rate.strip(), base)
    finally:
        gateway.stop()
        redis.stop()


if __name__ == "__main__":
    main()
