"""The port to a project's own subscriber: it decides on the channels of one client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

__all__ = ["Enrolment"]


class Enrolment(Protocol):
    """
    One client, as a project's own subscriber sees it. Its methods never block.

    Attributes:
        channels: The names of the channels that the client subscribes to.
        publishes: The names of the channels that its messages are published on.
        chooses_first: Tells whether `first` is to be asked.
        takes_messages: Tells whether the messages of the client are for `take`, and are not
            published by the gateway.
    """

    channels: Sequence[bytes]
    publishes: Sequence[bytes]
    chooses_first: bool
    takes_messages: bool

    def first(self) -> Deferred[Sequence[bytes]]:
        """
        Ask for the messages that the client hears first, in place of the stored ones.

        Raises:
            HandshakeRejected: It refuses, fails, or does not answer in time.
        """

    def take(self, payload: bytes) -> Deferred[Sequence[bytes]]:
        """
        Hand over a message of the client; the next one only after this has fired.

        Args:
            payload: The message, not empty.
        Returns:
            Fires with messages for this client alone. `channels` and `publishes` may be others.
        Raises:
            BrokerUnavailable: Redis or the database did not answer, or not in time.
            ClientError: It refuses the message, or has failed.
        """

    def release(self) -> None:
        """Take note that the client is gone. Only the first call counts."""
