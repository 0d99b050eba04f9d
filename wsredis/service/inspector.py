"""
The answers of a gateway to an operator who asks over Redis: what it is, and what it knows.

A question is JSON on the channel of its proof (`wsredis.channels.proof_channel`), so a gateway that
can be asked is one to which messages come: ``{"answer": TOKEN}``, with ``"channel": NAME`` beside
it if it is about a channel. The answer is JSON on ``[PREFIX:]wsredis-answers:TOKEN``. Clients can
neither ask nor listen: in their channels, the name of an audience stands in that place. An answer
holds no payload, no key of a session and no secret.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis import __version__
from wsredis.channels import answers_channel, loggable_channel
from wsredis.gateway.health import Problem
from wsredis.gateway.hub import Hub
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.shares import RateLimit

__all__ = ["Inspected", "Inspector"]

_TOKEN = re.compile(r"[0-9A-Za-z]{8,64}")

#: Questions that are answered in a second, and at once after a pause. Others are ignored.
_RATE = 10
_BURST = 20

#: Channels that are compared with one that nobody hears, and those of them that are named.
_COMPARED = 500
_NAMED = 3


class Inspected(Protocol):
    """The part of a connection that the inspector needs."""

    @property
    def publishes(self) -> Sequence[bytes]:
        """See `wsredis.gateway.connection.Connection`."""


class Inspector:
    """
    Answers questions.

    Args:
        prefix: Put before the names of the channels, as before all channels.
        connections: Returns the open connections.
        problems: Returns everything that is wrong with this gateway, by name.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        hub: Hub,
        prefix: str,
        connections: Callable[[], Iterable[Inspected]],
        problems: Callable[[], Mapping[str, Problem]],
    ) -> None:
        self._clock = clock
        self._hub = hub
        self._prefix = prefix
        self._connections = connections
        self._problems = problems
        self._rate = RateLimit(clock, _RATE, _BURST)
        self._throttle = LogThrottle(clock)
        self._started = 0.0

    def start(self) -> None:
        """Take this moment for the start of the gateway."""
        self._started = self._clock.seconds()

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()

    def received(self, payload: bytes) -> None:
        """Answer a question, if it is one."""
        question = _parse(payload)
        if question is None:
            self._throttle.log(
                self._log,
                LogLevel.warn,
                "malformed",
                "ignoring malformed question on the channel of the proof",
                event="question-malformed",
            )
        elif not self._rate.wait(None):
            self._rate.spend(None)
            token, channel = question
            answer = json.dumps(self._answer(channel)).encode()
            self._hub.broker.announce(answers_channel(self._prefix, token), answer)

    def _answer(self, channel: str | None) -> dict[str, Any]:
        problems = self._problems()
        answer: dict[str, Any] = {
            "gateway": f"{socket.gethostname()}:{os.getpid()}",
            "version": __version__,
            "uptime": self._clock.seconds() - self._started,
            "connections": self._hub.metrics.connections,
            "ready": not any(each.is_blocking for each in problems.values()),
            "problems": {name: each.text for name, each in problems.items()},
        }
        if channel is not None:
            answer["channel"] = self._state(channel.encode("utf-8", "surrogatepass"), channel)
        return answer

    def _state(self, name: bytes, text: str) -> dict[str, Any]:
        hub, now = self._hub, time.time()
        state = hub.state(name)
        happened = hub.incidents.of(name) + hub.incidents.of(_facility(text, self._prefix))
        found: dict[str, Any] = {
            "publishers": sum(name in each.publishes for each in self._connections()),
            "incidents": [
                {"text": each.text, "times": each.times, "age": now - each.last}
                for each in happened
            ],
        }
        if state is None:
            return {**found, "near": self._near(name)}
        return {
            **found,
            "listeners": state.listeners,
            "age": now - state.since,
            "publications": state.publications,
            "newest": now - state.delivered if state.publications else None,
            "size": state.size,
        }

    def _near(self, name: bytes) -> list[str]:
        """Return names of channels that are nearly the same, and have listeners."""
        known = {loggable_channel(each) for each in islice(self._hub.names(), _COMPARED)}
        shown = loggable_channel(name)
        facility = _facility(shown, self._prefix)
        # An audience is easily forgotten, or another one is meant.
        same = sorted(each for each in known if _facility(each, self._prefix) == facility)
        alike = get_close_matches(shown, known, _NAMED, 0.8)
        return [*dict.fromkeys(alike + same)][:_NAMED]


def _facility(channel: str, prefix: str) -> str:
    """Return the facility of a channel."""
    name = channel.removeprefix(f"{prefix}:") if prefix else channel
    return name.split(":", 1 if name.startswith("broadcast:") else 2)[-1]


def _parse(payload: bytes) -> tuple[str, str | None] | None:
    """Return the token and the channel of a question. None if it is malformed."""
    try:
        question = json.loads(payload)
        token, channel = question["answer"], question.get("channel")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    return (token, channel) if channel is None or isinstance(channel, str) else None
