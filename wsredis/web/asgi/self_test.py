"""The test of what `wsredis.web.asgi.loop` relies on without a promise of asyncio."""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import Callable
from typing import Any

from wsredis.errors import incompatible
from wsredis.web.asgi.loop import ROOT, ReactorLoop

__all__ = ["self_test"]


class _Probe:
    """A reactor for `self_test`: remembers what it is told, and calls when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.reader: Any = None

    def addReader(self, reader: Any) -> None:
        self.reader = reader

    def removeReader(self, reader: Any) -> None:
        self.reader = None

    def callLater(self, delay: float, function: Callable[[], None]) -> Any:
        self.calls.append(function)
        return self

    def cancel(self) -> None:
        pass

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for each in calls:
            each()


def self_test() -> None:
    """
    Try out what `ReactorLoop` relies on without a promise.

    Raises:
        ConfigError: The Python that runs has an asyncio with which wsredis cannot work.
    """
    try:
        _test_loop()
    except Exception as error:
        raise incompatible("Python", platform.python_version(), error) from error


def _test_loop() -> None:
    """Run a task, a timer, a descriptor and a call from another thread."""
    probe, done = _Probe(), []

    async def task() -> None:
        await asyncio.sleep(0)
        done.append("task")

    loop = ReactorLoop(probe, 60.0, 60.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            loop.attach()
            kept = loop.create_task(task())
            loop.call_at(loop.time(), done.append, "timer")
            loop.call_later(3600, done.append, "never").cancel()
            probe.run()
            _require(kept.done() and sorted(done) == ["task", "timer"], "callbacks do not run")
            loop.add_reader(ours.fileno(), done.append, "descriptor")
            loop.call_soon_threadsafe(done.append, "thread")
            theirs.sendall(b"x")
            probe.reader.doRead()
            probe.run()
            _require(sorted(done[2:]) == ["descriptor", "thread"], "descriptors are not served")
            loop.remove_reader(ours.fileno())
            loop.detach()
            loop.run_until_complete(task())
            _require(done[4:] == ["task"], "run_until_complete has changed")
            root = loop.create_task(task())
            root.add_done_callback(ROOT)
            # It stops the loop when the task has ended.
            loop.run_forever()
            _require(root.done(), "the callback of run_until_complete has changed")
        finally:
            loop.detach()
            loop.close()


def _require(is_so: bool, problem: str) -> None:
    if not is_so:
        raise RuntimeError(problem)
