"""A look at the keys of Redis at the start: some may be those of an application."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wsredis.brokers.redis.protocol import RedisProtocol, Reply
from wsredis.brokers.redis.reading import Replies
from wsredis.brokers.redis.stored import is_of_application
from wsredis.channels import Audience
from wsredis.errors import BrokerUnavailable

__all__ = ["start_survey", "survey"]

#: Keys that one SCAN looks at, and the number of them: a large Redis is not read to its end.
_KEYS = 1000
_STEPS = 100

#: Characters with a meaning in the pattern of SCAN.
_SPECIAL = str.maketrans({each: f"\\{each}" for each in "*?[]\\^-"})

_log = Logger()


def start_survey(protocol: RedisProtocol, prefix: str) -> None:
    """Begin a `survey`, which ends with the connection."""
    looking = Deferred.fromCoroutine(survey(protocol, prefix))
    looking.addErrback(lambda failure: failure.trap(BrokerUnavailable))
    looking.addErrback(
        lambda failure: _log.failure(
            "looking at the keys failed", event="survey-failed", failure=failure
        )
    )


async def survey(protocol: RedisProtocol, prefix: str) -> int:
    """
    Look for keys with the names of channels that cannot be stored messages, and warn once.

    Nothing is said where Redis does not allow to look. At most 100,000 keys are looked at.

    Args:
        prefix: The prefix of channels. Empty puts nothing.

    Returns:
        The number of such keys that were found.

    Raises:
        BrokerUnavailable: The connection was lost.
    """
    start = f"{prefix}:" if prefix else ""
    # The audiences have these first letters; the rest is looked at here, which is one pass.
    pattern = f"{start.translate(_SPECIAL)}[{''.join(each.value[0] for each in Audience)}]*:*"
    names = tuple(f"{start}{each.value}:".encode() for each in Audience)
    cursor: bytes = b"0"
    count = 0
    for _ in range(_STEPS):
        reply = await _one(protocol, ("SCAN", cursor, "MATCH", pattern, "COUNT", str(_KEYS)))
        if isinstance(reply, Exception):
            break
        if len(reply) != 2 or not isinstance(reply[1], list):
            raise BrokerUnavailable("SCAN was answered with something else")
        cursor, keys = reply
        count += await _count(protocol, [key for key in keys if key.startswith(names)])
        if cursor == b"0":
            break
    if count:
        _log.warn(
            "{count} keys in this Redis have names of channels and are not stored messages: they "
            "never expire, or are not strings. Clients can read or overwrite keys that an "
            "application keeps under such names: give wsredis a database or a prefix that nobody "
            "else uses, or set stored-prefix",
            event="foreign-keys",
            count=count,
        )
    return count


async def _count(protocol: RedisProtocol, keys: list[bytes]) -> int:
    if not keys:
        return 0
    commands = [(command, key) for key in keys for command in ("TTL", "TYPE")]
    replies = await Replies(protocol, commands, (int, bytes)).done
    return sum(map(is_of_application, replies[::2], replies[1::2]))


async def _one(protocol: RedisProtocol, command: tuple[bytes | str, ...]) -> Reply:
    (reply,) = await Replies(protocol, [command], (list,)).done
    return reply
