"""The loop inside the reactor does what asyncio's own does, in the same order, in any turns."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.search import search
from wsredis.web.asgi.loop import ReactorLoop

#: What a task does: it sleeps so long, sets an event, waits for one, or cancels a task.
_STEPS = st.one_of(
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["set", "wait", "cancel"]), st.integers(0, 3)),
)

_PROGRAMS = st.lists(st.lists(_STEPS, max_size=6), min_size=1, max_size=5)

#: Seconds after which everything is at its end, or waits for ever.
_LONG = 100


async def _run(
    program: list[list[tuple[str, int]]], said: list[Any], tasks: list[asyncio.Task[None]]
) -> None:
    """Run a task for each list of steps, and take note of each step, with its time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    events = [asyncio.Event() for _ in range(4)]

    async def run(number: int, steps: list[tuple[str, int]]) -> None:
        for what, value in steps:
            said.append((number, what, value, round(loop.time() - start)))
            if what == "sleep":
                await asyncio.sleep(value)
            elif what == "set":
                events[value].set()
            elif what == "wait":
                await events[value].wait()
            elif value < len(tasks):
                tasks[value].cancel()

    tasks += [loop.create_task(run(number, steps)) for number, steps in enumerate(program)]
    for task in tasks:
        task.add_done_callback(lambda task: said.append((tasks.index(task), task.cancelled())))


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: the clock jumps."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


def _by_asyncio(program: list[list[tuple[str, int]]]) -> list[Any]:
    said: list[Any] = []
    kept: list[asyncio.Task[None]] = []
    selector = _JumpingSelector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        loop.create_task(_run(program, said, kept))
        loop.call_later(_LONG, loop.stop)
        loop.run_forever()
        done = [*said]
        _clean(loop)
    finally:
        loop.close()
    return done


def _by_turns(program: list[list[tuple[str, int]]], budget: float) -> list[Any]:
    said: list[Any] = []
    kept: list[asyncio.Task[None]] = []
    reactor: Any = MemoryReactorClock()
    loop = ReactorLoop(reactor, budget, 1000.0, reactor.seconds)
    try:
        loop.attach()
        loop.create_task(_run(program, said, kept))
        # Of timers that are due at the same time, the order depends on all that there are.
        loop.call_later(_LONG, said.copy)
        reactor.pump([0.5] * 2 * _LONG)
        loop.detach()
        done = [*said]
        _clean(loop)
    finally:
        loop.detach()
        loop.close()
    return done


def _clean(loop: asyncio.AbstractEventLoop) -> None:
    """End what waits for ever, without a word."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))


class OrderTests(SynchronousTestCase):
    """Tasks that sleep, wait for each other, and cancel each other."""

    @search(150)
    @given(_PROGRAMS, st.sampled_from([-1.0, 1.0]))
    def test_order(self, program: list[list[tuple[str, int]]], budget: float) -> None:
        """Every step comes in the same order at the same time, in turns of any length."""
        self.assertEqual(_by_asyncio(program), _by_turns(program, budget))
