"""Admission: decides on a handshake, by asking authenticators and policies in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.auth.control_commands import RecentCommands, all_names
from wsredis.auth.hints import NO_USERS, NOBODY, hints_for, page_elsewhere
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.auth.strangers import Strangers
from wsredis.channels import Access, Audience
from wsredis.errors import HandshakeRejected
from wsredis.gateway.enrolment import Enrolment
from wsredis.gateway.identity import Authenticator, Handshake, Identity, Policy
from wsredis.gateway.log_throttle import LogThrottle

__all__ = ["Accepted", "Admission", "ExplainedConnection"]

#: Refusals that others might not get.
_DENIALS = (401, 403)

#: Shared by all clients that no authenticator knows.
_ANONYMOUS = Identity()


class Accepted(NamedTuple):
    """
    The decision on a handshake that was let in.

    Attributes:
        handshake: As it came.
        identity: The identity of the client.
        granted: What it may do.
        since: Time at which the decision began, in seconds of the reactor.
        enrolment: The channels that a project's own subscriber chose. Whoever takes it releases it.
            If None, the client has those that *granted* stands for.
        stranger: A sentence about headers that did not count, since the page is foreign. Empty if
            all counted.
    """

    handshake: Handshake
    identity: Identity
    granted: Access
    since: float
    enrolment: Enrolment | None = None
    stranger: str = ""


class ExplainedConnection(Protocol):
    """
    The part of a connection that hints are about.

    Attributes:
        chooses_channels: See `wsredis.gateway.connection.Connection`.
    """

    chooses_channels: bool

    @property
    def is_deaf(self) -> bool:
        """See `wsredis.gateway.connection.Connection.is_deaf`."""


class _TimeLimit:
    """
    The time limit of authenticators and policies for one handshake.

    Args:
        clock: Keeps the time limit.
        timeout: Time limit in seconds for all of them together. It starts when the first
            asynchronous one is called, so a source with an equal timeout of its own expires first
            and reports the better reason.
    """

    __slots__ = ("_clock", "_deadline", "_timeout")

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._deadline: float | None = None

    async def wait(self, answer: Any) -> Any:
        """
        Wait for *answer*: a value, a Deferred or a coroutine.

        Returns:
            Its result.
        Raises:
            HandshakeRejected: With 503 if the time limit has passed. What was waited for is
                cancelled.
        """
        if not isinstance(answer, (Deferred, Coroutine)):
            return answer
        pending: Deferred[Any] = ensureDeferred(answer)
        now = self._clock.seconds()
        if self._deadline is None:
            self._deadline = now + self._timeout
        pending.addTimeout(max(0.0, self._deadline - now), self._clock)
        try:
            return await pending
        except TimeoutError:
            raise HandshakeRejected(
                "try again later",
                503,
                "no decision within --auth-timeout",
                cause="identities-away",
            ) from None


def _advised(error: HandshakeRejected, advice: str) -> HandshakeRejected:
    # It may be raised for others, too.
    advised = copy(error)
    advised.advice = advice
    return advised


class Admission:
    """
    Decides on handshakes: finds out the identity of the client, and what it may do.

    Args:
        clock: Keeps the time limit.
        authenticators: Asked in this order; the first that knows the client decides. If there are
            none, all clients are anonymous.
        policies: Asked in this order; each decides on the access that the one before it granted.
        recent: Commands of the application that came a moment ago.
        timeout: Time limit in seconds for authenticators and policies together. After it, the
            handshake is rejected with 503.
        origins: Refuses handshakes by foreign names, and knows pages of a foreign origin: of their
            headers count only those that cannot speak for the visitor. If None, neither is foreign.
        wall_clock: Returns the Unix time in seconds.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        authenticators: Sequence[Authenticator],
        policies: Sequence[Policy],
        recent: RecentCommands,
        *,
        timeout: float = 3.0,
        origins: OriginPolicy | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._authenticators = authenticators
        self._policies = policies
        self._recent = recent
        self._timeout = timeout
        self._strangers = None
        if origins is not None:
            self._strangers = Strangers(clock, origins, knows_users=bool(authenticators))
        self._wall_clock = wall_clock
        self._throttle = LogThrottle(clock, at_once=10)

    async def admit(self, handshake: Handshake) -> Accepted:
        """
        Decide on the handshake of a new client.

        Returns:
            The decision, for `SessionMonitor.connection_opened`.
        Raises:
            HandshakeRejected: The client is not let in.
        """
        since = self._clock.seconds()
        limit = _TimeLimit(self._clock, self._timeout)
        counted, stranger = self._counted(handshake), ""
        if counted is not handshake:
            assert self._strangers is not None
            stranger = self._strangers.tell(handshake)
        try:
            identity, granted = await self._decide(counted, None, limit)
        except HandshakeRejected as error:
            has_better = error.advice and not error.advice.startswith((NOBODY, NO_USERS))
            if has_better or error.status not in _DENIALS or not self.is_foreign(handshake):
                raise
            assert self._strangers is not None
            raise _advised(error, self._strangers.advice(handshake)) from None
        if identity is _ANONYMOUS:
            return Accepted(handshake, identity, granted, since, None, stranger)
        self._warn_of_colons(identity, granted)
        if self._recent.has_ended(identity):
            raise HandshakeRejected("the session has ended", 401)
        enrolment = None
        if identity.enrol is not None:
            enrolment = await limit.wait(identity.enrol(granted))
            # It holds the request, which nobody needs any more.
            identity = replace(identity, enrol=None)
        return Accepted(handshake, identity, granted, since, enrolment, stranger)

    async def decide(
        self, handshake: Handshake, opened: Identity | None = None
    ) -> tuple[Identity, Access]:
        """
        Ask for the identity and the access of *handshake* of an open client.

        Args:
            opened: Its identity so far; see `Identity.following`. If None, it is followed.
        Returns:
            The identity, and what it may do.
        Raises:
            HandshakeRejected: An authenticator or a policy rejected it, the identity has expired,
                or the time limit has passed.
            Exception: An authenticator or a policy failed. It must reject the handshake, too.
        """
        limit = _TimeLimit(self._clock, self._timeout)
        identity, granted = await self._decide(self._counted(handshake), opened, limit)
        return identity if identity.enrol is None else replace(identity, enrol=None), granted

    async def _decide(
        self, handshake: Handshake, opened: Identity | None, limit: _TimeLimit
    ) -> tuple[Identity, Access]:
        identity = _ANONYMOUS
        for authenticator in self._authenticators:
            known = authenticator.identify(handshake)
            if known is not None and not isinstance(known, Identity):
                known = await limit.wait(known)
            if known is not None:
                identity = known
                break
        if identity.expires is not None and identity.expires <= self._wall_clock():
            raise HandshakeRejected("the credentials have expired", 401)
        if opened is not None:
            identity = identity.following(opened)
        granted = identity.granted or handshake.requested
        for policy in self._policies:
            if granted is not handshake.requested:
                handshake = replace(handshake, requested=granted)
            try:
                allowed = policy.allow(identity, handshake)
                granted = allowed if isinstance(allowed, Access) else await limit.wait(allowed)
            except HandshakeRejected as error:
                is_known = identity is not _ANONYMOUS
                if is_known or error.advice or error.status not in _DENIALS:
                    raise
                raise _advised(error, self._nobody(handshake)) from None
        return identity, granted

    def _nobody(self, handshake: Handshake) -> str:
        """Tell why a client has no identity."""
        if not self._authenticators:
            return NO_USERS
        missing = []
        for each in self._authenticators:
            # Those of an embedding program need not have it.
            name = getattr(each, "missing", None)
            words = name(handshake) if callable(name) else ""
            if not words:
                return NOBODY
            missing.append(f"no {words}")
        return f"{NOBODY}: {' and '.join(missing)} came{page_elsewhere(handshake.headers)}"

    def explain(
        self,
        connection: ExplainedConnection,
        handshake: Handshake,
        identity: Identity,
        granted: Access,
        stranger: str = "",
    ) -> tuple[str, ...]:
        """
        Return the hints on a connection, for `Access.with_hints`.

        Args:
            identity, granted: Those that it has, or will have in a moment.
            stranger: `Accepted.stranger`.
        """
        requested = handshake.requested
        if (
            granted is requested
            and granted.subscribe
            and granted.only_listens_to_broadcast
            and not (requested.hints or stranger)
        ):
            # Most clients.
            return ()
        found = hints_for(
            requested,
            identity,
            granted,
            is_deaf=connection.is_deaf,
            nobody=partial(self._nobody, handshake),
            chooses=connection.chooses_channels,
        )
        return (stranger, *found) if stranger else found

    def explain_again(
        self,
        connection: ExplainedConnection,
        handshake: Handshake,
        identity: Identity,
        granted: Access,
    ) -> tuple[str, ...]:
        """Return the hints on a connection that is about to change; see `explain`."""
        stranger = "" if self._strangers is None else self._strangers.words(handshake)
        return self.explain(connection, handshake, identity, granted, stranger)

    def is_foreign(self, handshake: Handshake) -> bool:
        """Tell whether *handshake* comes from a page of a foreign origin."""
        return self._strangers is not None and self._strangers.is_foreign(handshake)

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()
        if self._strangers is not None:
            self._strangers.stop()

    def _counted(self, handshake: Handshake) -> Handshake:
        """Return the part of *handshake* that counts, or refuse it for its name of the gateway."""
        return handshake if self._strangers is None else self._strangers.counted(handshake)

    def _warn_of_colons(self, identity: Identity, granted: Access) -> None:
        for kind, name in all_names(identity):
            if ":" in name and Audience(kind) in granted.subscribe | granted.publish:
                self._throttle.log(
                    self._log,
                    LogLevel.warn,
                    kind,
                    "the {kind} {name!r} gets no channel: its name has a colon",
                    event="name-without-channel",
                    kind=kind,
                    name=name if kind != "session" else "...",
                )
