"""
The role of a server: a master, or a replica that was a master until a failover.

A replica accepts connections and publishes, but no client of the master hears it. The server of a
living connection may become one without closing anything.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from wsredis.brokers.redis.protocol import RedisProtocol, Reply, unexpected
from wsredis.brokers.redis.refusals import lacks_right
from wsredis.brokers.redis.unproven import Unproven
from wsredis.config.redis_url import error_text
from wsredis.gateway.health import Health
from wsredis.gateway.timers import PeriodicTask

__all__ = ["RoleWatch", "wrong_role"]

#: The words for a replica: that of Redis and Valkey, and that of others with the same protocol.
_REPLICA = (b"slave", b"replica")


#: Seconds between two times that a server is left because it refuses to write.
_APART = 6.0

#: Seconds after which it is tried again whether a right is still missing.
_RETRY = 60.0


def wrong_role(reply: Reply) -> str | None:
    """
    Tell what is wrong with a server after its reply to ROLE.

    Returns:
        A sentence. None for a master, and for an error: a user may lack the right to ask, and a
        proxy may not know the command.

    Raises:
        InvalidReply: This is not a reply to ROLE.
    """
    if isinstance(reply, Exception):
        return None
    if not isinstance(reply, list) or not reply or not isinstance(reply[0], bytes):
        raise unexpected("ROLE", reply)
    if reply[0] == b"master":
        return None
    if reply[0] in _REPLICA:
        return "this server is a replica, not the master"
    return f"this server is a {reply[0].decode('ascii', 'replace')[:20]}, not a master"


class RoleWatch:
    """
    Asks again and again whether the server of a connection is still a master.

    Args:
        interval: Seconds between two questions.
        demoted: Called when it is none any more. The connection is to be left then.
        health: Told what is wrong with the role.
        unproven: Told when the role cannot be asked.
        is_any: Whether a replica is as good as a master.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        demoted: Callable[[], None],
        health: Health,
        unproven: Unproven,
        *,
        is_any: bool = False,
    ) -> None:
        self._clock = clock
        self._demoted = demoted
        self._health = health
        self._unproven = unproven
        self._is_any = is_any
        self._task = PeriodicTask(clock, interval, lambda _: self.check())
        #: If None, there is no connection that can be asked.
        self._protocol: RedisProtocol | None = None
        self._is_asking = False
        #: The time of the clock before which Redis is not asked again.
        self._asks_at = 0.0
        self._was_reported = False
        #: The time of the clock before which a refusal to write is no reason to leave the server.
        self._leaves_at = 0.0

    def start(self) -> None:
        """Start the timer."""
        if not self._is_any:
            self._task.start()

    def stop(self) -> None:
        """Stop the timer."""
        self._task.stop()

    def watch(self, protocol: RedisProtocol | None) -> None:
        """Ask this connection from now on. If None, there is none."""
        self._protocol = protocol
        self._is_asking = self._was_reported = False
        self._asks_at = 0.0

    def refuse(self, reply: Reply) -> str | None:
        """
        Look at the reply to ROLE of a login.

        Returns:
            The reason why the server is not used. None if it is.

        Raises:
            InvalidReply: This is not a reply to ROLE.
        """
        if self._is_any:
            return None
        problem = wrong_role(reply)
        if problem is not None:
            self._health.report("role", problem)
        return problem

    def accept(self) -> None:
        """Take note that each connection has a server of the right role."""
        self._health.report("role", None)

    def is_read_only(self) -> None:
        """
        Take note that Redis refused to write, as only a replica does.

        If it does not tell its role, it is the next server, too: each attempt costs all clients a
        gap, and is made only every few seconds.
        """
        now = self._clock.seconds()
        if now >= self._leaves_at:
            self._leaves_at = now + _APART
            self._report("Redis refuses to write, as a replica does")

    def check(self) -> None:
        """Ask now, unless an answer is waited for."""
        protocol = self._protocol
        if protocol is None or self._is_asking or self._clock.seconds() < self._asks_at:
            return
        self._is_asking = True

        def answered(reply: Reply) -> bool:
            if protocol is self._protocol:
                self._is_asking = False
                self._answered(reply)
            return True

        protocol.send(answered, "ROLE")

    def _answered(self, reply: Reply) -> None:
        problem = wrong_role(reply)
        if problem is not None:
            self._protocol = None
            self._report(problem)
        elif not isinstance(reply, Exception):
            self._unproven.clear("role")
        elif lacks_right(reply):
            # Redis keeps a record of each refusal: one a minute is enough.
            self._asks_at = self._clock.seconds() + _RETRY
            self._unproven.note(
                "role",
                "Redis does not tell whether it is a master: its user needs the right +role "
                f"({error_text(reply)})",
            )

    def _report(self, problem: str) -> None:
        if not self._was_reported and not self._is_any:
            self._was_reported = True
            self._health.report("role", problem)
            self._demoted()
