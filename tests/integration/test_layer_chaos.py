"""The channel layer while Redis, and processes, are killed: nothing twice, every gap told."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import Child, RedisServer, clean_environment
from tests.support.require import missing
from wsredis.layer import ChannelLayer

#: Seconds that it lasts. A longer run is for the time before a release.
_SECONDS = float(os.environ.get("WSREDIS_CHAOS", "3"))

#: Consumers that hear the group.
_CONSUMERS = 5

#: A process with consumers of the same group, and a worker, until it is killed.
_VICTIM = """
import asyncio, os
from wsredis.layer import ChannelLayer
async def main():
    layer = ChannelLayer(hosts=[os.environ["LAYER_URL"]])
    async def consume():
        channel = await layer.new_channel()
        await layer.group_add("g", channel)
        print("in", flush=True)
        while True:
            await layer.receive(channel)
    async def work():
        while True:
            job = await layer.receive("jobs")
            print("job", job["number"], flush=True)
    await asyncio.gather(consume(), consume(), work())
asyncio.run(main())
"""


class ChaosTests(SynchronousTestCase):
    """Messages flow while everything dies and comes back."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start a Redis."""
        log, quiet = logging.getLogger("wsredis.layer"), logging.NullHandler()
        log.addHandler(quiet)
        self.addCleanup(log.removeHandler, quiet)
        self.server = RedisServer()
        self.addCleanup(self.server.stop)
        self.victims: list[Child] = []

    def victim(self) -> Child:
        """Start a process that will be killed."""
        words = [sys.executable, "-c", _VICTIM]
        child = Child(words, env=clean_environment({"LAYER_URL": self.server.url}))
        self.addCleanup(child.stop)
        self.victims.append(child)
        return child

    def test_killed(self) -> None:
        """
        Redis and a process are killed again and again while one sends.

        No consumer gets a message twice or in another order. Where one misses a message that was
        sent, it is told of a gap. No job is done twice.
        """
        limit = _SECONDS * 2 + 30
        acknowledged, heard, done = asyncio.run(asyncio.wait_for(self.flow(), limit))
        self.assertGreater(len(acknowledged), 50)
        for found in heard:
            numbers = [each for each in found if each != "gap"]
            self.assertEqual(sorted(set(numbers)), numbers)
            self.assertGreater(len(numbers), 10)
            self.assertEqual([], holes(acknowledged, found))
        for victim in self.victims:
            done += [int(line[4:]) for line in victim.output.split("\n") if line[:4] == "job "]
        self.assertEqual(len(set(done)), len(done))
        self.assertGreater(len(done), 10)

    async def flow(self) -> tuple[list[int], list[list[Any]], list[int]]:
        """Let messages flow. Returns: What was sent, what each consumer got, the jobs done."""
        here = ChannelLayer(hosts=[self.server.url], capacity=100000)
        there = ChannelLayer(hosts=[self.server.url])
        heard: list[list[Any]] = [[] for _ in range(_CONSUMERS)]
        done: list[int] = []
        tasks = []
        for found in heard:
            channel = await here.new_channel()
            here.tell_gaps(channel)
            await here.group_add("g", channel)
            tasks.append(asyncio.ensure_future(self.consume(here, channel, found)))
        tasks.append(asyncio.ensure_future(self.work(here, done)))
        acknowledged: list[int] = []
        sender = asyncio.ensure_future(self.send(there, acknowledged))
        await asyncio.to_thread(self.kill)
        sender.cancel()
        last = acknowledged[-1] + 10
        await there.group_send("g", {"type": "x", "number": last})
        for found in heard:
            while last not in found:
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return acknowledged, heard, done

    def kill(self) -> None:
        """Kill Redis and processes, and start them again."""
        chance = random.Random(5)
        victim = self.victim()
        rest = _SECONDS
        while rest > 0:
            victim.wait_for("in\n")
            rest -= self.sleep(0.5 + chance.random() / 2)
            if chance.random() < 0.5:
                victim.stop(9)
                victim = self.victim()
            self.server.kill()
            rest -= self.sleep(chance.random() / 2)
            self.server.start()
        self.sleep(1.0)

    @staticmethod
    def sleep(seconds: float) -> float:
        """Let the messages flow. Returns: The seconds."""
        import time

        time.sleep(seconds)
        return seconds

    @staticmethod
    async def consume(layer: ChannelLayer, channel: str, found: list[Any]) -> None:
        """Take what comes for a consumer."""
        while True:
            message = await layer.receive(channel)
            found.append(message.get("number", "gap"))

    @staticmethod
    async def work(layer: ChannelLayer, done: list[int]) -> None:
        """Do jobs."""
        while True:
            done.append((await layer.receive("jobs"))["number"])

    @staticmethod
    async def send(layer: ChannelLayer, acknowledged: list[int]) -> None:
        """Send to the group and to the workers."""
        number = 0
        while True:
            number += 1
            try:
                await layer.group_send("g", {"type": "x", "number": number})
                acknowledged.append(number)
                await layer.send("jobs", {"type": "x", "number": number})
            except OSError:
                pass
            await asyncio.sleep(0.003)


def holes(acknowledged: list[int], found: list[Any]) -> list[int]:
    """Return the messages that were sent and missed without a gap that tells."""
    got = set(found)
    untold: list[int] = []
    missed: list[int] = []
    is_told = False
    before = 0
    for each in found:
        if each == "gap":
            is_told = True
            missed.clear()
            continue
        new = [number for number in acknowledged if before < number < each and number not in got]
        before = each
        if new and not is_told:
            # A gap may still come, but not after the next hole.
            untold += missed
            missed = new
        is_told = False
    return untold + missed
