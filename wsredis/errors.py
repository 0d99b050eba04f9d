"""Exceptions, and the one table of WebSocket close codes."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

__all__ = [
    "CLOSE_CODES",
    "BadRequest",
    "BrokerUnavailable",
    "ClientError",
    "CloseCode",
    "ConfigError",
    "HandshakeRejected",
    "LimitExceeded",
    "PermissionDenied",
    "WsredisError",
]


class WsredisError(Exception):
    """Base of all errors that wsredis raises on purpose."""


class ConfigError(WsredisError):
    """A setting is wrong. The text names the setting and fits one line."""


class BadRequest(WsredisError):
    """A handshake that no client should repeat unchanged: HTTP 400."""


class HandshakeRejected(WsredisError):
    """
    The handshake is answered with an HTTP error.

    Args:
        reason: For the client, in the body of the answer.
        status: The HTTP status, 400 to 599.
        hint: For the log only: what the operator could change. Empty says nothing.
    Raises:
        ValueError: *status* is none that HTTP knows for an error.
    """

    def __init__(self, reason: str, status: int = 403, hint: str = "") -> None:
        super().__init__(reason)
        HTTPStatus(status)
        if status < 400:
            raise ValueError(f"{status} does not refuse")
        self.reason = reason
        self.status = status
        self.hint = hint


class BrokerUnavailable(WsredisError):
    """Redis cannot be reached, or has too much to do. Nothing was sent; safe to repeat."""


class ClientError(WsredisError):
    """
    A client did, or met, something that is answered on its own connection only.

    Attributes:
        code: The WebSocket close code; one of `CLOSE_CODES`.
        reason: Words for the client, at most 123 bytes of UTF-8 (RFC 6455, 5.5).
    """

    code = 1011

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PermissionDenied(ClientError):
    """The policy, or Redis, refused. Nothing changed."""

    code = 1008


class LimitExceeded(ClientError):
    """A bound of `wsredis.config.Limits` was passed."""

    code = 1008


@dataclass(frozen=True, slots=True)
class CloseCode:
    """
    One close code that the gateway sends.

    Attributes:
        meaning: When it is sent.
        retry: Whether a client should connect again.
    """

    meaning: str
    retry: bool


#: The only codes with which the gateway closes a connection (RFC 6455, 7.4).
CLOSE_CODES: dict[int, CloseCode] = {
    1000: CloseCode("normal: the answer to the client's own close", False),
    1001: CloseCode("going away: the gateway stops", True),
    1002: CloseCode("protocol error: frames that RFC 6455 forbids", False),
    1007: CloseCode("invalid payload: a text message that is not UTF-8", False),
    1008: CloseCode("policy: slow consumer, or Redis forbids the channel", False),
    1009: CloseCode("message too big", False),
    1011: CloseCode("internal error: a handler failed", True),
    1013: CloseCode("try again later: Redis is away and a message was lost", True),
    4401: CloseCode("the identity ended: logged out, or its token expired", False),
    4403: CloseCode("forbidden: the identity may no longer do what the connection is for", False),
}
