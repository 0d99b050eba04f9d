"""Reads a stream of Redis, to which programs append."""

from __future__ import annotations

from typing import Any

import txredisapi

from wsredis.brokers.redis.protocol import NoReply, RedisProtocol
from wsredis.brokers.redis.refusals import is_for_now
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import LOG_BATCH, LogEntry

__all__ = ["read_log"]


async def read_log(protocol: RedisProtocol, key: bytes, after: bytes) -> list[LogEntry]:
    """
    Read entries of a stream; see `wsredis.gateway.broker.Broker.read_log`.

    Of each entry the first value counts.
    """
    try:
        # The entry after which to read is among them: Redis before 6.2 cannot leave it out.
        count = b"%d" % (LOG_BATCH + 1)
        found = await protocol.call("XRANGE", key, after or b"-", "+", "COUNT", count, kind=list)
        new = [each for each in found if each[0] != after][:LOG_BATCH]
        if not new:
            return []
        return _entries(new, *await protocol.call("TIME", kind=list))
    except NoReply:
        raise BrokerUnavailable("the connection to Redis was lost") from None
    except txredisapi.ResponseError as error:
        if is_for_now(error):
            raise BrokerUnavailable(error_text(error)) from None
        raise PermissionDenied(error_text(error)) from None
    except (TypeError, ValueError, IndexError):
        raise PermissionDenied("this is not an answer to XRANGE") from None


def _entries(new: list[list[Any]], seconds: bytes, microseconds: bytes) -> list[LogEntry]:
    now = int(seconds) + int(microseconds) / 1e6
    return [
        LogEntry(position, now - int(position.partition(b"-")[0]) / 1000, fields[1])
        for position, fields in new
    ]
