"""
The control channel: the application tells the gateway that identities ended or changed.

It publishes JSON on the channel ``[PREFIX:]wsredis-control``. No client can publish there: in the
channels of clients, the name of an audience stands in that place. The format is that of
`wsredis.auth.control_commands`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wsredis.auth.control_commands import Command, RecentCommands, parse_command
from wsredis.auth.ended_log import LogReader
from wsredis.channels import control_channel
from wsredis.gateway.client import Sink
from wsredis.gateway.hub import Listener
from wsredis.gateway.incidents import Incidents
from wsredis.gateway.publication import Encoding, Publication

__all__ = ["ControlChannel", "ControlledSessions", "ListenerHub"]


class ListenerHub(Protocol):
    """The part of `wsredis.gateway.hub.Hub` that the control channel needs."""

    def subscribe(self, listener: Listener) -> Deferred[None]:
        """See `wsredis.gateway.hub.Hub.subscribe`."""

    def unsubscribe(self, listener: Listener) -> None:
        """See `wsredis.gateway.hub.Hub.unsubscribe`."""

    @property
    def broker(self) -> LogReader:
        """See `wsredis.gateway.hub.Hub`."""

    @property
    def incidents(self) -> Incidents:
        """See `wsredis.gateway.hub.Hub`."""


class ControlledSessions(Protocol):
    """The connections that commands are about: a `wsredis.auth.session_monitor.SessionMonitor`."""

    def end(self, selector: str, name: str, before: float | None = None) -> None:
        """Close the connections of a user, a group or a session."""

    def recheck(self, selector: str, name: str) -> None:
        """Check the connections of a user, a group or a session."""


class ControlChannel:
    """
    A listener of the hub that carries out the commands of the application.

    Args:
        hub: Brings the messages of the channel.
        prefix: Put before the name of the channel, as before all channels.
        sessions: Ends and checks connections.
        recent: Remembers the commands.
        notify: Functions that are called at each command, before it is carried out: remembered
            identities may be out of date.

    Attributes:
        direct, encoding: None, since nothing is written to it.
        channels: See `wsredis.gateway.hub.Listener`.
    """

    _log = Logger()

    direct: Sink | None = None
    encoding: Encoding | None = None

    def __init__(
        self,
        hub: ListenerHub,
        prefix: str,
        sessions: ControlledSessions,
        recent: RecentCommands,
        notify: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._hub = hub
        self._sessions = sessions
        self._recent = recent
        self._notify = notify
        self.channels: Sequence[bytes] = [control_channel(prefix)]

    def start(self) -> None:
        """Subscribe to the channel."""
        # Errors need no answer: the hub keeps the subscription, and the broker tries again.
        self._hub.subscribe(self).addErrback(lambda failure: None)

    def stop(self) -> None:
        """Unsubscribe. Harmless if not started."""
        self._hub.unsubscribe(self)

    def deliver(self, items: Sequence[Publication]) -> None:
        """See `wsredis.gateway.hub.Listener.deliver`."""
        for item in items:
            command = parse_command(item.payload)
            if command is None:
                self._log.warn(
                    "ignoring malformed control message on {channel!r}",
                    event="control-malformed",
                    channel=item.channel.decode(),
                )
            else:
                self.carry_out(command)

    def restore(self, item: Publication) -> None:
        """See `wsredis.gateway.hub.Listener.restore`. A stored command is not carried out."""

    def forbid(self) -> None:
        """See `wsredis.gateway.hub.Listener.forbid`."""
        self._log.error(
            "Redis forbids {channel!r}: the end of a session is noticed only by --recheck",
            event="control-forbidden",
            channel=self.channels[0].decode(),
        )

    def carry_out(self, command: Command, given: float | None = None) -> None:
        """
        Carry out a command.

        Args:
            given: Time at which it was given, in seconds of the reactor: it does not mean
                connections that are newer. If None, now.
        """
        for function in self._notify:
            try:
                function()
            except Exception:
                # A session that ended is more urgent than a memory that stays.
                self._log.failure(
                    "cannot forget identities before a command", event="control-failed"
                )
        self._recent.add(command, given)
        if command.verb == "end":
            self._sessions.end(command.selector, command.name, given)
        else:
            self._sessions.recheck(command.selector, command.name)
