"""What a layer has in one process: its name there, its consumers, their groups, its carriers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import RLock
from time import monotonic, time
from typing import Any
from uuid import uuid4

from channels.exceptions import ChannelFull

from wsredis.config.redis_url import error_text
from wsredis.layer.answers import ask
from wsredis.layer.carrier import Carrier, Command, Done, carrier_for
from wsredis.layer.dial import Dial, dial
from wsredis.layer.errors import LayerUnavailable
from wsredis.layer.gaps import gap_parcel
from wsredis.layer.gateway_channels import GatewayChannels
from wsredis.layer.home import Home
from wsredis.layer.hosts import Host
from wsredis.layer.mailbox import Mailbox, Mailboxes
from wsredis.layer.members import Handlers, Memberships
from wsredis.layer.messages import Codec, Message, Verb
from wsredis.layer.multiplex import Multiplex
from wsredis.layer.names import Names, client_of, host_of
from wsredis.layer.orders import Orders
from wsredis.layer.queues import Queues
from wsredis.layer.quiet import Quiet
from wsredis.layer.routes import Routes

__all__ = ["Settings", "Station"]

_log = logging.getLogger("wsredis.layer")


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a layer is made with.

    Attributes:
        hosts: Where Redis is, or several.
        codec: Encodes messages.
        capacity: Returns the number of messages that may wait for a channel.
        prefix: The first part of all names in Redis.
        expiry: Seconds that a message is kept.
        group_expiry: Seconds after which a membership ends, unless it is renewed.
        gateway: Knows the groups that are channels of the gateway. If None, there are none.
        dial: Connects.
        clock: Returns the time in seconds.
    """

    hosts: Sequence[Host]
    codec: Codec
    capacity: Callable[[str], int]
    prefix: str
    expiry: float
    group_expiry: float
    gateway: GatewayChannels | None = None
    dial: Dial = dial
    clock: Callable[[], float] = monotonic


class _HostSink:
    """Hears one host."""

    def __init__(self, station: Station, number: int) -> None:
        self._station = station
        self._handlers = station.handlers[number]

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `Sink`."""
        handler = self._handlers.get(channel)
        if handler is not None:
            handler(payload)

    def gap(self, seconds: float) -> None:
        """See `Sink`."""
        self._station.gap(seconds)


class Station:
    """
    The layer in this process.

    Attributes:
        client: The part of its channels that names the process.
        names: The names on each host.
        carriers: The way to each host.
        home: Finds the loop that reads. If None, the carriers need none.
        routes: The ways to groups.
        mailboxes: The messages for consumers here.
        memberships: The groups of consumers here.
        queues: Worker channels.
        orders: What processes tell each other.
        handlers: What hears publications, by their names; for each host.
        quiet: For log lines that may come often.
        is_joined: Whether what is sent to this process is heard.
    """

    def __init__(self, settings: Settings) -> None:
        hosts = settings.hosts
        self.settings = settings
        self.client = uuid4().hex
        self.names = [Names(settings.prefix, host.target.database) for host in hosts]
        self.handlers: Handlers = [{} for _ in hosts]
        self.home: Home | None = None
        self._own: list[Multiplex] = []
        self.carriers = [self._carrier(number, host) for number, host in enumerate(hosts)]
        self.routes = Routes(self.names, settings.codec, settings.gateway)
        self.quiet = Quiet(_log, clock=settings.clock)
        self.lock = RLock()
        self.mailboxes = Mailboxes(
            settings.capacity, self._removed, self.lock, clock=settings.clock
        )
        self.memberships = Memberships(
            self.mailboxes,
            self.carriers,
            self.handlers,
            self.lock,
            settings.expiry,
            settings.group_expiry,
            self.quiet,
        )
        self.orders = Orders(
            self.client,
            publish=self._publish,
            forget=self.forget,
            codec=settings.codec,
            mailboxes=self.mailboxes,
            memberships=self.memberships,
            routes=self.routes,
            expiry=settings.expiry,
            lock=self.lock,
            quiet=self.quiet,
        )
        self.queues = Queues(
            self.names,
            self.carriers,
            self.handlers,
            settings.codec,
            settings.expiry,
            settings.capacity,
            self.lock,
        )
        self.is_joined = False

    def _carrier(self, number: int, host: Host) -> Carrier:
        sink = _HostSink(self, number)
        # Only Sentinels know which server it is.
        carrier = None if host.sentinels else carrier_for(host.target, sink)
        if carrier is None:
            if self.home is None:
                self.home = Home()
            carrier = Multiplex(host, sink, self.home, self.settings.dial)
            self._own.append(carrier)
        return carrier

    def _removed(self, mailbox: Mailbox) -> None:
        self.memberships.discard_all(mailbox)

    # -- The channels of this process

    async def join(self) -> None:
        """
        Hear what is sent to this process, if it does not yet.

        If Redis is away, it is heard from when it is back, and consumers are told of the gap.
        """
        if self.is_joined:
            return
        number = host_of(self.client, len(self.carriers))
        carrier, names = self.carriers[number], self.names[number]
        for name in (names.everyone, names.process(self.client)):
            self.handlers[number][name] = self.orders.heard
            try:
                await ask(self.home, partial(carrier.subscribe, name))
            except LayerUnavailable as error:
                _log.warning("what is sent to this process is not heard yet: %s", error)
        self.is_joined = True

    def open(self, channel: str, consumer: object, hears_gaps: bool) -> None:
        """
        Make the mailbox of a channel.

        Args:
            consumer: The one that reads it. If None, it is not known.
            hears_gaps: Whether it is told of gaps.
        """
        with self.lock:
            self.mailboxes.make(channel, consumer).hears_gaps = hears_gaps

    async def receive(self, channel: str) -> Message:
        """Wait for a message to a channel of this process."""
        with self.lock:
            mailbox = self.mailboxes.make(channel)
        return (await mailbox.receive(self.home)).take()

    async def send(self, client: str, channel: str, message: Message) -> None:
        """
        Send to a channel of a process.

        Raises:
            ChannelFull: It is one of this process, and too many messages wait for it.
            LayerUnavailable, LayerOutcomeUnknown: Redis is away.
        """
        if client == self.client:
            mailbox = self.mailboxes.get(channel)
            if mailbox is not None and mailbox.is_full():
                raise ChannelFull(channel)
        order = self.settings.codec.encode_order(Verb.MESSAGE, channel, message)
        number = host_of(client, len(self.carriers))
        await self.call(number, [(b"PUBLISH", self.names[number].process(client), order)])

    def _publish(self, client: str, order: bytes, done: Done) -> None:
        number = host_of(client, len(self.carriers))
        name = self.names[number].process(client)
        self.carriers[number].call([(b"PUBLISH", name, order)], done)

    async def call(self, host: int, commands: Sequence[Command]) -> Sequence[Any]:
        """
        Send commands, and wait for the replies.

        Raises:
            LayerUnavailable, LayerOutcomeUnknown: Redis is away, or refuses one of them.
        """
        replies: Sequence[Any] = await ask(self.home, partial(self.carriers[host].call, commands))
        for reply in replies:
            if isinstance(reply, Exception):
                raise LayerUnavailable(error_text(reply))
        return replies

    # -- Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Put a channel into a group."""
        route = self.routes.find(group)
        client = client_of(channel)
        if client is None:
            if route.queues is None:
                raise ValueError("a worker channel cannot be in a channel of the gateway")
            expiry = max(1, int(self.settings.group_expiry))
            await self.call(
                route.host,
                [("ZADD", route.queues, repr(time()), channel), ("EXPIRE", route.queues, expiry)],
            )
        elif client == self.client:
            await self.join()
            with self.lock:
                mailbox = self.mailboxes.make(channel)
            try:
                await ask(self.home, partial(self.memberships.add, mailbox, route))
            except BaseException:
                self.memberships.discard(mailbox, group)
                raise
        else:
            await self.join()
            await self.orders.ask(self.home, Verb.ADD, client, channel, group)

    async def group_discard(self, group: str, channel: str) -> None:
        """Take a channel out of a group."""
        route = self.routes.find(group)
        client = client_of(channel)
        if client is None:
            if route.queues is not None:
                await self.call(route.host, [("ZREM", route.queues, channel)])
        elif client == self.client:
            mailbox = self.mailboxes.get(channel)
            if mailbox is not None:
                self.memberships.discard(mailbox, group)
        else:
            await self.join()
            await self.orders.ask(self.home, Verb.DISCARD, client, channel, group)

    async def group_send(self, group: str, message: Message) -> None:
        """Send to all channels of a group."""
        route = self.routes.find(group)
        commands = [*route.commands(message)]
        if route.queues is None:
            await self.call(route.host, commands)
            return
        oldest = f"({time() - self.settings.group_expiry}"
        commands.append((b"ZRANGEBYSCORE", route.queues, oldest, b"+inf"))
        queues = (await self.call(route.host, commands))[-1]
        if queues:
            payload = self.settings.codec.encode(message)
            full = await self.queues.send_to_all(self.home, queues, payload)
            if full:
                text = "%s of %s channels over capacity in group %s"
                kind = ("full", group)
                self.quiet.line(logging.INFO, kind, text, full, len(queues), group)

    # --

    def gap(self, seconds: float) -> None:
        """Take note that publications may have been lost."""
        parcel = gap_parcel(seconds)
        with self.lock:
            for mailbox in self.mailboxes:
                if mailbox.hears_gaps:
                    mailbox.tell(parcel)
        self.queues.ring()

    async def flush(self) -> None:
        """Forget all messages and groups, here and in other processes."""
        self.forget()
        order = self.settings.codec.encode_order(Verb.FLUSH, self.client)
        for number, names in enumerate(self.names):
            await self.call(number, [(b"PUBLISH", names.everyone, order)])
            for pattern in names.key_patterns:
                await self._delete(number, pattern)

    async def _delete(self, number: int, pattern: bytes) -> None:
        cursor: bytes | str = "0"
        while True:
            scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            cursor, keys = (await self.call(number, [scan]))[0]
            if keys:
                await self.call(number, [("DEL", *keys)])
            if cursor == b"0":
                return

    def forget(self) -> None:
        """Forget the messages and groups of this process."""
        self.memberships.clear()
        with self.lock:
            self.mailboxes.clear()

    def close(self) -> None:
        """End the connections. The next use makes new ones; what comes until then is lost."""
        self.forget()
        self.is_joined = False
        self.queues.clear()
        for handlers in self.handlers:
            handlers.clear()
        for carrier in self.carriers:
            carrier.close()

    def abandon(self) -> None:
        """Drop the connections in a process that was forked: they are the parent's."""
        for carrier in self._own:
            carrier.abandon()
