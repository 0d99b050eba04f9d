"""The commands that Redis has not answered yet: their number and size, within bounds."""

from __future__ import annotations

from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.shares import SharedBound

__all__ = ["Backlog", "Share"]

#: A publisher, and the bytes that it holds of the half that has shares.
Share = tuple[str, int]


class Backlog:
    """
    Counts commands, collected or sent, until they are answered.

    Half of the bounds is for everybody; of the other half each publisher has a share.

    Attributes:
        commands: Their number.
        size: Their bytes.
        shared: The half of the bytes that has shares. A command takes as many at least that the
            number of commands is shared, too.
    """

    __slots__ = ("_least", "_metrics", "_most", "_most_size", "commands", "shared", "size")

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._most, self._most_size = limits.max_commands, limits.max_command_bytes
        self._metrics = metrics
        self.commands = self.size = 0
        self.shared = SharedBound(limits.max_command_bytes // 2)
        self._least = limits.max_command_bytes // limits.max_commands

    @property
    def is_full(self) -> bool:
        """Tells whether no more commands are taken."""
        return self.commands >= self._most or self.size >= self._most_size

    @property
    def is_crowded(self) -> bool:
        """Tells whether each publisher has a share only."""
        return self.commands > self._most // 2 or self.size > self._most_size // 2

    def check(self) -> None:
        """
        Check that there is room, and count it if there is not.

        Raises:
            BrokerUnavailable: No more commands are taken.
        """
        if self.is_full:
            self._metrics.limits["max-commands"] += 1
            raise BrokerUnavailable("too many commands wait for an answer of Redis")

    def add(self, commands: int, size: int) -> None:
        """Count more commands, and their bytes."""
        self.commands += commands
        self.size += size

    def answered(self, commands: int, size: int) -> None:
        """Count off commands that were answered, and their bytes."""
        self.commands -= commands
        self.size -= size

    def take_share(self, origin: str, commands: int, size: int) -> Share | None:
        """
        Take a share for a publisher. To be called if `is_crowded`.

        Args:
            origin: See `wsredis.gateway.broker.PublishWaiter.origin`.

        Returns:
            The share, for `release`. None if no limit is for this publisher.

        Raises:
            BrokerUnavailable: Its share is used up.
        """
        if not origin:
            return None
        share = (origin, max(size, commands * self._least))
        if not self.shared.take(*share):
            self._metrics.limits["max-commands"] += 1
            raise BrokerUnavailable("too many commands of this client wait for an answer of Redis")
        return share

    def release(self, share: Share | None) -> None:
        """Take a share back."""
        if share is not None:
            self.shared.release(*share)
