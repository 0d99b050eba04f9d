"""``wsredis why`` and ``gateways``: ask the running gateways, and say what they know."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wsredis.channels import Audience, answers_channel, proof_channel, stored_key
from wsredis.config.redis_url import error_text
from wsredis.errors import ConfigError

if TYPE_CHECKING:
    import redis

__all__ = ["Answers", "ask", "check_channel", "explain", "list_gateways"]

_AUDIENCES = [each.value for each in Audience]

#: The largest part of each unit of time, as it is shown.
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


class Answers:
    """
    The answers to one question.

    Attributes:
        asked: The number of gateways that heard it: those whose proofs are subscribed in Redis.
        found: The answers, sorted by the names of the gateways. See `wsredis.service.inspector`.
    """

    def __init__(self, asked: int, found: list[dict[str, Any]]) -> None:
        self.asked = asked
        self.found = sorted(found, key=lambda each: str(each.get("gateway")))


def check_channel(channel: str, prefix: str) -> str:
    """
    Return the full name of a channel, with the prefix.

    Raises:
        ConfigError: It does not begin with an audience, or has no facility.
    """
    name = channel.removeprefix(f"{prefix}:") if prefix else channel
    audience, _, rest = name.partition(":")
    if audience not in _AUDIENCES:
        raise ConfigError(
            f"{channel!r} is not the name of a channel; did you mean {'broadcast:' + channel!r}? "
            "Others are user:NAME:FACILITY, group:NAME:FACILITY and session:KEY:FACILITY"
        )
    if audience != "broadcast" and ":" not in rest:
        raise ConfigError(f"{channel!r} has no facility: {audience}:NAME:FACILITY")
    return f"{prefix}:{name}" if prefix else name


def ask(
    client: redis.Redis, prefix: str, channel: str | None = None, patience: float = 2.0
) -> Answers:
    """
    Ask all gateways that are connected to a Redis.

    Args:
        client: A client of redis-py.
        channel: The full name of the channel that the question is about. If None, about none.
        patience: Seconds to wait for answers. Less if all have come.

    Raises:
        redis.RedisError: The connection was lost, or Redis refused.
    """
    token = secrets.token_hex(16)
    question = {"answer": token} | ({} if channel is None else {"channel": channel})
    with client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(answers_channel(prefix, token))
        # Its confirmation has to come before the question is asked.
        subscriber.get_message(timeout=patience)
        gateways = client.pubsub_channels(_escaped(proof_channel(prefix, "")) + b"*")
        with client.pipeline(transaction=False) as pipeline:
            for name in gateways:
                pipeline.publish(name, json.dumps(question))
            asked = sum(map(bool, pipeline.execute()))
        found: list[dict[str, Any]] = []
        end = time.monotonic() + patience
        while len(found) < asked and (left := end - time.monotonic()) > 0:
            got = subscriber.get_message(timeout=left)
            if got is not None:
                found.append(json.loads(got["data"]))
    return Answers(asked, found)


def _escaped(name: bytes) -> bytes:
    """Return a pattern of Redis that fits *name* and nothing else."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", name)


def list_gateways(answers: Answers) -> Iterator[str]:
    """Return lines about the gateways that answered, and those that did not."""
    yield from _missing(answers)
    for each in answers.found:
        yield _headline(each)


def explain(
    client: redis.Redis, channel: str, stored_prefix: str, answers: Answers
) -> Iterator[str]:
    """
    Return lines about one channel.

    Args:
        client: Asked for the stored message and for the subscribers, if it may.
        channel: Its full name.
        stored_prefix: As for the gateway.
    """
    yield channel
    yield from (f"  {line}" for line in _of_redis(client, channel, stored_prefix))
    yield from _missing(answers)
    for each in answers.found:
        yield _headline(each)
        yield from (f"  {line}" for line in _of_gateway(each["channel"]))
    yield from _verdict(answers)


def _headline(answer: dict[str, Any]) -> str:
    state = "ready" if answer["ready"] else "NOT READY"
    problems = "".join(f"; {name}: {text}" for name, text in answer["problems"].items())
    return (
        f"gateway {answer['gateway']}: wsredis {answer['version']}, up {_time(answer['uptime'])}, "
        f"{answer['connections']} connections, {state}{problems}"
    )


def _missing(answers: Answers) -> Iterator[str]:
    mute = answers.asked - len(answers.found)
    if not answers.asked:
        yield (
            "no gateway is connected to this Redis with this prefix, or Redis does not let it "
            "prove that messages arrive"
        )
    elif mute:
        yield f"{mute} of {answers.asked} gateways did not answer in time"


def _of_redis(client: redis.Redis, channel: str, stored_prefix: str) -> Iterator[str]:
    from redis import RedisError

    name = channel.encode()
    try:
        # An ACL may allow some of it only.
        ((_, subscribers),) = client.pubsub_numsub(name)
        yield f"Redis: {subscribers} subscribers (a gateway is one, however many clients it has)"
    except RedisError as error:
        yield f"Redis: the number of subscribers is not told: {error_text(error)}"
    try:
        key = stored_key(stored_prefix, name)
        size, left = client.strlen(key), client.ttl(key)
        yield (
            f"stored message: {size} bytes, {_time(left) + ' left' if left >= 0 else 'for ever'}"
            if size
            else "stored message: none"
        )
    except RedisError as error:
        yield f"stored message: not told: {error_text(error)}"


def _of_gateway(state: dict[str, Any]) -> Iterator[str]:
    publishers = f"{state['publishers']} of its clients may publish on it"
    if "listeners" in state:
        yield (
            f"subscribed for {_time(state['age'])}; {state['listeners']} connections hear it; "
            f"{publishers}"
        )
        if state["publications"]:
            yield (
                f"newest message: {_time(state['newest'])} ago, {state['size']} bytes; "
                f"{state['publications']} since the first connection came"
            )
        else:
            yield "no message since the first connection came"
    else:
        yield f"not subscribed: no connection hears it; {publishers}"
        if state["near"]:
            yield f"connections hear {', '.join(state['near'])}"
    for each in state["incidents"]:
        yield f"{each['times']} x {each['text']} (last {_time(each['age'])} ago)"


def _verdict(answers: Answers) -> Iterator[str]:
    states = [each["channel"] for each in answers.found]
    if not states:
        return
    listening = [each for each in states if "listeners" in each]
    if not listening and len(answers.found) < answers.asked:
        yield "=> nobody hears this channel at the gateways that answered"
    elif not listening:
        yield "=> nobody hears this channel: a message that is published now reaches no client"
    elif not any(each["publications"] for each in listening):
        yield (
            "=> clients listen, and nothing was published on this channel meanwhile: compare the "
            "name, the prefix, the database and the Redis of the publisher"
        )
    else:
        count = sum(each["listeners"] for each in listening)
        yield f"=> a message that is published now reaches {count} connections"
    if not all(each["ready"] for each in answers.found):
        yield "=> a gateway is not ready: see its line"


def _time(seconds: float) -> str:
    """Show a time in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"
