"""A command of ``wsredis``, and the world outside of it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TextIO

from wsredis.config import RedisConfig
from wsredis.publisher.redis_py import connect
from wsredis.service.nobody import why_nobody
from wsredis.service.running_redis import running_servers

if TYPE_CHECKING:
    import redis

__all__ = ["GROUPS", "Command", "Outside", "outside_of_process", "take_all_words"]

#: The groups of commands in the order of the help, with their headings.
GROUPS = {
    "run": "Run a gateway",
    "messages": "Send and receive",
    "look": "Look at it",
    "other": "Other",
}


@dataclass(frozen=True, slots=True)
class Outside:
    """
    The world outside of a command: streams, Redis and time.

    Attributes:
        stdin: Standard input.
        stdout: Standard output, for messages.
        stderr: Standard error, for everything else.
        connect: Makes the client of redis-py.
        pause: Waits for a number of seconds.
        private: Returns the URLs of private servers that gateways of this user have started.
        why_nobody: Says why nobody received a message.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: TextIO
    connect: Callable[[RedisConfig], redis.Redis] = connect
    pause: Callable[[float], None] = time.sleep
    private: Callable[[], Iterable[str]] = running_servers
    why_nobody: Callable[[redis.Redis, str, str, Sequence[bytes], Sequence[str]], Iterable[str]] = (
        why_nobody
    )


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command.

    Attributes:
        help: One line about it, without a period.
        group: A key of `GROUPS`.
        add_arguments: Adds its arguments to the parser.
        run: Runs it and returns the status. A `ConfigError` that it raises is printed as one line,
            and the status is 2.
    """

    help: str
    group: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Outside], int]


def outside_of_process() -> Outside:
    """Return the streams of this process. One that was closed before the start leads nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It stays open until the process ends.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    return Outside(sys.stdin.buffer, sys.stdout.buffer, sys.stderr)


def take_all_words(parser: argparse.ArgumentParser) -> None:
    """Keep all words of a command line in ``args``: Twisted parses them, so argparse must not."""
    parser.prefix_chars = "\0"
    parser.add_argument("args", nargs="*")
