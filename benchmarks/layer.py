"""
The channel layer beside those of channels_redis: operations per CPU second, in one run.

    python benchmarks/layer.py [--seconds 1] [--rounds 3] [scenario ...]

It starts a private redis-server. Each measurement is a process of its own, and the layers
alternate, so that a busy machine hits all alike. CPU time is that of the process with the layer;
that of Redis stands beside it. Scenarios:

* ``group-100``: ``group_send`` to a group of 100 consumers in the same process, until all have it.
* ``group-1``: the same with one consumer.
* ``worker``: ``send`` to a worker channel with one worker.
* ``sync``: ``async_to_sync(group_send)`` from a program without an event loop, and the number of
  TCP connections that 100 of them make.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

LAYERS = ("wsredis", "core", "pubsub")

SCENARIOS = ("group-100", "group-1", "worker", "sync")

#: Messages that are on their way at once, where a scenario does not wait for each.
_MESSAGE = {"type": "chat.message", "text": "x" * 64, "number": 1}


def make(layer: str, url: str) -> Any:
    """Make a layer."""
    if layer == "wsredis":
        from wsredis.layer import ChannelLayer

        return ChannelLayer(hosts=[url])
    # redis-py 8 ends a blocking command after 5 seconds; see channels_redis#422.
    hosts = [{"address": url, "socket_timeout": None}]
    if layer == "core":
        from channels_redis.core import RedisChannelLayer

        return RedisChannelLayer(hosts=hosts)
    from channels_redis.pubsub import RedisPubSubChannelLayer

    return RedisPubSubChannelLayer(hosts=hosts)


def cpu() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Clock:
    """Counts operations until the time is over, and the CPU seconds for them."""

    def __init__(self, url: str, seconds: float) -> None:
        self._client = redis.Redis.from_url(url)
        self._seconds = seconds
        self.count = 0

    def _server(self) -> float:
        info: Any = self._client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def start(self) -> None:
        """Begin: what was before does not count."""
        self._redis = self._server()
        self._cpu = cpu()
        self.end = time.monotonic() + self._seconds

    def stop(self, **more: object) -> None:
        """Write the result."""
        used, server = cpu() - self._cpu, self._server() - self._redis
        count = self.count
        result = {"rate": count / used, "redis": 1e6 * server / count, "count": count, **more}
        print(json.dumps(result), flush=True)


async def group(layer: Any, members: int, clock: Clock) -> None:
    """Send to a group, and wait until all members have the message."""
    left = 0
    everyone = asyncio.Event()

    async def consume(channel: str) -> None:
        nonlocal left
        while True:
            await layer.receive(channel)
            left -= 1
            if not left:
                everyone.set()

    channels = [await layer.new_channel() for _ in range(members)]
    for channel in channels:
        await layer.group_add("group", channel)
    tasks = [asyncio.create_task(consume(channel)) for channel in channels]
    for warm in (True, False):
        if not warm:
            clock.start()
        else:
            clock.end = time.monotonic() + 0.2
        clock.count = 0
        while time.monotonic() < clock.end:
            left = members
            everyone.clear()
            await layer.group_send("group", _MESSAGE)
            await everyone.wait()
            clock.count += 1
    clock.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def worker(layer: Any, clock: Clock) -> None:
    """Send to a worker channel and receive from it."""
    done = asyncio.Event()

    async def work() -> None:
        while True:
            await layer.receive("jobs")
            done.set()

    task = asyncio.create_task(work())
    # The layer on pub/sub loses what is sent before its worker listens.
    await asyncio.sleep(0.2)
    for warm in (True, False):
        if not warm:
            clock.start()
        else:
            clock.end = time.monotonic() + 0.2
        clock.count = 0
        while time.monotonic() < clock.end:
            done.clear()
            await layer.send("jobs", _MESSAGE)
            await done.wait()
            clock.count += 1
    clock.stop()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def sync(layer: Any, url: str, clock: Clock) -> None:
    """Send from a program without an event loop."""
    from asgiref.sync import async_to_sync

    client = redis.Redis.from_url(url)

    def connections() -> int:
        info: Any = client.info("stats")
        return int(info["total_connections_received"])

    send = async_to_sync(layer.group_send)
    send("group", _MESSAGE)
    before = connections()
    for _ in range(100):
        send("group", _MESSAGE)
    made = connections() - before
    clock.start()
    while time.monotonic() < clock.end:
        send("group", _MESSAGE)
        clock.count += 1
    clock.stop(connections=made)


def measure(layer: str, scenario: str, url: str, seconds: float) -> None:
    """Run one measurement in this process."""
    made, clock = make(layer, url), Clock(url, seconds)
    if scenario == "sync":
        sync(made, url, clock)
    elif scenario == "worker":
        asyncio.run(worker(made, clock))
    else:
        asyncio.run(group(made, int(scenario.partition("-")[2]), clock))


def compare(scenarios: list[str], url: str, seconds: float, rounds: int) -> None:
    """Measure all layers, alternating, and print a table."""
    heads = ("scenario", "layer", "per CPU second", "ratio", "Redis us", "connections")
    print("{:10} {:8} {:>15} {:>8} {:>9} {:>12}".format(*heads))
    for scenario in scenarios:
        results: dict[str, list[dict[str, float]]] = {layer: [] for layer in LAYERS}
        for _ in range(rounds):
            for layer in LAYERS:
                command = [sys.executable, __file__, "--child", layer, scenario, url, str(seconds)]
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, timeout=60
                )
                results[layer].append(json.loads(done.stdout))
        rates = {
            layer: statistics.median(each["rate"] for each in found)
            for layer, found in results.items()
        }
        for layer, found in results.items():
            server = statistics.median(each["redis"] for each in found)
            ratio = rates["wsredis"] / rates[layer]
            made = found[0].get("connections", "")
            line = "{:10} {:8} {:15.0f} {:7.2f}x {:9.1f} {:>12}"
            print(line.format(scenario, layer, rates[layer], ratio, server, made))


def main() -> None:
    """Read the command line."""
    if sys.argv[1:2] == ["--child"]:
        layer, scenario, url, seconds = sys.argv[2:]
        measure(layer, scenario, url, float(seconds))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("scenarios", nargs="*", default=SCENARIOS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "redis.sock"
        args = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
        server = subprocess.Popen([*args, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            while not path.exists():
                time.sleep(0.05)
            compare(list(options.scenarios), f"unix://{path}", options.seconds, options.rounds)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
