"""The groups that channels of this process are in: a membership is a subscription."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from threading import RLock

from wsredis.group_names import loggable_group
from wsredis.layer.carrier import Carrier
from wsredis.layer.mailbox import Mailbox, Mailboxes
from wsredis.layer.messages import BadPayload
from wsredis.layer.quiet import Quiet
from wsredis.layer.routes import Route

__all__ = ["Handlers", "Memberships"]

#: What hears publications, by their names; for each host.
Handlers = list[dict[bytes, Callable[[bytes], None]]]


class _Group:
    """A group that has members here: mailboxes, and the times at which they were added."""

    __slots__ = ("members", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.members: dict[Mailbox, float] = {}


class Memberships:
    """
    Puts channels into groups, and hands them what comes for the groups.

    Args:
        mailboxes: Those of the process.
        carriers: That of each host.
        handlers: Where it puts what hears the groups.
        lock: That of the station.
        expiry: Seconds that a message is kept.
        group_expiry: Seconds after which a membership ends, unless it is renewed.
        quiet: For log lines.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        carriers: Sequence[Carrier],
        handlers: Handlers,
        lock: RLock,
        expiry: float,
        group_expiry: float,
        quiet: Quiet,
    ) -> None:
        self._mailboxes = mailboxes
        self._carriers = carriers
        self._handlers = handlers
        self._lock = lock
        self._expiry = expiry
        self._group_expiry = group_expiry
        self._quiet = quiet
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, mailbox: Mailbox, route: Route, done: Callable[[Exception | None], None]) -> None:
        """
        Put a channel into a group, or renew that.

        Args:
            done: Called when messages to the group come here, or with the reason why not. The
                channel is in the group all the same.
        """
        with self._lock:
            group = self._groups.get(route.group)
            if group is None:
                group = self._groups[route.group] = _Group(route)
                handler = self._hear(group)
                self._handlers[route.host][route.channel] = handler
            is_new = mailbox not in group.members
            group.members[mailbox] = self._mailboxes.clock()
            mailbox.groups.add(route.group)
        if is_new:
            self._carriers[route.host].subscribe(route.channel, done)
        else:
            done(None)

    def discard(self, mailbox: Mailbox, name: str) -> None:
        """Take a channel out of a group, if it is in."""
        with self._lock:
            group = self._groups.get(name)
            if group is None or group.members.pop(mailbox, None) is None:
                return
            mailbox.groups.discard(name)
            if not group.members:
                del self._groups[name]
                del self._handlers[group.route.host][group.route.channel]
        self._carriers[group.route.host].unsubscribe(group.route.channel)

    def discard_all(self, mailbox: Mailbox) -> None:
        """Take a channel out of all groups."""
        for name in list(mailbox.groups):
            self.discard(mailbox, name)

    def clear(self) -> None:
        """Empty all groups."""
        with self._lock:
            members = [each for group in self._groups.values() for each in group.members]
        for mailbox in members:
            self.discard_all(mailbox)

    def _hear(self, group: _Group) -> Callable[[bytes], None]:
        route = group.route
        shown = loggable_group(route.group)

        def heard(payload: bytes) -> None:
            try:
                parcel = route.parcel(payload)
            except BadPayload as error:
                self._quiet.line(
                    logging.WARNING, "bad", "dropped a message to group %s: %s", shown, error
                )
                return
            now = self._mailboxes.clock()
            letter = (now + self._expiry, parcel)
            loop = asyncio._get_running_loop()
            too_old = now - self._group_expiry
            full = 0
            expired = []
            with self._lock:
                self._mailboxes.prepare(parcel)
                total = len(group.members)
                for mailbox, since in group.members.items():
                    if since < too_old:
                        expired.append(mailbox)
                    elif not mailbox.put(letter, loop):
                        full += 1
            for mailbox in expired:
                self.discard(mailbox, route.group)
            if full:
                self._quiet.line(
                    logging.INFO,
                    ("full", route.group),
                    "%s of %s channels over capacity in group %s",
                    full,
                    total,
                    shown,
                )

        return heard
