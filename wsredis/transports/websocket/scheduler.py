"""
The turns of clients that send more than others: who is read next, and who has to wait.

Work is counted in deliveries: what one message to one client costs, about 2 microseconds. A client
whose read takes longer than one turn waits for its next one, behind the others. A client that works
faster than the limits allow is not read for as long as it owes.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from wsredis.config import Limits
from wsredis.gateway.client import PauseReason
from wsredis.gateway.shares import RateLimit

__all__ = ["Scheduled", "Scheduler"]

#: The work of one turn of a client.
_TURN = 256

#: Turns before the reactor looks after everything else.
_TURNS = 8

#: Seconds that a connection may use its rate in advance, and an address.
_BURST = 1.0
_ADDRESS_BURST = 2.0

#: Seconds between two looks at the clients that owe. A client that is faster than its own rate
#: waits as long again after it has paid, so that it has more than one turn then.
_TICK = 0.05

#: Seconds of a pause after which being overdrawn begins anew.
_FORGIVEN = 1.0

#: Seconds that a client may be faster than its own rate without such a pause.
_PATIENCE = 60.0


class Scheduled(Protocol):
    """
    The part of a client that the scheduler needs.

    Attributes:
        address: The key by which clients are counted together. If empty, it is counted alone.
    """

    @property
    def address(self) -> str: ...

    def pause(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.pause`."""

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""

    def take_turn(self) -> None:
        """Work off input for one turn. Raises nothing."""

    def overdrawn(self) -> None:
        """Close the connection: it was too fast for too long."""


class _Debt:
    """
    Attributes:
        address: The address under which the client is counted while it is paused.
        since: When the client passed its own rate first, without a long pause since then.
        own: Until when it had to wait for that. What its address owes does not count.
        until: When it is read again. If it is being read, when that began.
        is_paused: Whether it is not read.
    """

    __slots__ = ("address", "is_paused", "own", "since", "until")

    def __init__(self, address: str, now: float) -> None:
        self.address = address
        self.since = self.until = now
        self.own = -_PATIENCE
        self.is_paused = False


class Scheduler:
    """
    Divides the time of the gateway between its clients.

    Args:
        later: Calls a function after the reactor has looked after everything else. If None, a turn
            has no end.

    Attributes:
        turn: The work of one turn.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._clock = clock
        self._later = later
        self.turn = sys.maxsize if later is None else _TURN
        self._waiting: deque[Scheduled] = deque()
        #: Whether the next of them has its turn soon.
        self._is_due = False
        self._connections = RateLimit(clock, limits.max_rate, limits.max_rate * _BURST)
        self._addresses = RateLimit(
            clock, limits.max_rate_per_address, limits.max_rate_per_address * _ADDRESS_BURST
        )
        self._address_rate = limits.max_rate_per_address
        self._debts: dict[Scheduled, _Debt] = {}
        #: The number of paused clients of each address.
        self._paused: dict[str, int] = {}
        self._timer: IDelayedCall | None = None

    def add(self, client: Scheduled) -> None:
        """Give *client*, which is paused, a turn when the others that wait had theirs."""
        if self._later is None:
            client.take_turn()
            return
        self._waiting.append(client)
        if not self._is_due:
            self._is_due = True
            self._later(self._run)

    def charge(self, client: Scheduled, work: float) -> None:
        """
        Charge *client* and its address. If one of them owes then, the client is paused.

        What an address owes is paid by its clients in proportion to their work, so that one of
        them that works little waits for a moment only. Nobody is closed for it: the one that owes
        may be a neighbour.
        """
        own = wait = self._connections.spend(id(client), work)
        if wait:
            wait += _TICK
        address = client.address
        if address:
            owed = self._addresses.spend(address, work)
            if owed:
                share = work * (1 + self._paused.get(address, 0)) / self._address_rate
                wait = max(wait, min(owed, share))
        if wait:
            self._delay(client, wait, own)

    def forget(self, client: Scheduled) -> None:
        """Forget a client that is gone. It may still have a turn. Repeating it is harmless."""
        self._connections.forget(id(client))
        debt = self._debts.pop(client, None)
        if debt is not None and debt.is_paused:
            self._count(debt, -1)

    def stop(self) -> None:
        """Pause nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        assert self._later is not None
        waiting = self._waiting
        try:
            for _ in range(_TURNS):
                waiting.popleft().take_turn()
                if not waiting:
                    break
        finally:
            # Whatever happens to one, the others have their turns.
            self._is_due = bool(waiting)
            if waiting:
                self._later(self._run)

    def _delay(self, client: Scheduled, wait: float, own: float) -> None:
        now = self._clock.seconds()
        debt = self._debts.get(client)
        if debt is None or (not debt.is_paused and now - debt.until > _FORGIVEN):
            debt = self._debts[client] = _Debt(client.address, now)
        if own:
            if now - debt.own > _FORGIVEN:
                debt.since = now
            # It may be read a bit later.
            debt.own = now + own + 2 * _TICK
        debt.until = max(debt.until, now + wait)
        if not debt.is_paused:
            debt.is_paused = True
            self._count(debt, 1)
            client.pause(PauseReason.RATE)
        if self._timer is None:
            self._timer = self._clock.callLater(_TICK, self._look)

    def _look(self) -> None:
        """Resume the clients that have paid, and close those that cannot stop."""
        self._timer = None
        now = self._clock.seconds()
        for client, debt in list(self._debts.items()):
            if not debt.is_paused:
                if now - debt.until > _FORGIVEN:
                    del self._debts[client]
            elif now - debt.since > _PATIENCE and now - debt.own <= _FORGIVEN:
                self.forget(client)
                client.overdrawn()
            elif now >= debt.until:
                debt.is_paused = False
                debt.until = now
                self._count(debt, -1)
                client.resume(PauseReason.RATE)
        if self._debts and self._timer is None:
            self._timer = self._clock.callLater(_TICK, self._look)

    def _count(self, debt: _Debt, change: int) -> None:
        count = self._paused.get(debt.address, 0) + change
        if count:
            self._paused[debt.address] = count
        else:
            del self._paused[debt.address]
