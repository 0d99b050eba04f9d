"""
The exceptions of wsredis, and the one table of WebSocket close codes.

* `WsredisError`

  * `ConfigError`
  * `BadRequest`
  * `HandshakeRejected`
  * `BrokerError`

    * `BrokerUnavailable`
    * `PublishOutcomeUnknown`
    * `QueueFull`

  * `ClientError`

    * `PermissionDenied`
    * `LimitExceeded`
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

__all__ = [
    "CLOSE_CODES",
    "BadRequest",
    "BrokerError",
    "BrokerUnavailable",
    "ClientError",
    "CloseCode",
    "ConfigError",
    "HandshakeRejected",
    "LimitExceeded",
    "PermissionDenied",
    "PublishOutcomeUnknown",
    "QueueFull",
    "WsredisError",
    "close_code_for",
    "incompatible",
]


class WsredisError(Exception):
    """Base class of all errors that wsredis raises on purpose."""


class ConfigError(WsredisError):
    """A setting is wrong. The text names the setting, fits on one line and shows no password."""


def incompatible(library: str, version: str, problem: object) -> ConfigError:
    """
    Make the error of a self-test: an installed library is not as wsredis relies on.

    Args:
        library: Its name.
        version: The version that is installed.
        problem: Text or an exception; the name that has changed above all.
    """
    text = " ".join(str(problem).split()) or type(problem).__name__
    return ConfigError(f"wsredis cannot work with {library} {version}: {text}")


class BadRequest(WsredisError):
    """The handshake is malformed: HTTP 400. A client should not repeat it unchanged."""


class HandshakeRejected(WsredisError):
    """
    The handshake is answered with an HTTP error.

    Args:
        reason: Text for the client, in the body of the answer.
        status: The HTTP status, 400 to 599.
        hint: Text for the log only, about a remedy. If empty, nothing is added.
        cause: One of the reasons of ``wsredis_handshakes_total``, for the metrics. If empty, the
            status tells.
        advice: Text about a remedy that whoever makes the page needs as well. It goes to the log,
            and to clients that are told more than the body of the answer. If empty, nothing is
            added.

    Raises:
        ValueError: *status* is not the status of an HTTP error.
    """

    def __init__(
        self,
        reason: str,
        status: int = 403,
        hint: str = "",
        *,
        cause: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(reason)
        HTTPStatus(status)
        if status < 400:
            raise ValueError(f"{status} is not the status of an error")
        self.reason = reason
        self.status = status
        self.hint = hint
        self.cause = cause
        self.advice = advice

    @property
    def told(self) -> str:
        """The reason with the advice, for clients that can be told."""
        return f"{self.reason}: {self.advice}" if self.advice else self.reason

    @property
    def hints(self) -> str:
        """The hint and the advice, for the log. Empty if there is neither."""
        return "; ".join(filter(None, (self.hint, self.advice)))


class BrokerError(WsredisError):
    """
    The broker did not confirm a request.

    A client whose message this concerns is closed with 1013, whichever kind it is.
    """


class BrokerUnavailable(BrokerError):
    """
    The broker cannot be reached, or too many commands are waiting for its answer.

    Nothing was published or stored, so the call is safe to repeat.
    """


class PublishOutcomeUnknown(BrokerError):
    """
    A message was sent to the broker, which did not confirm that it was published everywhere.

    The connection was lost before the answer, or the broker answered with an error. The message may
    have been stored and published on all of its channels, on some or on none, so a repetition may
    deliver it twice.
    """


class QueueFull(BrokerError):
    """
    As many messages as are allowed wait for the workers of a channel.

    The message is not among them, so the call is safe to repeat.
    """


class ClientError(WsredisError):
    """
    A client did, or met, something that is answered on its own connection only.

    Attributes:
        code: The WebSocket close code; one of `CLOSE_CODES`.
        reason: Text for the client, at most 123 bytes of UTF-8 (RFC 6455, 5.5).
    """

    code = 1011

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PermissionDenied(ClientError):
    """
    The broker refuses a channel.

    The other channels of the same call are not affected: `Broker.subscribe` keeps them wanted, and
    `Broker.publish` publishes on them.
    """

    code = 1008


class LimitExceeded(ClientError):
    """A limit of `wsredis.config.Limits` was exceeded."""

    code = 1008


@dataclass(frozen=True, slots=True)
class CloseCode:
    """
    One close code that the gateway sends.

    Attributes:
        meaning: The reason for which it is sent.
        retry: Whether a client should connect again.
    """

    meaning: str
    retry: bool


#: The only codes with which the gateway closes a connection (RFC 6455, 7.4).
CLOSE_CODES: dict[int, CloseCode] = {
    1000: CloseCode("normal: the client's own close, or the end of its application", False),
    1001: CloseCode("going away: the gateway stops", True),
    1002: CloseCode("protocol error: frames that RFC 6455 forbids", False),
    1007: CloseCode("invalid payload: a text message that is not UTF-8", False),
    1008: CloseCode(
        "policy: slow consumer, refused message, forbidden channel, or more than max-channels",
        False,
    ),
    1009: CloseCode("message too big", False),
    1011: CloseCode("internal error: a handler, a subscriber or an application failed", True),
    1012: CloseCode(
        "service restart: messages may have been lost, rights have changed, or the gateway of an "
        "application stops",
        True,
    ),
    1013: CloseCode(
        "try again later: Redis did not confirm a message of the client, no worker takes it, or "
        "the handshake is refused for now",
        True,
    ),
    4400: CloseCode("bad request: the handshake asks for what is not there, or is wrong", False),
    4401: CloseCode(
        "the identity ended: logged out, its token expired, or the handshake is refused for it",
        False,
    ),
    4403: CloseCode("forbidden: the identity may not do what the connection is for", False),
}

#: The codes for statuses that have one of their own.
_CODES = {401: 4401, 403: 4403, 429: 1013, 503: 1013}


def close_code_for(status: int) -> int:
    """
    Return the close code that tells a client as much as the HTTP status of a refusal.

    Args:
        status: See `HandshakeRejected`.
    """
    return _CODES.get(status) or (4400 if status < 500 else 1011)
