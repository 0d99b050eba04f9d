"""
The port to whatever carries publications between programs, and its promise.

The promise: a publication reaches each subscriber **at most once**, and in the order of its
channel. While the link is up it is exactly once. What was published while the link was down is
lost to subscribers, save for the stored message of each channel, which is handed over when
the link is back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from wsredis.gateway.publication import Publication

__all__ = ["Broker", "BrokerListener"]


class BrokerListener(Protocol):
    """Whom a broker tells. Called synchronously, in the reactor thread."""

    def deliver(self, batch: Sequence[Publication]) -> None:
        """Take what one read from the broker brought, in order of arrival."""

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        """Take the stored messages after the link was lost and is back; live ones follow."""

    def forbid(self, channel: bytes) -> None:
        """Learn that the broker refuses *channel* from now on: nothing will arrive on it."""


class Broker(Protocol):
    """Subscribe, publish, fetch; all names and payloads are bytes."""

    @property
    def up(self) -> bool:
        """Whether the link works and every wanted channel is subscribed."""

    def start(self, listener: BrokerListener) -> None:
        """Connect, and stay connected until `stop`. Called once."""

    def stop(self) -> Deferred[None]:
        """Let go of everything. Fires when no connection and no timer is left."""

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """
        Want *channels*. Repeating it is free.

        Returns: Fires when all of them are confirmed.
        Raises:
            BrokerUnavailable: The link is down, or was lost meanwhile. The channels stay wanted.
            PermissionDenied: The broker forbids one of them.
        """

    def pause(self) -> None:
        """
        Bring no publication, and complete no `fetch`, until `resume`.

        Nothing is lost by it, unless it lasts: Redis ends a connection that is not read.
        """

    def resume(self) -> None:
        """Go on. Harmless when nothing is held."""

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """Stop wanting *channels*. Unknown ones are ignored."""

    def publish(self, channels: Sequence[bytes], payload: bytes) -> Deferred[None]:
        """
        Store *payload* on each channel, then publish it there.

        Returns: Fires when all of it was accepted. A refusal to store is counted and logged,
            and is no failure.
        Raises:
            BrokerUnavailable: The link is down, or broke before the answer: the payload may or
                may not have been published.
            PermissionDenied: The broker forbids it.
        """

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """
        Read the stored message of each channel; empty and missing ones are left out.

        Returns: Fires after all publications that preceded the read have been delivered.
        Raises:
            BrokerUnavailable: The link is down, or was lost meanwhile.
        """
