"""
The role of a server: a master, or a replica that was a master until a failover.

A replica accepts connections and publishes, but no client of the master hears it. The server of a
living connection may become one without closing anything.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from wsredis.brokers.redis.protocol import NoReply, RedisProtocol, Reply
from wsredis.gateway.timers import PeriodicTask

__all__ = ["RoleWatch", "is_replica"]


def is_replica(reply: Reply) -> bool:
    """
    Tell whether the reply to ROLE is that of a replica.

    An error is not: a user may lack the right to ask, and a proxy may not know the command.
    """
    return isinstance(reply, list) and reply[:1] == [b"slave"]


class RoleWatch:
    """
    Asks again and again whether the server of a connection has become a replica.

    Args:
        interval: Seconds between two questions.
        demoted: Called when it has. The connection is to be left then.
    """

    def __init__(self, clock: IReactorTime, interval: float, demoted: Callable[[], None]) -> None:
        self._demoted = demoted
        self._task = PeriodicTask(clock, interval, lambda _: self.check())
        #: If None, there is no connection that can be asked.
        self._protocol: RedisProtocol | None = None
        self._is_asking = False
        self._was_reported = False

    def start(self) -> None:
        """Start the timer."""
        self._task.start()

    def stop(self) -> None:
        """Stop the timer."""
        self._task.stop()

    def watch(self, protocol: RedisProtocol | None) -> None:
        """Ask this connection from now on. If None, there is none."""
        self._protocol = protocol
        self._is_asking = self._was_reported = False

    def is_read_only(self) -> None:
        """Take note that Redis refused to write, as only a replica does."""
        if not self._was_reported:
            self._was_reported = True
            self._demoted()

    def check(self) -> None:
        """Ask now, unless an answer is waited for."""
        protocol = self._protocol
        if protocol is None or self._is_asking:
            return
        self._is_asking = True

        def answered(reply: Reply) -> bool:
            if protocol is self._protocol:
                self._is_asking = False
                if is_replica(reply):
                    self._protocol = None
                    self.is_read_only()
                elif isinstance(reply, Exception) and not isinstance(reply, NoReply):
                    # Redis keeps a record of each refusal: one for each connection is enough.
                    self._protocol = None
            return True

        protocol.send(answered, "ROLE")
