"""Why nobody received a message that was published in the shell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from wsredis.channels import Audience, loggable_channel, proof_channel
from wsredis.config.redis_url import error_text
from wsredis.service.why import ask

if TYPE_CHECKING:
    import redis

__all__ = ["why_nobody"]

#: Seconds that the gateways have to answer: somebody waits at a terminal.
_PATIENCE = 1.0

#: Channels that are asked about, and prefixes, names and incidents that are told.
_MOST = 3

#: What all channels of proofs have in common, without the name of a gateway.
_PROOF = proof_channel("", "")


def why_nobody(
    client: redis.Redis,
    server: str,
    prefix: str,
    channels: Sequence[bytes],
    private: Sequence[str],
) -> Iterator[str]:
    """
    Ask the gateways why a message reached nobody.

    Args:
        client: A client of redis-py.
        server: The URL of its Redis, without a password.
        prefix: The prefix of the channels, as it was given.
        channels: The channels on which the message was published.
        private: The URLs of private servers of gateways that run, without this one.

    Returns:
        Lines, each about one channel, or one about all. Without an answer there are none.
    """
    from redis import RedisError

    try:
        for name in channels[:_MOST]:
            answers = ask(client, prefix, name.decode(), _PATIENCE)
            if not answers.asked:
                yield _no_gateway(client, server, prefix, private)
                return
            states = [each["channel"] for each in answers.found]
            near = {each: None for state in states for each in state.get("near", ())}
            count = sum(each["connections"] for each in answers.found)
            yield from _doubled(name.removeprefix((f"{prefix}:" if prefix else "").encode()))
            shown = loggable_channel(name)
            yield f"nobody hears {shown}: {_connected(count)}{_hearing([*near])}"
            told = [each for state in states for each in state["incidents"]]
            for each in sorted(told, key=lambda one: float(one["age"]))[:_MOST]:
                ago = round(float(each["age"]))
                yield f"{each['text']} ({each['times']} x, the last one {ago} s ago)"
    except RedisError as error:
        yield f"the gateways cannot be asked why: {error_text(error)}"


def _doubled(name: bytes) -> Iterator[str]:
    """Say that a facility begins with an audience, as a channel does, if it is so."""
    first, _, rest = name.decode("utf-8", "replace").partition(":")
    facility = rest if first == Audience.BROADCAST.value else rest.partition(":")[2]
    if facility.partition(":")[0] in (each.value for each in Audience):
        meant = facility.rpartition(":")[2]
        yield f"a facility has no audience before it; did you mean {meant!r}?"


def _connected(count: int) -> str:
    if count > 1:
        return f"{count} clients are connected"
    return "one client is connected" if count else "no client is connected to a gateway"


def _hearing(near: Sequence[str]) -> str:
    return f"; there are listeners of {' and '.join(near[:_MOST])}" if near else ""


def _no_gateway(client: redis.Redis, server: str, prefix: str, private: Sequence[str]) -> str:
    """Say that no gateway is there, and which prefixes others have."""
    found: Any = client.pubsub_channels(b"*" + _PROOF + b"*")
    prefixes = sorted(
        {bytes(each).partition(_PROOF)[0].decode("utf-8", "replace") for each in found}
    )
    own = f"with the prefix {prefix!r}" if prefix else "without a prefix"
    if not prefixes and private:
        there = " or ".join(private[:_MOST])
        return f"no gateway is connected to {server}; one that runs has its own: --redis {there}"
    if not prefixes:
        return f"no gateway is connected to {server}: compare --redis with that of the gateway"
    others = " and ".join(repr(each.removesuffix(":")) for each in prefixes[:_MOST])
    return (
        f"no gateway is connected to {server} {own}; there are some with the prefix {others}: "
        "compare --prefix with that of the gateway"
    )
