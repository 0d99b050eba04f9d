"""The log of deaf sockets: WebSockets that are open, and on which nothing will ever arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import NamedTuple, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.auth.admission import Accepted
from wsredis.auth.control_commands import all_names
from wsredis.channels import FLAGS, Access, Audience, read_flag
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.incidents import Incidents
from wsredis.gateway.log_throttle import LogThrottle

__all__ = ["DeafConnection", "DeafLog"]

#: How much a parameter must resemble a flag, from 0 to 1, to be taken for a misspelt one. A secret
#: does not resemble a flag.
_CLOSE = 0.7

#: Characters of a parameter that may be a misspelt flag, and parameters that are looked at.
_MAX_LENGTH = 32
_MAX_PARAMETERS = 8

#: Seconds between two searches for a misspelt flag: one can take some milliseconds.
_SEARCH_INTERVAL = 1.0

_FLAGS = sorted(FLAGS)

_KNOWN = FLAGS | {"echo"}


class DeafConnection(Protocol):
    """
    The part of a connection that is logged.

    Attributes:
        identity: Its identity.
        granted: What it may do.
    """

    identity: Identity
    granted: Access

    @property
    def peer(self) -> str:
        """Address of the client, for the log."""

    @property
    def id(self) -> str:
        """Name of the connection, for the log."""


class _Reason(NamedTuple):
    """
    The reason for which a socket is deaf.

    Attributes:
        kind: One of a few, by which lines are counted.
        text: For the operator. Text of the client is quoted.
    """

    kind: str
    text: str


class DeafLog:
    """
    Tells in the log why sockets are deaf: one line a minute for each kind of reason.

    Args:
        clock: Counts the minutes.
        is_cut: Tells whether headers of a handshake did not count, since its page is foreign.
        incidents: Remember the reasons, for those who ask.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, is_cut: Callable[[Handshake], bool], incidents: Incidents
    ) -> None:
        self._incidents = incidents
        self._clock = clock
        self._is_cut = is_cut
        self._throttle = LogThrottle(clock)
        self._next_search = 0.0

    def opened(self, connection: DeafConnection, accepted: Accepted) -> None:
        """Log that a connection is deaf from its beginning."""
        self._tell(connection, self._reason(connection, accepted.handshake))

    def changed(self, connection: DeafConnection) -> None:
        """Log that a check of its identity has made a connection deaf."""
        reason = _Reason("changed", "its groups or rights have changed since it was opened")
        self._tell(connection, reason)

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()

    def _tell(self, connection: DeafConnection, reason: _Reason) -> None:
        self._incidents.note(connection.granted.facility, f"it hears nothing: {reason.text}")
        self._throttle.log(
            self._log,
            LogLevel.warn,
            reason.kind,
            "{peer} ({id}) hears nothing on {facility!r}: {reason}",
            event="deaf-socket",
            kind=reason.kind,
            peer=connection.peer,
            id=connection.id,
            facility=connection.granted.facility,
            reason=reason.text,
        )

    def _reason(self, connection: DeafConnection, handshake: Handshake) -> _Reason:
        requested, granted = handshake.requested, connection.granted
        if not (granted.flags or requested.flags):
            return self._reason_of_flags(handshake.query)
        if self._is_cut(handshake):
            return _Reason(
                "foreign",
                "its page is foreign, so that cookies and the like do not count; --allow-origin "
                "would change that",
            )
        if not granted.flags:
            flags = ", ".join(requested.flags)
            return _Reason("denied", f"it asks for {flags}, and nothing of that was granted")
        problems = [*_missing_names(granted, connection.identity)]
        return _Reason("identity", f"it asks for {', '.join(granted.flags)}, and {problems[0]}")

    def _reason_of_flags(self, query: str) -> _Reason:
        now = self._clock.seconds()
        if now >= self._next_search:
            self._next_search = now + _SEARCH_INTERVAL
            for word, flag in _misspelt(query):
                return _Reason("misspelt", f"its URL has the flag {word!r}, is it {flag!r}?")
        return _Reason("no-flag", "its URL has no flag, such as 'subscribe-broadcast'")


def _missing_names(granted: Access, identity: Identity) -> Iterator[str]:
    """Say why the audiences of an access have no name in an identity."""
    audiences = granted.subscribe | granted.publish
    if identity.is_anonymous:
        yield "nobody is logged in"
    for kind, name in all_names(identity):
        if ":" in name and Audience(kind) in audiences:
            yield f"the name of its {kind} has a colon"
    missing = [each.value for each in Audience if each in audiences]
    yield f"its identity has no {' and no '.join(missing)}"


def _misspelt(query: str) -> Iterator[tuple[str, str]]:
    """Find parameters that resemble a flag, and the flag. Their values are left out."""
    for parameter in query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
        flag = read_flag(parameter)
        if flag in _KNOWN or len(flag) > _MAX_LENGTH:
            continue
        for nearest in get_close_matches(flag, _FLAGS, 1, _CLOSE):
            yield read_flag(parameter.partition("=")[0]), nearest
