"""
Tell the gateway that something about identities has changed.

The app does it by itself at what Django tells; a program does it with `control` for what happens
behind Django's back.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.db import transaction

from wsredis.channels import control_channel
from wsredis.publisher.base import BasePublisher, count_receivers
from wsredis.publisher.client import connect_as_project

__all__ = ["TIMEOUT", "Control", "control"]

#: Seconds that an application waits for Redis: once to connect, and once for the answer.
TIMEOUT = 0.5

#: Seconds in which nothing more is tried, after Redis was away: who deletes a thousand users shall
#: not wait a thousand times.
_PAUSE = 2.0

_log = logging.getLogger(__name__)


class Control:
    """
    Sends orders to the gateway.

    What is said in a transaction is sent when it is committed, and never if it is rolled back.
    Nothing is raised when Redis is away: a warning is logged, and the gateway finds out when it
    checks its connections the next time (``--recheck``).

    Args:
        connect: Gives a client of redis-py.
        clock: Seconds that never go back.
    """

    def __init__(self, connect: Callable[[], Any], clock: Callable[[], float]) -> None:
        self._connect = connect
        self._clock = clock
        self._silent_until = clock()

    def end_sessions(self, *keys: str | None, using: str | None = None) -> None:
        """
        Close the WebSockets of sessions that are no more, with 4401.

        Args:
            keys: Of the sessions. None and the empty one are left out.
            using: The database whose transaction is waited for. None: the default one.
        """
        self._tell("end", "session", keys, using)

    def recheck_users(self, *names: str | None, using: str | None = None) -> None:
        """
        Identify the WebSockets of users again: they are closed, or follow new groups.

        Args:
            names: Of the users. None and the empty one are left out.
            using: See `end_sessions`.
        """
        self._tell("recheck", "user", names, using)

    def recheck_groups(self, *names: str | None, using: str | None = None) -> None:
        """Likewise for all who are in these groups as the gateway knows them."""
        self._tell("recheck", "group", names, using)

    def _tell(
        self, verb: str, selector: str, names: Iterable[str | None], using: str | None
    ) -> None:
        named = dict.fromkeys(str(name) for name in names if name)
        orders = [json.dumps({verb: {selector: name}}) for name in named]
        if not orders:
            return
        publish = partial(self._publish, orders)
        try:
            transaction.on_commit(publish, using=using, robust=True)
        except Exception:
            # There is no database, or it is away, or nobody knows when this transaction ends, or
            # this is a coroutine, where Django allows none.
            publish()

    def _publish(self, orders: Sequence[str]) -> None:
        if self._clock() < self._silent_until:
            return
        try:
            channel = control_channel(BasePublisher().get_prefix()[:-1])
            commands = [("PUBLISH", channel, order) for order in orders]
            with self._connect().pipeline(transaction=False) as together:
                for words in commands:
                    together.execute_command(*words)
                # redis-py would raise refusals with the order, which holds the key of a session.
                count_receivers(commands, together.execute(raise_on_error=False))
        except Exception as error:
            # Nobody's logout may fail because of this.
            self._silent_until = self._clock() + _PAUSE
            kind = type(error).__name__
            # Redis itself quotes the order where it does not know PUBLISH; orders begin with "{".
            text = str(error).partition("{")[0]
            _log.warning("the gateway is not told who has changed: %s: %s", kind, text)


#: That of this process, for the Redis of the project.
control = Control(partial(connect_as_project, TIMEOUT), time.monotonic)
