"""
The admission: who is let in, with which rights, and who may stay.

The identity of an open connection is checked again from time to time, and whenever the application
says so: it publishes JSON on the channel ``[PREFIX:]wsredis-control``, to which no client can
publish, since every channel of a client has the name of an audience there.

* ``{"end": {"session": KEY}}`` closes the connections of a session.
* ``{"recheck": {"user": NAME}}`` identifies the connections of a user again.

The second word may be user, group or session in both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.channels import Access, Audience, control_channel
from wsredis.errors import HandshakeRejected, LimitExceeded
from wsredis.gateway.connection import Connection
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Authenticator, Handshake, Identity, Policy
from wsredis.gateway.publication import Encoding, Publication
from wsredis.gateway.timers import PeriodicTask, StaggeredTimer

__all__ = ["Accepted", "Admission"]

#: Seconds between two looks for identities that have expired.
_EXPIRY = 1.0

#: Checks under way at a time. New clients wait for the same threads and requests.
_CHECKS = 4

#: Seconds that an order is remembered: a client that comes with a session that is just being ended
#: may find it in the database still.
_REMEMBERED = 30.0

#: So many orders are remembered; the oldest is forgotten first.
_ORDERS = 10000

#: Seconds between two log lines that say the same.
_REPEAT = 60.0

#: Headers that a browser sends whichever page asks. A token among the subprotocols is the page's.
_AMBIENT = ("authorization", "cookie")

#: Shared by all whom nobody knows.
_STRANGER = Identity()

_SELECTORS = ("user", "group", "session")


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    What was decided on a handshake.

    Attributes:
        granted: What it may do.
        since: When the decision began, in seconds of the reactor.
    """

    handshake: Handshake
    identity: Identity
    granted: Access
    since: float


class _Member:
    """
    An open connection that belongs to somebody.

    Attributes:
        handshake: What it is identified by, each time.
        due: When its identity expires, in seconds of the reactor. None: never.
    """

    __slots__ = ("due", "handshake")

    def __init__(self, handshake: Handshake) -> None:
        self.handshake = handshake
        self.due: float | None = None


class _Questions:
    """
    What is asked about one handshake.

    Args:
        timeout: Seconds for all of it together, from the first answer that is waited for: who asks
            others, and waits as long, gives up before and knows why.
    """

    __slots__ = ("_clock", "_deadline", "_timeout")

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._deadline: float | None = None

    async def ask(self, question: Callable[..., Any], *words: object) -> Any:
        """
        The answer of a seam, which may be a value, a Deferred or a coroutine.

        Raises:
            HandshakeRejected: With 503: it did not come in time.
        """
        answer = question(*words)
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
            raise HandshakeRejected("try again later", 503, "--auth-timeout is over") from None


class Admission:
    """
    Asks authenticators and policies, and watches over the identities of open connections.

    Args:
        authenticators: Asked in this order; the first that knows the client decides. None of them:
            everybody is anonymous, and nothing is watched.
        policies: Asked in this order; each decides on what the one before has granted.
        prefix: Put before the control channel, as before all channels.
        timeout: Seconds for authenticators and policies together; later it is a 503.
        recheck: Seconds between two checks of a connection. 0: only at an order.
        is_foreign: Whether a page of another site asks. What a browser sends along by itself,
            cookies above all, is then not looked at. None: none does.
        ordered: Called at each order, before it is obeyed: what authenticators remember may be
            wrong from now on.
        wall_clock: The Unix time.

    Attributes:
        direct, encoding, channels, write: See `wsredis.gateway.hub.Listener`.
    """

    _log = Logger()

    direct = False
    encoding: Encoding

    def __init__(
        self,
        clock: IReactorTime,
        hub: Hub,
        authenticators: Sequence[Authenticator],
        policies: Sequence[Policy],
        *,
        prefix: str = "",
        timeout: float = 3.0,
        recheck: float = 0.0,
        is_foreign: Callable[[Handshake], bool] | None = None,
        ordered: Callable[[], None] = lambda: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._hub = hub
        self._authenticators = authenticators
        self._policies = policies
        self._timeout = timeout
        self._is_foreign = is_foreign
        self._ordered = ordered
        self._wall_clock = wall_clock
        self.channels: Sequence[bytes] = [control_channel(prefix)]
        self.write: Callable[[bytes], None] = lambda data: None
        self._members: dict[Connection, _Member] = {}
        self._by_name: dict[tuple[str, str], set[Connection]] = {}
        self._expiry = PeriodicTask(clock, _EXPIRY, self._look_for_expired)
        self._rounds = StaggeredTimer(clock, recheck, self._recheck) if recheck else None
        #: Connections that wait for a check, the first one first, and those that are checked now.
        self._pending: dict[Connection, None] = {}
        self._checking: dict[Connection, Deferred[None]] = {}
        self._is_starting_checks = False
        #: When an order came, by its verb, selector and name; the oldest first.
        self._orders: dict[tuple[str, str, str], float] = {}
        self._silent_until = 0.0

    def start(self) -> None:
        """Begin to watch."""
        if not self._authenticators:
            return
        # The hub keeps the subscription, and the broker tries again, whatever this brings.
        self._hub.subscribe(self).addErrback(lambda failure: None)
        self._expiry.start()
        if self._rounds is not None:
            self._rounds.start()

    def stop(self) -> None:
        """Watch no more."""
        self._hub.unsubscribe(self)
        self._expiry.stop()
        self._pending.clear()
        for check in list(self._checking.values()):
            check.cancel()
        if self._rounds is not None:
            self._rounds.stop()

    async def admit(self, handshake: Handshake) -> Accepted:
        """
        Decide on a handshake.

        Raises:
            HandshakeRejected: It is not let in.
        """
        since = self._clock.seconds()
        identity, granted = await self._decide(handshake)
        self._tell_colons(identity, granted)
        if self._was_ended(identity):
            raise HandshakeRejected("the session has ended", 401)
        return Accepted(handshake, identity, granted, since)

    def opened(self, connection: Connection, accepted: Accepted) -> None:
        """Watch over an accepted connection that is open now, if it belongs to anybody."""
        identity = accepted.identity
        if not self._authenticators or replace(identity, granted=None) == _STRANGER:
            return
        member = self._members[connection] = _Member(accepted.handshake)
        member.due = self._due(identity)
        for key in _indexed(identity):
            self._by_name.setdefault(key, set()).add(connection)
        if self._rounds is not None:
            self._rounds.add(connection)
        if self._was_ended(identity):
            self._end(connection, 4401, "the session has ended")
        elif self._was_ordered("end", accepted):
            self._end(connection, 4401, "the user or a group was ended")
        elif self._was_ordered("recheck", accepted):
            self._recheck(connection)

    def connection_lost(self, connection: Connection) -> None:
        """Forget a connection. Harmless for a stranger."""
        if self._members.pop(connection, None) is None:
            return
        self._pending.pop(connection, None)
        if self._rounds is not None:
            self._rounds.discard(connection)
        for key in _indexed(connection.identity):
            some = self._by_name[key]
            some.discard(connection)
            if not some:
                del self._by_name[key]

    # -- wsredis.gateway.hub.Listener

    def deliver(self, items: Sequence[Publication]) -> None:
        """Take orders of the application."""
        for item in items:
            order = _parse(item.payload)
            if order is None:
                self._log.warn(
                    "an order on {channel!r} is not understood", channel=item.channel.decode()
                )
            else:
                self._obey(*order)

    def restore(self, item: Publication) -> None:
        """Orders are for those who are there."""

    def forbid(self) -> None:
        """Go on without orders."""
        self._log.warn(
            "Redis forbids {channel!r}: that a session ended is noticed late, by --recheck only",
            channel=self.channels[0].decode(),
        )

    # -- Decisions

    async def _decide(self, handshake: Handshake) -> tuple[Identity, Access]:
        questions = _Questions(self._clock, self._timeout)
        headers = handshake.headers
        if (
            self._is_foreign is not None
            and any(name in headers for name in _AMBIENT)
            and self._is_foreign(handshake)
        ):
            handshake = _without_credentials(handshake)
        identity = _STRANGER
        for authenticator in self._authenticators:
            known = await questions.ask(authenticator.identify, handshake)
            if known is not None:
                identity = known
                break
        if identity.expires is not None and identity.expires <= self._wall_clock():
            raise HandshakeRejected("the credentials have expired", 401)
        granted = identity.granted or handshake.requested
        for policy in self._policies:
            if granted is not handshake.requested:
                handshake = replace(handshake, requested=granted)
            granted = await questions.ask(policy.allow, identity, handshake)
        return identity, granted

    def _tell_colons(self, identity: Identity, granted: Access) -> None:
        for kind, name in _names(identity):
            if ":" in name and Audience(kind) in granted.subscribe | granted.publish:
                self._log.warn(
                    "the {kind} {name!r} gets no channel: there is a colon in the name",
                    kind=kind,
                    name=name if kind != "session" else "...",
                )

    def _due(self, identity: Identity) -> float | None:
        if identity.expires is None:
            return None
        # Once only: a step of the system's clock must not end or prolong anything later.
        return self._clock.seconds() + identity.expires - self._wall_clock()

    def _look_for_expired(self, count: int) -> None:
        now = self._clock.seconds()
        for connection, member in list(self._members.items()):
            if member.due is not None and member.due <= now:
                self._end(connection, 4401, "the credentials have expired")

    # -- Orders

    def _obey(self, verb: str, selector: str, name: str) -> None:
        self._ordered()
        now = self._clock.seconds()
        self._orders.pop((verb, selector, name), None)
        self._orders[verb, selector, name] = now
        for key, when in list(islice(self._orders.items(), 2)):
            if when < now - _REMEMBERED or len(self._orders) > _ORDERS:
                del self._orders[key]
        for connection in self._select(selector, name):
            if verb == "end":
                self._end(connection, 4401, f"its {selector} was ended")
            else:
                self._recheck(connection)

    def _select(self, selector: str, name: str) -> list[Connection]:
        if selector == "group":
            return [each for each in self._members if name in each.identity.groups]
        return list(self._by_name.get((selector, name), ()))

    def _was_ordered(self, verb: str, accepted: Accepted) -> bool:
        """Whether there was an order about an identity while its client was being accepted."""
        return any(
            self._orders.get((verb, *key), -1.0) >= accepted.since
            for key in _names(accepted.identity)
        )

    def _was_ended(self, identity: Identity) -> bool:
        if identity.session is None:
            return False
        # Keys of sessions are never used again; users and groups may come back at once.
        when = self._orders.get(("end", "session", identity.session))
        return when is not None and when >= self._clock.seconds() - _REMEMBERED

    def _end(self, connection: Connection, code: int, reason: str) -> None:
        self._log.info("closing {peer}: {reason}", peer=connection.peer, reason=reason)
        connection.close(code, reason)

    # -- Checks of open connections

    def _recheck(self, connection: Connection) -> None:
        self._pending[connection] = None
        self._start_checks()

    def _start_checks(self) -> None:
        if self._is_starting_checks:
            # A check that needs no time ended within the loop below.
            return
        self._is_starting_checks = True
        while len(self._checking) < _CHECKS:
            ready = (each for each in self._pending if each not in self._checking)
            connection = next(ready, None)
            if connection is None:
                break
            del self._pending[connection]
            check = Deferred.fromCoroutine(self._check(connection))
            self._checking[connection] = check
            check.addErrback(self._not_checked).addBoth(self._checked, connection)
        self._is_starting_checks = False

    def _checked(self, _: object, connection: Connection) -> None:
        del self._checking[connection]
        self._start_checks()

    async def _check(self, connection: Connection) -> None:
        member = self._members[connection]
        try:
            identity, granted = await self._decide(member.handshake)
        except HandshakeRejected as refused:
            if refused.status not in (401, 403):
                raise
            code = 4401 if refused.status == 401 else 4403
            if connection in self._members:
                self._end(connection, code, refused.reason)
            return
        if connection not in self._members:
            return
        old = connection.identity
        if (identity.user, identity.session) != (old.user, old.session):
            self._end(connection, 4401, "the session has ended")
            return
        member.due = self._due(identity)
        if (identity.groups, granted) != (old.groups, connection.granted):
            try:
                await connection.change(identity, granted)
            except LimitExceeded as error:
                self._end(connection, error.code, error.reason)

    def _not_checked(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        now = self._clock.seconds()
        if now < self._silent_until:
            return
        self._silent_until = now + _REPEAT
        error = failure.value
        if isinstance(error, HandshakeRejected):
            self._log.warn(
                "identities cannot be checked again now, and stay: {reason}",
                reason=error.hint or error.reason,
            )
        else:
            self._log.failure("checking an identity failed, it stays", failure=failure)


def _without_credentials(handshake: Handshake) -> Handshake:
    """A handshake without what the page that asks does not know, and the browser sends."""
    headers = {name: value for name, value in handshake.headers.items() if name not in _AMBIENT}
    return replace(handshake, headers=headers)


def _names(identity: Identity) -> list[tuple[str, str]]:
    """What orders can mean a connection of this identity by."""
    return [*_indexed(identity), *(("group", name) for name in identity.groups)]


def _indexed(identity: Identity) -> list[tuple[str, str]]:
    found = (("user", identity.user), ("session", identity.session))
    return [(kind, name) for kind, name in found if name is not None]


def _parse(payload: bytes) -> tuple[str, str, str] | None:
    """Verb, selector and name of an order. None: it is none."""
    try:
        ((verb, target),) = json.loads(payload).items()
        ((selector, name),) = target.items()
    except (ValueError, AttributeError, RecursionError):
        return None
    if verb in ("end", "recheck") and selector in _SELECTORS and isinstance(name, str):
        return verb, selector, name
    return None
