"""
The session monitor: watches the identities of open connections, and closes those that end.

It is one module because checks, expiry and commands share the table of what is watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.auth.admission import Accepted
from wsredis.auth.control_commands import RecentCommands, fixed_names
from wsredis.auth.hint_log import HintLog
from wsredis.auth.open_sockets import OpenSockets
from wsredis.auth.socket_report import ReportedConnection
from wsredis.channels import Access
from wsredis.errors import HandshakeRejected, LimitExceeded
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.timers import PeriodicTask, StaggeredTimer

__all__ = ["SessionMonitor", "WatchedConnection"]

#: Seconds between two searches for identities that have expired.
_EXPIRY_INTERVAL = 1.0

#: Checks under way at a time. New clients need the same threads and HTTP requests.
_CONCURRENT_CHECKS = 4


class WatchedConnection(ReportedConnection, Protocol):
    """
    The part of an open connection that the monitor needs.

    Attributes:
        chooses_channels: See `wsredis.gateway.connection.Connection`.
    """

    chooses_channels: bool

    @property
    def peer(self) -> str:
        """Address of the client, for the log."""

    @property
    def is_deaf(self) -> bool:
        """Tells whether it will hear nothing; see `wsredis.gateway.connection.Connection`."""

    async def change(self, identity: Identity, granted: Access) -> None:
        """
        Go on with another identity or access; the subscriptions follow.

        Raises:
            LimitExceeded: It would have too many channels. Nothing changed.
        """

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""


#: See `wsredis.auth.admission.Admission.explain_again`.
Explain = Callable[[WatchedConnection, Handshake, Identity, Access], tuple[str, ...]]


class _Watch:
    """
    The state of one watched connection.

    Attributes:
        handshake: The handshake that each check asks about.
        since: Time at which the decision on it began, in seconds of the reactor.
        due: Time at which the identity expires, in seconds of the reactor. None if it does not.
    """

    __slots__ = ("due", "handshake", "since")

    def __init__(self, handshake: Handshake, since: float) -> None:
        self.handshake = handshake
        self.since = since
        self.due: float | None = None


class SessionMonitor:
    """
    Watches the identities of open connections.

    A connection is closed with 4401 when its identity expires or is ended, and with 4403 when it
    is no longer allowed. A check asks again for identity and access; the connection follows.

    Args:
        clock: Runs the timers.
        decide: `wsredis.auth.admission.Admission.decide`.
        recent: Commands of the application that came a moment ago.
        hints: Told of connections with hints, and of those that will hear nothing.
        explain: `wsredis.auth.admission.Admission.explain_again`.
        recheck: Seconds between two checks of a connection. 0 checks only on command.
        wall_clock: Returns the Unix time in seconds.
        sockets: Told of all connections. If None, nobody is.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        decide: Callable[[Handshake, Identity], Coroutine[Any, Any, tuple[Identity, Access]]],
        recent: RecentCommands,
        hints: HintLog,
        explain: Explain,
        *,
        recheck: float = 0.0,
        wall_clock: Callable[[], float] = time.time,
        sockets: OpenSockets | None = None,
    ) -> None:
        self._clock = clock
        self._decide = decide
        self._sockets = sockets
        self._recent = recent
        self._hints = hints
        self._explain = explain
        self._wall_clock = wall_clock
        self._watched: dict[WatchedConnection, _Watch] = {}
        #: Connections by user and by session. Commands about groups are rare, and may be slower.
        self._by_name: dict[tuple[str, str], set[WatchedConnection]] = {}
        self._expiry = PeriodicTask(clock, _EXPIRY_INTERVAL, self._close_expired)
        self._rounds = StaggeredTimer(clock, recheck, self._request_check) if recheck else None
        #: Connections that wait for a check, in the order of the requests.
        self._pending: dict[WatchedConnection, None] = {}
        #: Connections that are being checked.
        self._checks: dict[WatchedConnection, Deferred[None]] = {}
        self._is_starting_checks = False
        self._throttle = LogThrottle(clock)

    def __len__(self) -> int:
        """The number of connections that are watched."""
        return len(self._watched)

    def start(self) -> None:
        """Start the timers."""
        self._expiry.start()
        if self._rounds is not None:
            self._rounds.start()

    def stop(self) -> None:
        """
        Stop the timers, and cancel the checks. Connections stay open.

        Harmless if it was not started.
        """
        self._expiry.stop()
        if self._rounds is not None:
            self._rounds.stop()
        self._pending.clear()
        for check in list(self._checks.values()):
            check.cancel()
        self._hints.stop()

    def connection_opened(self, connection: WatchedConnection, accepted: Accepted) -> None:
        """
        Watch a connection that is open now.

        One without an identity is not watched. A connection that a command meant while it was
        being accepted is closed or checked at once.
        """
        identity = accepted.identity
        if self._sockets is not None:
            self._sockets.opened(connection, accepted)
        if connection.hints or connection.is_deaf:
            self._hints.opened(connection)
        if identity.is_anonymous:
            return
        watch = self._watched[connection] = _Watch(accepted.handshake, accepted.since)
        watch.due = self._due(identity)
        for key in fixed_names(identity):
            self._by_name.setdefault(key, set()).add(connection)
        if self._rounds is not None:
            self._rounds.add(connection)
        if self._recent.has_ended(identity):
            self._close(connection, 4401, "the session has ended")
        elif self._recent.came_since("end", identity, accepted.since):
            self._close(connection, 4401, "the user or a group was ended")
        elif self._recent.came_since("recheck", identity, accepted.since):
            self._request_check(connection)

    def connection_lost(self, connection: WatchedConnection) -> None:
        """Forget a connection that is closed. Harmless if it was not watched."""
        if self._sockets is not None:
            self._sockets.lost(connection)
        if self._watched.pop(connection, None) is None:
            return
        self._pending.pop(connection, None)
        if self._rounds is not None:
            self._rounds.discard(connection)
        for key in fixed_names(connection.identity):
            some = self._by_name[key]
            some.discard(connection)
            if not some:
                del self._by_name[key]

    def end(self, selector: str, name: str, before: float | None = None) -> None:
        """
        Close the connections of an identity with 4401.

        Args:
            selector: "user", "group" or "session".
            name: Name of the user or group, or key of the session.
            before: Time in seconds of the reactor: connections of users and groups that were
                accepted later stay open. If None, all are closed.
        """
        # The key of a session is never used again.
        is_old = before is None or selector == "session"
        for connection in self._select(selector, name):
            if is_old or self._watched[connection].since <= (before or 0.0):
                self._close(connection, 4401, f"its {selector} was ended")

    def recheck(self, selector: str, name: str) -> None:
        """
        Check the connections of an identity, a few at a time.

        Args:
            selector: "user", "group" or "session".
            name: Name of the user or group, or key of the session.
        """
        for connection in self._select(selector, name):
            self._request_check(connection)

    def _select(self, selector: str, name: str) -> list[WatchedConnection]:
        if selector == "group":
            return [each for each in self._watched if name in each.identity.groups]
        return list(self._by_name.get((selector, name), ()))

    def _close(self, connection: WatchedConnection, code: int, reason: str) -> None:
        self._log.info(
            "closing {peer} ({id}): {reason}",
            event="session-ended",
            peer=connection.peer,
            id=connection.id,
            reason=reason,
        )
        try:
            connection.close(code, reason)
        except Exception:
            # The other connections of a loop are still to be closed.
            self._log.failure(
                "cannot close {peer} ({id})",
                event="close-failed",
                peer=connection.peer,
                id=connection.id,
            )

    # -- Expiry

    def _due(self, identity: Identity) -> float | None:
        if identity.expires is None:
            return None
        # Converted once: a step of the system's clock must not end or prolong anything later.
        return self._clock.seconds() + identity.expires - self._wall_clock()

    def _close_expired(self, count: int) -> None:
        now = self._clock.seconds()
        for connection, watch in list(self._watched.items()):
            if watch.due is not None and watch.due <= now:
                self._close(connection, 4401, "the credentials have expired")

    # -- Checks

    def _request_check(self, connection: WatchedConnection) -> None:
        self._pending[connection] = None
        self._start_checks()

    def _start_checks(self) -> None:
        if self._is_starting_checks:
            # A check ended synchronously, within the loop below.
            return
        self._is_starting_checks = True
        while len(self._checks) < _CONCURRENT_CHECKS:
            ready = (each for each in self._pending if each not in self._checks)
            connection = next(ready, None)
            if connection is None:
                break
            del self._pending[connection]
            check = Deferred.fromCoroutine(self._check(connection))
            self._checks[connection] = check
            check.addErrback(self._check_failed).addBoth(self._check_done, connection)
        self._is_starting_checks = False

    def _check_done(self, _: object, connection: WatchedConnection) -> None:
        del self._checks[connection]
        self._start_checks()

    async def _check(self, connection: WatchedConnection) -> None:
        watch = self._watched[connection]
        try:
            # Without an address: a client that fills the queue of its address with handshakes must
            # not escape a check by that.
            handshake = replace(watch.handshake, address="")
            identity, granted = await self._decide(handshake, connection.identity)
        except HandshakeRejected as error:
            if error.status not in (401, 403):
                raise
            if connection in self._watched:
                code = 4401 if error.status == 401 else 4403
                self._close(connection, code, error.reason)
            return
        if connection not in self._watched:
            return
        old = connection.identity
        if (identity.user, identity.session) != (old.user, old.session):
            self._close(connection, 4401, "the session has ended")
            return
        watch.due = self._due(identity)
        if (identity.groups, identity.memberships, granted) != (
            old.groups,
            old.memberships,
            connection.granted,
        ):
            was_deaf = connection.is_deaf
            hints = self._explain(connection, watch.handshake, identity, granted)
            granted = granted.with_hints(hints)
            try:
                await connection.change(identity, granted)
            except LimitExceeded as error:
                self._close(connection, error.code, error.reason)
            if connection.is_deaf and not was_deaf and connection in self._watched:
                self._hints.changed(connection)

    def _check_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) or not self._throttle.take("check"):
            return
        error = failure.value
        if isinstance(error, HandshakeRejected):
            self._log.warn(
                "identity check failed; keeping connections: {reason}",
                event="identity-check-failed",
                reason=error.hint or error.reason,
            )
        else:
            self._log.failure(
                "identity check failed; keeping connections",
                event="identity-check-failed",
                failure=failure,
            )
