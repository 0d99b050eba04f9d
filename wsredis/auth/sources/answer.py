"""The answer of the application to ``--auth-url``: read strictly, as pure functions."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any

from wsredis.auth.grants import Channels, check_access, read_channels
from wsredis.auth.hints import NOBODY
from wsredis.channels import Access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Identity

__all__ = ["Answer", "UnexpectedAnswer", "read_answer"]

#: Characters of a reason, for the client.
_MAX_REASON = 200

#: The reasons for the client if the application gives none.
_DEFAULT_REASONS = {401: "you are not logged in", 403: "you may not do this here"}

#: The year 10000, as a Unix time. A time in milliseconds, which is a common mistake, is later.
_END_OF_TIME = 253402300800

#: The keys that a 200 may have.
_KEYS = {"user", "groups", "session", "channels", "expires"}


class UnexpectedAnswer(Exception):
    """The application did not answer as documented. The text is for the log."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A valid answer.

    Attributes:
        status: 200, 401 or 403.
        reason: For the client, with 401 and 403.
        identity: The identity, with 200.
        channels: The limit of the identity. If None, there is no limit.
    """

    status: int
    reason: str = ""
    identity: Identity = field(default=Identity(), repr=False)
    channels: Channels | None = field(default=None, repr=False)

    def identity_for(self, access: Access) -> Identity:
        """
        Apply the answer to a client that requests *access*.

        Returns:
            The identity.
        Raises:
            HandshakeRejected: The application rejected the client, or *access* is beyond the limit.
        """
        if self.status != 200:
            raise HandshakeRejected(self.reason, self.status)
        if self.channels is not None:
            try:
                granted = check_access(access, self.channels)
            except HandshakeRejected as error:
                # A stranger's limit is often smaller than that of users.
                error.advice = "" if self.identity.user else NOBODY
                raise
            if granted is not access:
                return replace(self.identity, granted=granted)
        return self.identity


def read_answer(status: int, content_type: str, body: bytes, now: float) -> Answer:
    """
    Read an answer.

    Args:
        status: The HTTP status.
        content_type: The Content-Type header. Empty if it is missing.
        body: The body.
        now: The Unix time in seconds. An identity that expired by then is a 401.
    Returns:
        The answer.
    Raises:
        UnexpectedAnswer: It is not as documented.
    """
    if status in _DEFAULT_REASONS:
        return Answer(status, _reason(content_type, body) or _DEFAULT_REASONS[status])
    if status != 200:
        raise UnexpectedAnswer(f"it answered {status}")
    values = _object(content_type, body)
    unknown = sorted(values.keys() - _KEYS)
    if unknown:
        # A misspelt "channels" or "expires" would grant more than was meant.
        raise UnexpectedAnswer(f"its answer has an unknown key {unknown[0][:40]!r}")
    identity = Identity(
        user=_name("user", values.get("user")),
        groups=_groups(values.get("groups")),
        session=_name("session", values.get("session")),
        expires=_expires(values.get("expires")),
    )
    if identity.expires is not None and identity.expires <= now:
        return Answer(401, "your session has expired")
    return Answer(200, identity=identity, channels=_channels(values.get("channels")))


def _object(content_type: str, body: bytes) -> dict[str, Any]:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnexpectedAnswer("its answer is not application/json")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise UnexpectedAnswer("its answer is not JSON") from None
    if not isinstance(value, dict):
        raise UnexpectedAnswer("its answer is not a JSON object")
    return value


def _reason(content_type: str, body: bytes) -> str | None:
    """Read the reason of a rejection. None if there is none that can be shown to the client."""
    try:
        reason = _object(content_type, body).get("reason")
    except UnexpectedAnswer:
        return None
    is_fit = isinstance(reason, str) and reason.isprintable() and len(reason) <= _MAX_REASON
    return reason if is_fit else None


def _name(key: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    # A lone surrogate cannot be part of a channel name, and a control character should not be.
    if not isinstance(value, str) or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise UnexpectedAnswer(f"its {key!r} is not a string, or has a forbidden character")
    return value


def _groups(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise UnexpectedAnswer("its 'groups' is not a list")
    names = [_name("groups", each) for each in value]
    if None in names:
        raise UnexpectedAnswer("its 'groups' has a group without a name")
    return tuple(name for name in names if name is not None)


def _expires(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnexpectedAnswer("its 'expires' is not a number")
    if not 0 <= value < _END_OF_TIME:  # false for NaN as well
        raise UnexpectedAnswer("its 'expires' is not a Unix time in seconds")
    return float(value)


def _channels(value: object) -> Channels | None:
    try:
        return None if value is None else read_channels(value)
    except ValueError as error:
        raise UnexpectedAnswer(f"its 'channels': {error}") from None
