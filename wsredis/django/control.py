"""
Commands to the gateway: identities have ended or changed.

The app sends them when Django sends a signal. A program sends them with `control` after a change of
which Django does not know.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction

from wsredis.channels import control_channel
from wsredis.config.redis_url import error_text
from wsredis.publisher.base import BasePublisher, Command, count_receivers
from wsredis.publisher.ending import ending_commands, first_refusal
from wsredis.publisher.redis_py import connect_as_project

__all__ = ["TIMEOUT", "Control", "control"]

#: Seconds that an application waits for Redis: once to connect, and once for the answer.
TIMEOUT = 0.5

#: Seconds without another attempt after Redis was down: a program that deletes a thousand users
#: must not wait a thousand times.
_PAUSE = 2.0

_log = logging.getLogger(__name__)


class Control:
    """
    Sends commands to the gateway.

    A command that is given in a transaction is sent when the transaction is committed, and never if
    it is rolled back. If Redis is down, nothing is raised: a warning is logged, and the gateway
    notices the change when it checks its connections the next time (``--recheck``).

    Args:
        connect: Returns a client of redis-py.
        clock: Returns seconds that never go back.
    """

    def __init__(self, connect: Callable[[], Any], clock: Callable[[], float]) -> None:
        self._connect = connect
        self._clock = clock
        self._silent_until = clock()
        self._was_refused = False

    def end_sessions(self, *keys: str | None, using: str | None = None) -> None:
        """
        Close the WebSockets of sessions that have ended, with 4401.

        Args:
            keys: Keys of the sessions. None and the empty string are ignored.
            using: The database whose transaction is waited for. If None, it is the default one.
        """
        self._send("end", "session", keys, using)

    def recheck_users(self, *names: str | None, using: str | None = None) -> None:
        """
        Identify the WebSockets of users again: each is closed, or follows the new groups.

        Args:
            names: Names of the users. None and the empty string are ignored.
            using: See `end_sessions`.
        """
        self._send("recheck", "user", names, using)

    def recheck_groups(self, *names: str | None, using: str | None = None) -> None:
        """
        Identify the WebSockets of all users again whom the gateway knows as members of groups.

        Args:
            names: Names of the groups. None and the empty string are ignored.
            using: See `end_sessions`.
        """
        self._send("recheck", "group", names, using)

    def _send(
        self, verb: str, selector: str, names: Iterable[str | None], using: str | None
    ) -> None:
        named = dict.fromkeys(str(name) for name in names if name)
        if not named:
            return
        publish = partial(self._publish, verb, selector, list(named))
        try:
            transaction.on_commit(publish, using=using, robust=True)
        except Exception:
            # There is no database, or it is down, or Django does not know when this transaction
            # ends, or this is a coroutine, where Django allows no database.
            publish()

    def _publish(self, verb: str, selector: str, names: Sequence[str]) -> None:
        if self._clock() < self._silent_until:
            return
        try:
            prefix = BasePublisher().get_prefix()[:-1]
            commands: list[Command]
            if verb == "end":
                commands = ending_commands(prefix, selector, names, settings.SESSION_COOKIE_AGE)
            else:
                channel = control_channel(prefix)
                messages = [json.dumps({verb: {selector: name}}) for name in names]
                commands = [("PUBLISH", channel, message) for message in messages]
            with self._connect().pipeline(transaction=False) as pipeline:
                for args in commands:
                    pipeline.execute_command(*args)
                # An error that redis-py raises quotes the message, which has the key of a session.
                replies = pipeline.execute(raise_on_error=False)
            refusal = first_refusal(commands, replies)
            published = [
                (command, reply)
                for command, reply in zip(commands, replies, strict=True)
                if command[0] == "PUBLISH"
            ]
            count_receivers(*zip(*published, strict=True))
            if refusal is not None and not self._was_refused:
                self._was_refused = True
                _log.warning(
                    "Redis does not keep the end of a session for gateways that are not connected "
                    "at the time: %s",
                    error_text(refusal),
                )
        except Exception as error:
            # A logout must not fail because of this.
            self._silent_until = self._clock() + _PAUSE
            kind = type(error).__name__
            # Redis quotes the message if it does not know PUBLISH. A message begins with "{".
            text = str(error).partition("{")[0]
            _log.warning("cannot notify the gateway of a changed identity: %s: %s", kind, text)


#: The one of this process, for the Redis of the project.
control = Control(partial(connect_as_project, TIMEOUT), time.monotonic)
