"""
The commands that the application sends on the control channel, and the memory of recent ones.

* ``{"end": {"session": KEY}}`` closes the connections of a session.
* ``{"recheck": {"user": NAME}}`` identifies the connections of a user again.

In both, the inner key may be user, group or session.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import NamedTuple, TypeVar

from twisted.internet.interfaces import IReactorTime

from wsredis.gateway.identity import Identity

__all__ = ["Command", "RecentCommands", "all_names", "fixed_names", "parse_command"]

#: Seconds for which a command is remembered. A client that connects with a session that is being
#: ended may still find it in the database.
_REMEMBERED = 30.0

#: Seconds for which the end of a session is remembered at least: a token may be valid for as long.
_REMEMBERED_END = 86400.0

#: Commands that are remembered, and ends of sessions. The oldest is forgotten first.
_MAX_REMEMBERED = 10000

_Key = TypeVar("_Key")

_VERBS = ("end", "recheck")
_SELECTORS = ("user", "group", "session")


class Command(NamedTuple):
    """
    One command.

    Attributes:
        verb: "end" or "recheck".
        selector: "user", "group" or "session".
        name: Name of the user or group, or key of the session.
    """

    verb: str
    selector: str
    name: str


def parse_command(payload: bytes) -> Command | None:
    """
    Read a message of the control channel.

    Returns:
        The command, or None if the message is malformed.
    """
    try:
        ((verb, target),) = json.loads(payload).items()
        ((selector, name),) = target.items()
    except (ValueError, AttributeError, RecursionError):
        return None
    if verb in _VERBS and selector in _SELECTORS and isinstance(name, str):
        return Command(verb, selector, name)
    return None


def fixed_names(identity: Identity) -> list[tuple[str, str]]:
    """List the selectors and names of *identity* that stay as long as its connection does."""
    found = (("user", identity.user), ("session", identity.session))
    return [(selector, name) for selector, name in found if name is not None]


def all_names(identity: Identity) -> list[tuple[str, str]]:
    """List all selectors and names by which a command can mean *identity*."""
    return fixed_names(identity) + [("group", name) for name in identity.groups]


class RecentCommands:
    """
    Remembers commands for 30 seconds, for clients that connect meanwhile.

    The end of a session is remembered for longer, for clients that come again.

    Args:
        clock: Tells the time.
        session_age: Seconds for which sessions live. Their end is remembered for as long, and for
            a day at least.
    """

    def __init__(self, clock: IReactorTime, session_age: float = 0.0) -> None:
        self._clock = clock
        self._remembered_end = max(_REMEMBERED_END, session_age)
        #: Time of each command, in seconds of the reactor; the oldest first.
        self._times: dict[Command, float] = {}
        #: Time of the end of each session, likewise.
        self._ended: dict[str, float] = {}

    def __len__(self) -> int:
        """The number of commands that are remembered."""
        return len(self._times)

    def __contains__(self, command: Command) -> bool:
        return command in self._times

    def add(self, command: Command, given: float | None = None) -> None:
        """
        Remember a command.

        Args:
            given: Time at which it was given, in seconds of the reactor. If None, now.
        """
        now = self._clock.seconds()
        time = now if given is None else given
        if command.verb == "end" and command.selector == "session":
            _remember(self._ended, command.name, time, now - self._remembered_end)
        _remember(self._times, command, time, now - _REMEMBERED)

    def has_ended(self, identity: Identity) -> bool:
        """
        Tell whether the session of *identity* was ended, within the time that it could have lived.

        A session key is never used again, so it stays refused. Users and groups may come back at
        once.
        """
        if identity.session is None:
            return False
        time = self._ended.get(identity.session)
        return time is not None and time >= self._clock.seconds() - self._remembered_end

    def came_since(self, verb: str, identity: Identity, since: float) -> bool:
        """
        Tell whether a command *verb* about *identity* came at or after *since*.

        Args:
            verb: "end" or "recheck".
            identity: The identity.
            since: In seconds of the reactor.
        """
        return any(
            self._times.get(Command(verb, *each), -1.0) >= since for each in all_names(identity)
        )


def _remember(times: dict[_Key, float], key: _Key, time: float, oldest: float) -> None:
    """Set a time, and remove two old ones, at constant cost."""
    times[key] = max(time, times.pop(key, time))
    for each, other in list(islice(times.items(), 2)):
        if other < oldest or len(times) > _MAX_REMEMBERED:
            del times[each]
