"""
The default dialect, that of django-websocket-redis: a message is its payload and nothing else.

The path of a URL after the prefix is the facility. The *keys* of the query are flags: they name the
audiences that a connection subscribes to and publishes to. A client does not hear its own messages
again unless it asks for the echo, and hears first the stored message of each of its channels.

It is one module because the dialect and its two kinds of connections know each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.channels import FLAGS, Access, audiences_of, channel_names
from wsredis.dialects.forwarding import Forward, Forwarder
from wsredis.dialects.urls import parse_access, parse_facility
from wsredis.errors import (
    BrokerError,
    BrokerUnavailable,
    ClientError,
    PermissionDenied,
    QueueFull,
)
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.enrolment import Enrolment
from wsredis.gateway.hello import SUBPROTOCOL
from wsredis.gateway.identity import Identity
from wsredis.gateway.publication import Publication

__all__ = ["EnrolledConnection", "PlainConnection", "PlainDialect"]

#: URLs that are remembered, and their length in characters.
_MAX_URLS = 1024
_MAX_URL = 256

#: A URL whose parameters are all of these holds no secret, and may be remembered.
_WHOLE_FLAGS = FLAGS | {"echo"}

#: Seconds between two text heartbeats; ws4redis.js gives up after 15 to 20.
_HEARTBEAT_INTERVAL = 4.0

#: The deliveries of messages that are published without a look at each.
_MAX_DELIVERIES = 1024

#: How many of its own messages a connection waits to see again. The oldest is forgotten first.
_MAX_OWN_MESSAGES = 1024


class PlainDialect:
    """
    See `wsredis.gateway.dialect.Dialect`.

    Args:
        heartbeat: The text that both sides send as a sign of life. If None, there is none.
        url_prefix: The start of the path of every WebSocket URL; it ends with a slash.
        prefix: Put before every channel, with a colon. If empty, nothing is put there.
        forwarder: Knows which messages workers hear, too. If None, they hear none.

    Attributes:
        prefix, forwarder: As they were given.
    """

    #: Redis carries no message type, and a browser fails the connection on a text message that is
    #: not UTF-8.
    is_binary: bool | None = None

    heartbeat_interval = _HEARTBEAT_INTERVAL

    takes_batches = True

    def __init__(
        self,
        heartbeat: str | None = None,
        url_prefix: str = "/ws/",
        prefix: str = "",
        forwarder: Forwarder | None = None,
    ) -> None:
        self.heartbeat = None if heartbeat is None else heartbeat.encode()
        self.prefix = prefix
        self.forwarder = forwarder
        self._url_prefix = url_prefix
        #: The access that URLs ask for; the oldest comes first, and is forgotten first.
        self._parsed: dict[tuple[str, str], Access] = {}

    def parse(self, path: str, query: str) -> Access | None:
        """See `wsredis.gateway.dialect.Dialect.parse`."""
        known = self._parsed.get((path, query))
        if known is not None:
            return known
        if not path.startswith(self._url_prefix):
            return None
        access = parse_access(parse_facility(path[len(self._url_prefix) :]), query)
        if self.forwarder is not None and self.forwarder.hears(access.facility):
            access = replace(access, forward=True)
        if len(path) + len(query) <= _MAX_URL and _WHOLE_FLAGS.issuperset(query.split("&")):
            if len(self._parsed) >= _MAX_URLS:
                del self._parsed[next(iter(self._parsed))]
            self._parsed[path, query] = access
        return access

    def choose_subprotocol(self, offered: Sequence[str]) -> str | None:
        """
        Choose ``wsredis``, else the first, as ws4redis answers with the one that it is offered.

        An offer that carries a token is chosen only if there is no other: browsers close a
        WebSocket if none of the offers of the page is chosen.
        """
        if not offered:
            return None
        if SUBPROTOCOL in offered:
            return SUBPROTOCOL
        others = [name for name in offered if not name.startswith("bearer.")]
        return (others or offered)[0]

    #: See `wsredis.gateway.dialect.Dialect.encode`. It is called for every publication, hence no
    #: method of ours.
    encode = staticmethod(attrgetter("payload"))

    def channels(
        self, identity: Identity, access: Access
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Name the channels that a client subscribes to, and those that it publishes on."""
        # As `Identity.channels`, but all clients share the tuple of the broadcast channel.
        names = partial(
            channel_names, user=identity.user, groups=identity.groups, session=identity.session
        )
        return (
            names(self.prefix, access.facility, access.subscribe),
            names(self.prefix, access.facility, access.publish) if access.publish else (),
        )

    def connection(self, parts: ConnectionParts) -> PlainConnection:
        """See `wsredis.gateway.dialect.Dialect.connection`."""
        if parts.enrolment is not None:
            return EnrolledConnection(self, parts, parts.enrolment)
        return PlainConnection(self, parts)


class PlainConnection(Connection):
    """A client of the plain dialect."""

    _log = Logger()

    __slots__ = ("_dialect", "_forward", "_last", "_own", "_own_copies")

    def __init__(self, dialect: PlainDialect, parts: ConnectionParts) -> None:
        super().__init__(parts)
        self._dialect = dialect
        self.channels, self.publishes = dialect.channels(parts.identity, parts.granted)
        #: The echo rule: the hash of the last message of the client, and of those that are under
        #: way to Redis and back, with the number of copies to expect.
        self._last: int | None = None
        self._own: dict[int, int] | None = None
        self._own_copies = _common(self.channels, self.publishes)
        #: Hands what the client says to workers. If None, they do not hear it.
        self._forward = self._make_forward()

    def _make_forward(self) -> Forward | None:
        forwarder = self._dialect.forwarder
        if forwarder is None or not self.granted.forward:
            return None
        queue = forwarder.queue(self.granted.facility)
        if queue is None:
            # A policy has put another facility in its place.
            return None
        return Forward(self, forwarder, queue, self.identity, self.granted)

    @property
    def is_deaf(self) -> bool:
        """See `Connection.is_deaf`. A handler can send to any client."""
        if self.channels or self._handler is not None:
            return False
        return bool(self.granted.subscribe) or not (self.publishes or self._forward)

    @property
    def may_speak(self) -> bool:
        """See `Connection.may_speak`. A worker may hear it."""
        return self._forward is not None or super().may_speak

    def audiences(self) -> tuple[list[str], list[str]]:
        """See `Connection.audiences`. One without a channel is not among them."""
        prefix = self._dialect.prefix
        return audiences_of(prefix, self.channels), audiences_of(prefix, self.publishes)

    def open(self) -> Deferred[Mapping[bytes, bytes]]:
        """See `Connection.open`."""
        self.check_limit(self.publishes)
        return super().open()

    def stored(self) -> Deferred[Mapping[bytes, bytes]]:
        """See `Connection.stored`."""
        fetched: Deferred[Any] = self._hub.broker.fetch(self.channels)
        return fetched

    def first_publications(
        self, stored: Mapping[bytes, bytes], held_back: Sequence[Publication]
    ) -> Iterator[Publication]:
        """
        Choose the stored messages in the order of the channels, then those that were held back.

        A stored message that also arrived live meanwhile is sent once, as the live one.
        """
        live = {(item.channel, item.payload) for item in held_back}
        wanted = {name: stored[name] for name in self.channels if name in stored}
        for publication in self._hub.without_oversized(wanted):
            if (publication.channel, publication.payload) not in live:
                self._hub.mark_stored(self, publication)
                yield publication
        yield from held_back

    async def change(self, identity: Identity, granted: Access) -> None:
        """
        Go on with other groups or another access: the subscriptions follow, and the client is told.

        The stored messages of channels that are new to it are sent. If Redis is away, they come
        when it is back.

        Raises:
            LimitExceeded: More channels than `Limits.max_channels`. Nothing changed.
        """
        channels, publish_channels = self._dialect.channels(identity, granted)
        self.check_limit(channels)
        self.check_limit(publish_channels)
        await super().change(identity, granted)
        self.publishes = publish_channels
        self._own_copies = _common(channels, publish_channels)
        self._forward = self._make_forward()
        new = [name for name in channels if name not in self.channels]
        self.unsubscribe([name for name in self.channels if name not in channels])
        stored: Mapping[bytes, bytes] = {}
        try:
            if new:
                await self.subscribe(new)
                stored = await self._hub.broker.fetch(new)
        except BrokerUnavailable:
            # The subscriptions hold.
            pass
        except PermissionDenied:
            self.forbid()
            return
        self._client.tell_rights()
        for publication in self._hub.without_oversized(stored):
            if self.is_open and self._hub.is_fresh(self, publication.channel):
                self._hub.mark_stored(self, publication)
                self._write_publications([publication])

    def receive_all(self, payloads: Sequence[bytes]) -> int:
        """See `Connection.receive_all`. Messages that are only published are not looked at."""
        names, hub, count = self.publishes, self._hub, len(payloads)
        reach = hub.reach(names)
        if (
            reach * count > _MAX_DELIVERIES
            or self._handler is not None
            or self._forward is not None
            or not self.is_open
            or self._dialect.heartbeat in payloads
        ):
            return super().receive_all(payloads)
        published = payloads
        if not all(payloads):
            published = [*filter(None, payloads)]
            if self._client.takes_notices:
                # See `Connection.receive`.
                if published:
                    self.receive_all(published)
                return count
        hub.metrics.received += count
        self.messages += count
        self._remember(payloads)
        if names and published:
            self.publish_all_on(names, published, reach)
        elif published:
            self.discard(len(published))
        return count

    def received(self, payload: bytes, is_binary: bool) -> None:
        """
        Answer a heartbeat, and hand on any other message.

        An empty one is for a handler only: `publish` leaves it out.
        """
        if payload == self._dialect.heartbeat:
            self._remember((b"",))
            assert self.encoding.heartbeat is not None
            self.write(self.encoding.heartbeat)
            return
        if not payload:
            # Also if a handler keeps it for itself.
            self._remember((b"",))
        self.handle_message(payload, is_binary)

    def publish(self, payload: bytes) -> None:
        """
        Publish on all channels that were granted, and hand it over to a worker if there are some.

        With neither it is discarded; if it is empty, nothing is done. A failure closes the
        connection: with 1013 if Redis is away or no worker has room, with 1008 if Redis forbids.
        """
        self._remember((payload,))
        if not (payload and self.is_open):
            return
        if self._forward is not None:
            self._forward.hand_over(payload)
            if not (self.publishes and self.is_open):
                return
        if self.publishes:
            self.publish_on(self.publishes, payload)
        else:
            self.discard(1)

    def forwarded(self, count: int) -> None:
        """See `wsredis.dialects.forwarding.Speaker.forwarded`."""
        self._hub.metrics.forwarded += count

    def not_forwarded(self, error: Exception, channel: str) -> None:
        """See `wsredis.dialects.forwarding.Speaker.not_forwarded`."""
        self._hub.metrics.unforwarded += 1
        if isinstance(error, QueueFull):
            self._hub.metrics.limits["forward-capacity"] += 1
        if self.is_open:
            code = self._close_over(error)
            self._hub.log_loss(
                self._log,
                "not-forwarded",
                "a message from {peer} ({id}) was not handed over to a worker of {channel}: "
                "{error}; closing with {code}",
                peer=self.peer,
                id=self.id,
                channel=channel,
                error=str(error),
                code=code,
            )

    def publish_failed(self, error: Exception, size: int) -> None:
        """Close with a code that says why Redis did not confirm a message."""
        code = self._close_over(error)
        self._hub.log_loss(
            self._log,
            "not-confirmed",
            "a message of {size} bytes from {peer} ({id}) was not confirmed: {error}; "
            "closing with {code}",
            size=size,
            peer=self.peer,
            id=self.id,
            error=str(error),
            code=code,
        )

    def _close_over(self, error: Exception) -> int:
        """Close over a message that got nowhere, and return the code."""
        if isinstance(error, BrokerError):
            code, reason = 1013, "the message could not be published: try again later"
        elif isinstance(error, ClientError):
            code, reason = error.code, error.reason
        else:
            self._hub.log_failure(self._log, "publish-failed", "publishing failed", Failure(error))
            code, reason = 1011, "internal error"
        self._client.close(code, reason)
        return code

    def audible(self, items: Sequence[Publication]) -> list[Publication]:
        """
        Apply the echo rule of django-websocket-redis, which goes by content.

        The client does not hear a message that equals the last one that it sent, nor an earlier one
        of its own that is still on its way back.
        """
        own = self._own
        heard = []
        for item in items:
            digest = hash(item.payload)
            if own and digest in own:
                own[digest] -= 1
                if not own[digest]:
                    del own[digest]
            elif digest != self._last:
                heard.append(item)
        return heard

    def choose_path(self) -> None:
        """See `Connection.choose_path`."""
        hears_all = self.is_open and self._last is None and not self._own and self._put is None
        self.direct = self._client.queue if hears_all else None

    def _remember(self, payloads: Sequence[bytes]) -> None:
        """Remember what the client has sent. After an empty message nothing is its last one."""
        if self.granted.echo:
            return
        last = payloads[-1]
        self._last = hash(last) if last else None
        if self._own_copies:
            own = self._own = self._own or {}
            for digest in map(hash, filter(None, payloads)):
                own[digest] = own.get(digest, 0) + self._own_copies
            while len(own) > _MAX_OWN_MESSAGES:
                del own[next(iter(own))]
        self.choose_path()


class EnrolledConnection(PlainConnection):
    """
    A client whose channels a project's own subscriber chose.

    Args:
        enrolment: Its choice, which is released when the connection is closed.
    """

    _log = Logger()

    chooses_channels = True

    __slots__ = ("_enrolment", "_first", "_taking", "_turn")

    def __init__(self, dialect: PlainDialect, parts: ConnectionParts, enrolment: Enrolment) -> None:
        super().__init__(dialect, parts)
        self._enrolment = enrolment
        self.channels, self.publishes = tuple(enrolment.channels), tuple(enrolment.publishes)
        #: A subscriber that takes messages may send them on changed, or not at all.
        takes = enrolment.takes_messages
        self._own_copies = 0 if takes else _common(self.channels, self.publishes)
        self._first: Sequence[bytes] = ()
        #: Messages are handed over one after the other.
        self._turn = DeferredLock()
        self._taking = 0

    @property
    def is_deaf(self) -> bool:
        """See `Connection.is_deaf`. A subscriber can answer any message."""
        return not self._enrolment.takes_messages and super().is_deaf

    @property
    def may_speak(self) -> bool:
        """See `Connection.may_speak`. A subscriber can answer any message."""
        return self._enrolment.takes_messages or super().may_speak

    def open(self) -> Deferred[Mapping[bytes, bytes]]:
        """See `Connection.open`."""
        if self.channels or not self._enrolment.chooses_first:
            return super().open()
        self.check_limit(self.publishes)
        return self.stored()

    def stored(self) -> Deferred[Mapping[bytes, bytes]]:
        """See `Connection.stored`."""
        if not self._enrolment.chooses_first:
            return super().stored()
        return self._enrolment.first().addCallback(self._chosen)

    def _chosen(self, messages: Sequence[bytes]) -> Deferred[Mapping[bytes, bytes]]:
        self.check_limit(self._enrolment.channels)
        self.check_limit(self._enrolment.publishes)
        self._first = messages
        return Deferred.fromCoroutine(self._passed_over(self.channels))

    async def _passed_over(self, names: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Read stored messages that are not sent: they are not news after an outage either."""
        if not names:
            return {}
        try:
            stored: Mapping[bytes, bytes] = await self._hub.broker.fetch(names)
        except PermissionDenied:
            return {}
        return stored

    def first_publications(
        self, stored: Mapping[bytes, bytes], held_back: Sequence[Publication]
    ) -> Iterator[Publication]:
        """Choose the messages of the subscriber, if it chooses, in place of the stored ones."""
        if not self._enrolment.chooses_first:
            yield from super().first_publications(stored, held_back)
            return
        self.pass_over(stored)
        messages, self._first = self._first, ()
        live = {item.payload for item in held_back}
        yield from (Publication(b"", each) for each in messages if each not in live)
        yield from held_back

    def opened(self, stored: Mapping[bytes, bytes], answer: bytes = b"") -> None:
        """See `Connection.opened`."""
        super().opened(stored, answer)
        self._follow(())

    def resumed(
        self, stored: Mapping[bytes, bytes], missed: Sequence[Publication], answer: bytes
    ) -> None:
        """See `Connection.resumed`."""
        self._first = ()
        super().resumed(stored, missed, answer)
        self._follow(())

    def receive_all(self, payloads: Sequence[bytes]) -> int:
        """See `Connection.receive_all`."""
        if self._enrolment.takes_messages:
            return Connection.receive_all(self, payloads)
        return super().receive_all(payloads)

    def publish(self, payload: bytes) -> None:
        """
        Hand a message over to the subscriber, if it takes messages, and read no other meanwhile.

        A worker hears it as the client said it.
        If it fails, the connection is closed, as in `PlainConnection.publish`.
        """
        if not self._enrolment.takes_messages:
            super().publish(payload)
            return
        self._remember((payload,))
        if not (payload and self.is_open):
            return
        if self._forward is not None:
            self._forward.hand_over(payload)
            if not self.is_open:
                return
        if work := self._hub.reach(self.publishes):
            # They may be other channels in the end; these are the best guess.
            self._client.charge(work)
        self._client.pause(PauseReason.SUBSCRIBER)
        self._taking += 1
        taken: Deferred[Any] = self._turn.run(self._enrolment.take, payload)
        taken.addCallback(self._follow)
        taken.addErrback(self._not_taken, len(payload))
        taken.addErrback(self._crashed)
        taken.addCallback(self._taken)

    def _not_taken(self, failure: Failure, size: int) -> None:
        self._hub.metrics.unpublished += 1
        error = failure.value
        if self.is_open:
            assert isinstance(error, Exception)
            self.publish_failed(error, size)

    def _taken(self, _: object) -> None:
        self._taking -= 1
        if not self._taking:
            self._client.resume(PauseReason.SUBSCRIBER)

    def _follow(self, messages: Sequence[bytes]) -> Deferred[None] | None:
        """
        Send *messages* to the client, and go on with the channels that the subscriber chose.

        Returns:
            Fires when the client hears the new ones. None if there are none.
        """
        if not self.is_open:
            return None
        items = [Publication(b"", each) for each in messages]
        self._count_bytes(items)
        self._write_publications(items)
        before = self.audiences()
        channels = self._enrolment.channels
        self.check_limit(channels)
        self.check_limit(self._enrolment.publishes)
        self.publishes = tuple(self._enrolment.publishes)
        lost = [name for name in self.channels if name not in channels]
        if lost:
            self.unsubscribe(lost)
        new = [name for name in channels if name not in self.channels]
        joined = None
        if new:
            joined = Deferred.fromCoroutine(self._join(new))
            joined.addErrback(self._not_joined).addErrback(self._crashed)
        if self.audiences() != before:
            self._client.tell_rights()
        return joined

    async def _join(self, names: Sequence[bytes]) -> None:
        await self.subscribe(names)
        self.pass_over(await self._passed_over(names))

    def _not_joined(self, failure: Failure) -> None:
        # If Redis is away, the subscription becomes active when it is back.
        if failure.trap(BrokerUnavailable, PermissionDenied) is PermissionDenied:
            self.forbid()

    async def change(self, identity: Identity, granted: Access) -> None:
        """
        Go on with other groups or another access, of which only what is less counts.

        The subscriber is not asked again. The default channels that the client has no right to any
        more are left. A client with other channels, or whose subscriber takes messages, is closed
        with 1012: it may come back, and is enrolled anew.
        """
        # A right to publish may stay when the one to hear is lost, and the other way around.
        heard, said = map(frozenset, self._dialect.channels(self.identity, self.granted))
        hears, says = map(frozenset, self._dialect.channels(identity, granted))
        before = heard | said
        gone = before - hears - says
        unheard, unsaid = gone | heard - hears, gone | said - says
        is_less = bool(unheard or unsaid) or not (
            set(self.identity.groups) <= set(identity.groups)
            and set(self.identity.memberships) <= set(identity.memberships)
            and set(self.granted.flags) <= set(granted.flags)
            and set(self.granted.own) <= set(granted.own)
        )
        is_known = before.issuperset(self.channels) and before.issuperset(self.publishes)
        await Connection.change(self, identity, granted)
        self._forward = self._make_forward()
        if is_less and (self._enrolment.takes_messages or not is_known):
            self.close(1012, "what you may do has changed: connect again")
            return
        self.publishes = tuple(name for name in self.publishes if name not in unsaid)
        self._own_copies = _common(self.channels, self.publishes)
        self.unsubscribe([name for name in self.channels if name in unheard])
        self._client.tell_rights()

    def closed(self) -> None:
        """See `Connection.closed`."""
        super().closed()
        self._enrolment.release()


def _common(some: Sequence[bytes], others: Sequence[bytes]) -> int:
    """Count the channels that are among both."""
    return len(set(some).intersection(others)) if others else 0
