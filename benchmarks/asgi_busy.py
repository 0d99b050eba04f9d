"""
Measure what a busy ASGI application (``--asgi``) costs the sockets of the same process.

    PYTHONPATH=. python benchmarks/asgi_busy.py [--seconds 5] [--step 0.005] [--runs 1]

Needs the Python that has wsredis' dependencies, and a redis-server. Everything happens on loopback,
with a Redis of its own, and ends by itself. Sixteen clients always wait for an answer of the
application, each of which takes a step of 5 ms of Python. A publication goes to 300 sockets
meanwhile: the figures are milliseconds of the gateway's CPU clock until the last one has it.

The goal is that p90 is at most 1.2 times p90 without load, plus one step.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qs

import redis

from tests.support.children import Gateway, RedisServer
from tests.support.raw import RawClient, response

#: Clients of the application, each with one request after the other.
CLIENTS = 16

#: Sockets on the channel of the publications.
CROWD = 300

#: The bytes of a publication as a frame.
FRAME = 4 + 128

#: The name of a row, and the options of the gateway.
ROWS = {
    "no application": None,
    "idle": ("--asgi-loop", "reactor"),
    "in turns of 2 ms": ("--asgi-loop", "reactor"),
    "in turns without an end": ("--asgi-loop", "reactor", "--asgi-budget", "10"),
    "in a thread": ("--asgi-loop", "thread"),
    "in a thread, switch 5 ms": ("--asgi-loop", "thread"),
    "pool of threads": ("--asgi-loop", "reactor"),
    "pool of threads, switch 1 ms": ("--asgi-loop", "reactor"),
    "pool of threads, switch 5 ms": ("--asgi-loop", "reactor"),
    "sleep(0.1), in turns": ("--asgi-loop", "reactor"),
    "sleep(0.1), in a thread": ("--asgi-loop", "thread"),
}


def burn(seconds: float) -> None:
    """Compute for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def application(scope: Any, receive: Any, send: Any) -> None:
    """A page that computes, one that blocks, and one that sets Python's switch interval."""
    if scope["type"] != "http":
        raise ValueError(f"there is no {scope['type']} here")
    seconds = float(parse_qs(scope["query_string"].decode())["seconds"][0])
    if scope["path"] == "/burn":
        burn(seconds)
    elif scope["path"] == "/pool":
        await asyncio.to_thread(burn, seconds)
    elif scope["path"] == "/block":
        time.sleep(seconds)
        await asyncio.sleep(seconds)
    else:
        sys.setswitchinterval(seconds)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


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


def measure(pid: int, url: str, crowd: list[socket.socket], seconds: float) -> list[float]:
    """p50, p90 and p99 of a publication in CPU ms of the process, and p90 in ms."""
    clock = (~pid << 3) | 2
    busy, passed = [], []
    poller = select.epoll()
    by_number = {}
    for each in crowd:
        each.setblocking(False)
        by_number[each.fileno()] = each
        poller.register(each, select.EPOLLIN)
    with redis.Redis.from_url(url) as publisher:
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(busy) < 20:
            left = CROWD * FRAME
            wall, began = time.monotonic(), time.clock_gettime(clock)
            publisher.publish("broadcast:crowd", b"x" * 128)
            while left:
                for descriptor, _ in poller.poll(30, CROWD):
                    left -= len(by_number[descriptor].recv(65536))
            busy.append(time.clock_gettime(clock) - began)
            passed.append(time.monotonic() - wall)
            time.sleep(0.005)
    poller.close()
    cuts = statistics.quantiles(busy, n=100)
    return [
        *(cuts[each] * 1e3 for each in (49, 89, 98)),
        statistics.quantiles(passed, n=10)[8] * 1e3,
    ]


def run(name: str, options: tuple[str, ...] | None, given: Any) -> tuple[list[float], str]:
    """Start a gateway, load it, and measure. Returns: The figures, and the answers per second."""
    server = RedisServer()
    words = () if options is None else ("--asgi", "benchmarks.asgi_busy:application", *options)
    gateway = Gateway(
        *("--redis", server.url, "--ping-interval", "600", *words),
        environ={"PYTHONPATH": os.getcwd()},
    )
    load = None
    try:
        crowd = [
            RawClient.opened(gateway.port, "/ws/crowd?subscribe-broadcast").socket
            for _ in range(CROWD)
        ]
        if "switch" in name:
            seconds = int(name.split()[-2]) / 1000
            response(gateway.port, f"GET /switch?seconds={seconds} HTTP/1.0\r\n\r\n".encode())
        path = f"/burn?seconds={given.step}"
        if "sleep" in name:
            path = "/block?seconds=0.1"
        elif "pool" in name:
            path = f"/pool?seconds={given.step}"
        if options is not None and name != "idle":
            load = subprocess.Popen(
                [sys.executable, __file__, "--hammer", str(gateway.port), path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert load.stdout is not None
            load.stdout.readline()
            time.sleep(0.3)
        found = measure(gateway.child.pid, server.url, crowd, given.seconds)
        rate = "" if load is None else load.communicate("")[0].strip()
        return found, rate
    finally:
        if load is not None:
            load.kill()
            load.wait()
        gateway.stop()
        server.stop()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--step", type=float, default=0.005)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--hammer", nargs=2)
    given = parser.parse_args()
    if given.hammer:
        hammer(int(given.hammer[0]), given.hammer[1])
        return
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    print(f"a publication to {CROWD} sockets, {CLIENTS} requests of {given.step * 1e3:g} ms wait")
    print(f"{'':26} {'p50':>7} {'p90':>7} {'p99':>7}  CPU ms {'p90':>7} ms  answers/s   goal")
    for _ in range(given.runs):
        goal = 0.0
        for name in given.rows:
            figures, rate = run(name, ROWS[name], given)
            if not goal:
                goal = 1.2 * (figures[1] + given.step * 1e3)
            p50, p90, p99, wall = figures
            print(
                f"{name:26} {p50:7.1f} {p90:7.1f} {p99:7.1f}         {wall:7.1f}     {rate:>8}"
                f"  {p90 / goal:5.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
