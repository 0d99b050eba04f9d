"""
Bounds that clients share: how much of one bound an address may use, and how fast.

`SharedBound` divides places, `RateLimit` divides work. Both know a client by a key, mostly that of
`address_key`.
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address

from twisted.internet.interfaces import IReactorTime

__all__ = ["RateLimit", "SharedBound", "address_key"]

#: Bits of an IPv6 address that are the host's own: a provider gives each customer a /64 at least.
_IPV6_HOST_BITS = 64
#: Keys of one `RateLimit` that are remembered. When there are more, all are forgotten.
_MAX_KEYS = 65536


def address_key(host: str) -> str:
    """
    Return the part of an IP address by which clients are counted.

    An IPv6 address counts by its /64, an IPv4-mapped one as the IPv4 address. What is no IP
    address (the path of a UNIX socket, an empty string) is returned as it is.
    """
    if ":" not in host:
        return host
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = int(address) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS
    return f"{IPv6Address(network)}/64"


class SharedBound:
    """
    A number of places that many keys share.

    A key may hold at most twice as many places as are free. So one alone gets two thirds of them,
    the next ones always find some, and nobody is held to a small share while nobody else asks
    (the dynamic thresholds of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
    The key "" is for clients that cannot be told apart: it may take all that is free.

    Args:
        limit: The number of places.
        per_key: The number of places that one key gets, in place of a share. If None, a share.
        least: The number of places that a key may have in any case, as long as some are free.

    Attributes:
        held: The number of places that are taken.
    """

    __slots__ = ("_by_key", "_least", "_limit", "_per_key", "held")

    def __init__(self, limit: int, per_key: int | None = None, *, least: int = 1) -> None:
        self._limit = limit
        self._least = least
        self._per_key = per_key
        self.held = 0
        self._by_key: dict[Hashable, int] = {}

    def is_full(self) -> bool:
        """Tell whether nobody gets a place now."""
        return self.held >= self._limit

    def held_by(self, key: Hashable) -> int:
        """Return the number of places that *key* holds."""
        return self._by_key.get(key, 0)

    def has_room(self, key: Hashable, count: int = 1) -> bool:
        """Tell whether *key* would get *count* places now."""
        free = self._limit - self.held
        if count > free:
            return False
        if key == "":
            return True
        mine = self._by_key.get(key, 0)
        if self._per_key is not None:
            return mine + count <= self._per_key
        # The first ones of a key need free places only.
        return not mine or mine + count <= max(self._least, 2 * (free - count) + 2)

    def take(self, key: Hashable, count: int = 1) -> bool:
        """Take *count* places for *key*. If False, it got none, and nothing has changed."""
        if not self.has_room(key, count):
            return False
        self.add(key, count)
        return True

    def add(self, key: Hashable, count: int = 1) -> None:
        """Take *count* places for *key*, whether there is room or not."""
        self.held += count
        self._by_key[key] = self._by_key.get(key, 0) + count

    def move(self, key: Hashable, to: Hashable) -> None:
        """Give a place of *key* to another key, whether that has room or not."""
        self.release(key)
        self.add(to)

    def release(self, key: Hashable, count: int = 1) -> None:
        """
        Give *count* places of *key* back.

        Raises:
            ValueError: *key* does not hold as many. Nothing has changed.
        """
        left = self._by_key.get(key, 0) - count
        if left < 0:
            raise ValueError(f"{key!r} does not hold {count} places")
        self.held -= count
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]


class RateLimit:
    """
    A token bucket for each key. A key that is within its rate costs no memory.

    Args:
        rate: Units a second.
        burst: Units that a key may use at once after a pause.
    """

    __slots__ = ("_burst", "_clock", "_full_at", "_per_unit", "_sweep_at")

    def __init__(self, clock: IReactorTime, rate: float, burst: float) -> None:
        self._clock = clock
        self._per_unit = 1 / rate
        self._burst = burst / rate
        # The time at which the bucket of a key will be full again.
        self._full_at: dict[Hashable, float] = {}
        self._sweep_at = 1024

    def spend(self, key: Hashable, units: float = 1) -> float:
        """
        Use *units* of the bucket of *key*, whether they are there or not.

        Returns:
            The seconds until the bucket is no longer overdrawn. 0 if it is not.
        """
        now = self._clock.seconds()
        full_at = max(self._full_at.get(key, now), now) + units * self._per_unit
        if key not in self._full_at and len(self._full_at) >= self._sweep_at:
            self._sweep(now)
        self._full_at[key] = full_at
        return max(0.0, full_at - now - self._burst)

    def wait(self, key: Hashable) -> float:
        """Return the seconds until the bucket of *key* is no longer overdrawn. 0 if it is not."""
        until = self._full_at.get(key)
        if until is None:
            return 0.0
        return max(0.0, until - self._clock.seconds() - self._burst)

    def forget(self, key: Hashable) -> None:
        """Forget what *key* owes: nobody has this key any more."""
        self._full_at.pop(key, None)

    def __len__(self) -> int:
        """Return the number of keys that are remembered."""
        return len(self._full_at)

    def _sweep(self, now: float) -> None:
        """Forget the keys whose bucket is full, and let as many again come until the next time."""
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        if len(self._full_at) >= _MAX_KEYS:
            self._full_at.clear()
        self._sweep_at = max(1024, 2 * len(self._full_at))
