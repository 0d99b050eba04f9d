"""
The broker port: how the gateway reaches the program that carries publications, and its promise.

The promise: a publication reaches each subscriber **at most once**, and in the order of its
channel. While the broker is up it is exactly once. A publication during an outage is lost to
subscribers, except for the stored message of each channel, which is handed over when the broker is
back. Each outage is reported to the listener as a `Gap`.

A broker may keep several connections, called links. Pausing, being up and being down are states of
the broker as a whole: a link that is lost and comes back changes nothing about a pause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wsredis.gateway.canary import Canary
from wsredis.gateway.gap import Gap
from wsredis.gateway.publication import Publication

__all__ = [
    "LOG_BATCH",
    "Broker",
    "BrokerListener",
    "LogEntry",
    "PublishWaiter",
    "WorkerQueue",
]

#: Entries that are read from a log at a time.
LOG_BATCH = 1000


class LogEntry(NamedTuple):
    """
    An entry of a log, to which programs append.

    Attributes:
        position: Its place in the log, for the next read.
        age: Seconds since it was appended.
        payload: Bytes.
    """

    position: bytes
    age: float
    payload: bytes


class WorkerQueue(NamedTuple):
    """
    A list in which messages wait for workers, each for one of them.

    Attributes:
        key: Its name.
        bell: The channel on which the workers hear that the list is no longer empty.
        capacity: The number of messages that may wait.
        expiry: Seconds that a message may wait. Then it is dropped.
    """

    key: bytes
    bell: bytes
    capacity: int
    expiry: float


class BrokerListener(Protocol):
    """The receiver of publications. The broker calls it synchronously, in the reactor thread."""

    def deliver(self, batch: Sequence[Publication]) -> None:
        """
        Take the publications of one read from the broker.

        Args:
            batch: At least one publication, in the order of arrival.
        """

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        """
        Take stored messages after an outage; the live publications follow.

        Args:
            stored: The stored message of each wanted channel that has one. A message that also
                arrived live is left out.
        """

    def gap(self, gap: Gap) -> None:
        """
        Take note that publications may have been lost, now that none are lost any more.

        It comes after the stored messages of the outage, and before the live publications.
        """

    def forbid(self, channel: bytes) -> None:
        """
        Take note that the broker refuses *channel*, which was wanted before.

        It is not wanted any more: nothing is delivered on it until it is subscribed to again. If
        `Broker.subscribe` fails for a channel that nobody else wants, that is the only report.
        """


class PublishWaiter(Protocol):
    """
    The publisher of messages: it hears of each message once, in the order of publishing.

    A message that `Broker.publish` refuses is an exception: it is reported at once, before earlier
    ones that still wait for their answers. This is not a Deferred for each message, since many
    messages are answered together.
    """

    @property
    def origin(self) -> str:
        """
        The user or the address by which publishers share what is bounded.

        Empty for one that no limit of its own is for.
        """

    def published(self, count: int, size: int) -> None:
        """
        The broker has confirmed the next messages on all of their channels.

        Args:
            count: The number of messages.
            size: The bytes of all their payloads.
        """

    def not_published(self, error: Exception, size: int) -> None:
        """
        The next message failed; `Broker.publish` lists the errors.

        Args:
            size: The bytes of its payload.
        """


class Broker(Protocol):
    """Subscribes, publishes and fetches. All names and payloads are bytes."""

    @property
    def canary(self) -> Canary | None:
        """
        The listener by which the broker finds out whether publications arrive.

        The hub has to subscribe it. If None, the broker needs none.
        """

    @property
    def up(self) -> bool:
        """Whether every link works and every wanted channel is subscribed."""

    def when_up(self) -> Deferred[None]:
        """
        Wait for a broker that may be up in a moment: at the start, and after a short loss.

        Returns:
            Fires when `up` is True, at once if it is. Cancelling it changes nothing.

        Raises:
            BrokerUnavailable: The broker stayed down for longer than a moment, or is stopped. While
                it is away for longer, this fails at once.
        """

    def start(self, listener: BrokerListener) -> None:
        """Connect, and stay connected until `stop`. To be called once."""

    def stop(self) -> Deferred[None]:
        """
        Close all links. The listener is not called any more.

        Returns:
            Fires when neither a connection nor a timer is left.
        """

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """
        Want *channels* until `unsubscribe`. Wanting a channel twice costs nothing.

        Returns:
            Fires when the broker has confirmed all of them.

        Raises:
            BrokerUnavailable: The broker is down, or was lost before it confirmed. All channels
                stay wanted and are subscribed when the broker is back.
            PermissionDenied: The broker forbids one of them. That one is not wanted any more, the
                others stay wanted.
        """

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """Do not want *channels* any more. Unknown ones are ignored."""

    def pause(self) -> None:
        """
        Call the listener no more, and complete no `fetch`, until `resume`.

        It holds for links that are lost and come back meanwhile. Nothing is lost by a short pause;
        Redis ends a connection that is not read for long.
        """

    def resume(self) -> None:
        """End the pause. Harmless when the broker is not paused."""

    def publish_all(
        self, channels: Sequence[bytes], payloads: Sequence[bytes], waiter: PublishWaiter
    ) -> None:
        """Call `publish` for each of *payloads*. They may be answered together."""

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """
        Store *payload* on each channel, then publish it there.

        It goes out in this turn of the reactor or the next, in the order of the calls.

        Args:
            channels: Not to be changed afterwards.
            waiter: Hears the outcome, now or later. `PublishWaiter.published` means that the broker
                has published on all channels; if it refuses to store, that is counted and logged,
                and is not a failure. `PublishWaiter.not_published` gets one of these errors:

                BrokerUnavailable: The broker is down, or too many commands are waiting for its
                answer. Nothing was sent. If the broker is down already, or too much is waiting,
                the waiter hears it before this method returns.

                PublishOutcomeUnknown: The broker was lost before it answered, or it answered with
                an error: the payload may have been stored and published, or not.

                PermissionDenied: The broker forbids one of the channels. The payload may be stored
                there; on the other channels it is published.
        """

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """
        Append *payload* to *queue*, and tell the workers.

        It goes out in this turn of the reactor or the next, in the order of the calls.

        Args:
            waiter: See `publish`. One more error is `QueueFull`: as many messages as may wait do
                so. Nothing was appended then.
        """

    def announce(self, channel: bytes, payload: bytes) -> None:
        """Publish *payload* without storing it, if the broker is up. The outcome is not told."""

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """
        Read the stored message of each channel.

        Returns:
            Fires with the messages by channel, without the empty and the missing ones, after all
            publications that preceded the read have been delivered.

        Raises:
            BrokerUnavailable: The broker is down, or was lost before it answered. Safe to repeat.
        """

    def read_log(self, key: bytes, after: bytes) -> Deferred[list[LogEntry]]:
        """
        Read a log.

        Args:
            key: Its name.
            after: The position of the last entry that is known. If empty, none is.

        Returns:
            Fires with the entries after that one, at most `LOG_BATCH`, the oldest first. If there
            are as many, there may be more.

        Raises:
            BrokerUnavailable: The broker is down, or was lost before it answered. Safe to repeat.
            PermissionDenied: The broker forbids it, or does not know how.
        """
