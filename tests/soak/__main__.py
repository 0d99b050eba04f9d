"""Clients come and go, Redis restarts: in the end all is given back."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.soak.clients import Steady, Visitors
from tests.support.children import Child, RedisServer, clean_environment

#: Clients that stay, on so many channels.
_STEADY, _CHANNELS = 60, 10

#: Clients that come a second.
_RATE = 20

#: Messages a second on each of these channels.
_MESSAGES = 5

#: Bytes of memory that may be more in the end than after the warm-up.
_MEMORY = 24 << 20

#: Seconds that Redis is away.
_AWAY = 2.0

#: Seconds after which everything that is over must have been given back.
_SETTLED = 20.0


class Soaked:
    """
    A gateway, its Redis, and a look at both from outside.

    Args:
        workers: The number of worker processes. If 0, it is one process with a look inside.
        is_compressing: Whether it is started with ``--compress``.
    """

    def __init__(self, workers: int, is_compressing: bool) -> None:
        self.workers = workers
        self.redis = RedisServer()
        environ = {
            "WSREDIS_REDIS": self.redis.url,
            "WSREDIS_PORT": "tcp:0:interface=127.0.0.1",
            "WSREDIS_COMPRESS": str(int(is_compressing)),
            "WSREDIS_HANDSHAKE_RATE": "100000",
        }
        if workers:
            words = ["wsredis", "--workers", str(workers)]
        else:
            words = ["-y", str(Path(__file__).with_name("inside.py"))]
        run = "from twisted.scripts.twistd import run; run()"
        self.child = Child(
            [sys.executable, "-c", run, "-n", "--pidfile=", *words],
            env=clean_environment(environ),
            cwd=self.redis.directory,
        )
        self.port = int(self.child.wait_for(r"listening on \S*:(\d+)\b")[1])
        self._look = 0 if workers else int(self.child.wait_for(r"look at (\d+)")[1])

    def stop(self) -> int:
        """End both. Returns: The status of the gateway."""
        status = self.child.stop()
        self.redis.stop()
        return status

    def is_ready(self) -> bool:
        """Tell whether the gateway takes clients."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def processes(self) -> list[int]:
        """Return the ids of the gateway and of its workers."""
        found = [self.child.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def figures(self) -> dict[str, int]:
        """Count from outside, and inside if there is one process."""
        memory = descriptors = threads = 0
        for pid in self.processes():
            pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
            memory += int(pages) * os.sysconf("SC_PAGE_SIZE")
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
            threads += len(os.listdir(f"/proc/{pid}/task"))
        channels: Any = self.redis.command("PUBSUB", "CHANNELS")
        clients: Any = self.redis.command("CLIENT LIST")
        found = {
            "memory": memory,
            "descriptors": descriptors,
            "threads": threads,
            "channels": len(channels),
            # One of them asks.
            "links": len(clients) - 1,
        }
        return {**found, **self.inside()}

    def inside(self) -> dict[str, int]:
        """Count inside. Empty with workers."""
        if not self._look:
            return {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self._look}/", timeout=20) as answer:
            self.seen: dict[str, Any] = json.load(answer)
        return {name: self.seen[name] for name in ("connections", "timers", "objects")}


class Soak:
    """One run."""

    def __init__(self, soaked: Soaked, seconds: float, seed: str) -> None:
        self.soaked = soaked
        self.seconds = seconds
        start = f"ws://127.0.0.1:{soaked.port}"
        self.visitors = Visitors(start, random.Random(seed))
        self.steady = [
            Steady(f"{start}/ws/steady{number % _CHANNELS}?subscribe-broadcast", number % 2 == 0)
            for number in range(_STEADY)
        ]
        self.problems: list[str] = []
        #: The number of the last message, and the first and the last number of each outage.
        self.number = 0
        self.outages: list[tuple[int, int]] = []
        self._is_over = False

    def check(self, promise: str, is_kept: bool, detail: object) -> None:
        """Print whether something holds."""
        print(f"{'ok  ' if is_kept else 'FAIL'} {promise}: {detail}", flush=True)
        if not is_kept:
            self.problems.append(promise)

    async def run(self) -> None:
        """Let it rain."""
        await self._until(self.soaked.is_ready)
        empty = await self._figures()
        await asyncio.gather(*(each.open() for each in self.steady))
        publishing = asyncio.create_task(self._publish())
        await asyncio.sleep(2)
        before = await self._figures()
        print("before", before, flush=True)
        warm = await self._churn(before)
        self._is_over = True
        await publishing
        await self.visitors.leave()
        print("visitors", dict(self.visitors.outcomes))
        self._check_messages()
        alive = sum(not each.lost for each in self.steady)
        # Those of the worker that was ended.
        gone = _STEADY - alive
        after = await self._settled(before, gone)
        self._compare(before, after, gone)
        growth = after["memory"] - warm
        detail = f"{growth / 1e6:.1f} MB since the warm-up at {warm / 1e6:.1f} MB"
        self.check("memory is given back", growth <= _MEMORY, detail)
        await asyncio.gather(*(each.close() for each in self.steady), return_exceptions=True)
        last = await self._settled(empty, 0)
        self._compare(empty, last, 0)

    async def _churn(self, before: dict[str, int]) -> int:
        """Let visitors come, Redis restart and a worker end. Returns: The memory when warm."""
        begin = time.monotonic()
        restarts = [self.seconds / 3, self.seconds * 2 / 3]
        is_killed = not self.soaked.workers
        warm = row = 0.0
        while (now := time.monotonic() - begin) < self.seconds:
            self.visitors.invite(_RATE // 10)
            if restarts and now > restarts[0]:
                restarts.pop(0)
                await self._restart_redis()
            if not is_killed and now > self.seconds / 2:
                is_killed = True
                os.kill(self.soaked.processes()[-1], signal.SIGKILL)
                print(f"{now:5.0f} s a worker is ended", flush=True)
            if now >= row:
                row += 10
                figures = await self._figures()
                print(f"{now:5.0f} s", figures, flush=True)
                # With several processes a new one has to become warm, too.
                if now < max(20.0, self.seconds / 4) or self.soaked.workers:
                    warm = max(warm, figures["memory"])
            await asyncio.sleep(0.1)
        return int(warm) or before["memory"]

    async def _restart_redis(self) -> None:
        first = self.number
        self.soaked.redis.kill()
        await asyncio.sleep(_AWAY)
        await asyncio.to_thread(self.soaked.redis.start)
        await self._until(self.soaked.is_ready)
        self.outages.append((first, self.number + 1))
        print(f"Redis was away; messages {first} to {self.number} may be lost", flush=True)

    async def _publish(self) -> None:
        import redis

        text = "x" * 300
        while not self._is_over:
            self.number += 1
            commands = [
                ("PUBLISH", f"broadcast:steady{channel}", f"{self.number} {text}")
                for channel in range(_CHANNELS)
            ]
            try:
                await asyncio.to_thread(self.soaked.redis.pipeline, *commands)
            except (redis.RedisError, OSError):
                pass
            await asyncio.sleep(1 / _MESSAGES)

    def _check_messages(self) -> None:
        """Each message outside of the outages came once and in order."""
        due = {
            number
            # The first and the last ones may have been published while a client came or went.
            for number in range(5, self.number - 5)
            if not any(first <= number <= last for first, last in self.outages)
        }
        wrong = []
        for number, each in enumerate(self.steady):
            missing = len(due.difference(each.numbers))
            if not each.lost and (missing or each.numbers != sorted({*each.numbers})):
                wrong.append((number, missing, len(each.numbers)))
        lost = sum(each.lost for each in self.steady)
        self.check(
            "each message came once and in order", not wrong, f"{len(due)} each; {wrong[:3]}"
        )
        is_kept = lost < _STEADY if self.soaked.workers else not lost
        self.check("no steady client was lost but by its worker", is_kept, f"{lost} lost")

    def _compare(self, before: dict[str, int], after: dict[str, int], gone: int) -> None:
        for name, allowed in _allowed(before, gone).items():
            found = after[name]
            self.check(f"{name} are given back", found <= allowed, f"{before[name]} -> {found}")
        if any(after[name] > allowed for name, allowed in _allowed(before, gone).items()):
            print(getattr(self.soaked, "seen", ""))

    async def _settled(self, before: dict[str, int], gone: int) -> dict[str, int]:
        """Wait until all is given back. Returns: The last figures, also if it is not."""
        end = time.monotonic() + _SETTLED
        while True:
            figures = await self._figures()
            wanted = _allowed(before, gone)
            if time.monotonic() > end or all(figures[name] <= wanted[name] for name in wanted):
                return figures
            await asyncio.sleep(0.5)

    async def _figures(self) -> dict[str, int]:
        return await asyncio.to_thread(self.soaked.figures)

    async def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not await asyncio.to_thread(condition):
            if time.monotonic() > end:
                raise AssertionError("it did not become ready in time")
            await asyncio.sleep(0.1)


def _allowed(before: dict[str, int], gone: int) -> dict[str, int]:
    """Return the largest figures that may be in the end, after *gone* clients less than before."""
    found = {
        "descriptors": before["descriptors"] - gone + 2,
        "threads": before["threads"],
        "channels": before["channels"],
        "links": before["links"],
    }
    if "timers" in before:
        found["connections"] = before["connections"]
        found["timers"] = before["timers"] + 2
        found["objects"] = int(before["objects"] * 1.1) + 2000
    return found


def main() -> int:
    """Run it. Returns: The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of churn (600)")
    parser.add_argument("--workers", type=int, default=0, help="processes; one of them is ended")
    parser.add_argument("--compress", action="store_true", help="the gateway compresses")
    parser.add_argument("--seed", default="1", help="another one makes other clients")
    options = parser.parse_args()
    soaked = Soaked(options.workers, options.compress)
    status = None
    try:
        soak = Soak(soaked, options.seconds, options.seed)
        asyncio.run(soak.run())
    finally:
        status = soaked.stop()
    # twistd ends by the signal that it has got.
    soak.check("the gateway ends by itself", status in (0, -signal.SIGTERM), status)
    soak.check("there is no traceback", "Traceback" not in soaked.child.output, "log")
    if soak.problems:
        print(soaked.child.output[-4000:])
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
