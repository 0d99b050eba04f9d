"""The commands of ``python -m wsredis``, for the shell and for scripts."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TextIO

from wsredis import __version__
from wsredis.config import GatewayConfig, RedisConfig, all_settings, load
from wsredis.errors import ConfigError
from wsredis.publisher import RedisPublisher
from wsredis.publisher.client import connect

if TYPE_CHECKING:
    import redis

__all__ = ["COMMANDS", "Command", "Outside", "main"]

#: Seconds without a message after which Redis is asked whether it is there, and then given up.
_SILENCE = 10.0

#: Seconds between two attempts to connect again.
_PAUSE = 1.0

#: Settings of the gateway that are options here, too.
_SETTINGS = ("redis", "redis-ca", "redis-password-file", "prefix")


@dataclass(frozen=True, slots=True)
class Outside:
    """
    What a command touches.

    Attributes:
        connect: Makes the client of redis-py.
        pause: Waits for so many seconds.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: TextIO
    connect: Callable[[RedisConfig], redis.Redis] = connect
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command.

    Attributes:
        help: What it does, in a line.
        add_arguments: Tells the parser what it takes.
        run: Does it. Returns: The status. Raises `ConfigError` (status 2) and errors of redis-py
            (status 1), of which one line is shown.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Outside], int]


def main(words: Sequence[str], outside: Outside | None = None) -> int:
    """
    Run one command.

    Args:
        words: What stands behind ``python -m wsredis``.
        outside: None: the streams of the process, and a real Redis.
    Returns: The status: 0, 1 where Redis fails, 2 where the words or a setting are wrong, 130 where
        it was interrupted.
    """
    outside = outside or Outside(sys.stdin.buffer, sys.stdout.buffer, sys.stderr)
    arguments = _parser().parse_args(words)
    try:
        return COMMANDS[arguments.command].run(arguments, outside)
    except ConfigError as error:
        return _fail(outside, arguments, error, 2)
    except BrokenPipeError:
        # Who read the output has seen enough; Python would complain when it flushes it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), outside.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """What is wrong is said in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m wsredis",
        description="Publish to the clients of a gateway, listen with them, and check settings. "
        "The gateway itself is 'twistd wsredis'.",
    )
    parser.add_argument("--version", action="version", version=f"wsredis {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        about = f"{command.help[0].upper()}{command.help[1:]}."
        command.add_arguments(commands.add_parser(name, help=command.help, description=about))
    return parser


def _fail(outside: Outside, arguments: argparse.Namespace, error: object, status: int) -> int:
    line = " ".join(str(error).split())
    print(f"python -m wsredis {arguments.command}: {line}", file=outside.stderr)
    return status


def _add_channel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("facility", metavar="FACILITY", help="the topic")
    parser.add_argument("--broadcast", action="store_true", help="everybody who listens")
    for audience, metavar in (("user", "NAME"), ("group", "NAME"), ("session", "KEY")):
        parser.add_argument(
            f"--{audience}",
            action="append",
            default=[],
            type=_owner,
            metavar=metavar,
            help=f"this {audience}. May be repeated",
        )
    known = {setting.name: setting for setting in all_settings()}
    for name in _SETTINGS:
        # Not all that the gateway says of it is true here.
        about = "redis://, rediss:// or unix:// URL" if name == "redis" else known[name].help
        parser.add_argument(f"--{name}", metavar="VALUE", help=about)
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings of the gateway")


def _owner(text: str) -> str:
    if not text or ":" in text:
        raise argparse.ArgumentTypeError(f"{text!r} has no channel: it is empty or has a colon")
    return text


def _settings_of(arguments: argparse.Namespace) -> GatewayConfig:
    """The settings that the gateway would have, with these options."""
    given = {name: getattr(arguments, name.replace("-", "_")) for name in _SETTINGS}
    return load(given, os.environ, arguments.config)


def _publisher_for(
    arguments: argparse.Namespace, config: GatewayConfig, client: redis.Redis
) -> RedisPublisher:
    publisher = RedisPublisher(
        connection=client,
        prefix=config.prefix,
        expire=config.expire,
        heartbeat=config.heartbeat or "",
        facility=arguments.facility,
        broadcast=arguments.broadcast,
        users=arguments.user,
        groups=arguments.group,
        sessions=arguments.session,
    )
    if not publisher.channels:
        raise ConfigError("for whom? Say --broadcast, --user, --group or --session")
    return publisher


def _add_publish_arguments(parser: argparse.ArgumentParser) -> None:
    _add_channel_arguments(parser)
    parser.add_argument(
        "--expire",
        type=int,
        metavar="SECONDS",
        help="how long the message is kept for those who come later. 0: it is not",
    )
    parser.add_argument(
        "message", metavar="MESSAGE", help="'-' reads standard input, to its end, as it is"
    )


def _publish(arguments: argparse.Namespace, outside: Outside) -> int:
    config = _settings_of(arguments)
    with outside.connect(config.redis) as client:
        from redis import RedisError

        publisher = _publisher_for(arguments, config, client)
        text = arguments.message
        message = outside.stdin.read() if text == "-" else os.fsencode(text)
        try:
            heard = publisher.publish_message(message, arguments.expire)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        except RedisError as error:
            return _fail(outside, arguments, error, 1)
    outside.stdout.write(b"%d subscriber(s) received it\n" % heard)
    outside.stdout.flush()
    return 0


def _subscribe(arguments: argparse.Namespace, outside: Outside) -> int:
    config = _settings_of(arguments)
    with outside.connect(config.redis) as client:
        from redis import ConnectionError, RedisError, TimeoutError

        channels = _publisher_for(arguments, config, client).channels
        shown = " ".join(channel.decode() for channel in channels)
        # None: Redis was not there yet, and to wait for it would hide a wrong address.
        connected: bool | None = None

        def listening() -> None:
            nonlocal connected
            connected = True
            print(f"listening to {shown}", file=outside.stderr, flush=True)

        def heard(payload: bytes) -> None:
            outside.stdout.write(_line(payload, outside.stdout.isatty()))
            outside.stdout.flush()

        while True:
            try:
                _listen(client, channels, listening, heard)
            except (ConnectionError, TimeoutError) as error:
                if connected is None:
                    return _fail(outside, arguments, error, 1)
                if connected:
                    _fail(outside, arguments, f"lost Redis, and tries again: {error}", 1)
                connected = False
            except RedisError as error:
                return _fail(outside, arguments, error, 1)
            outside.pause(_PAUSE)


def _listen(
    client: redis.Redis,
    channels: Sequence[bytes],
    listening: Callable[[], None],
    heard: Callable[[bytes], None],
) -> NoReturn:
    """
    Hand over what is published.

    Args:
        listening: Called when Redis has confirmed all channels.
    Raises:
        redis.RedisError: The connection was lost, or Redis refused.
    """
    from redis import ConnectionError

    with client.pubsub() as subscriber:
        subscriber.subscribe(*channels)
        missing = len(channels)
        asked = False
        while True:
            got = subscriber.get_message(timeout=_SILENCE)
            if got is not None:
                asked = False
                if got["type"] == "message":
                    heard(got["data"])
                elif got["type"] == "subscribe":
                    missing -= 1
                    if not missing:
                        listening()
            elif asked:
                raise ConnectionError(f"no answer for {_SILENCE:g} seconds")
            else:
                subscriber.ping()
                asked = True


def _line(payload: bytes, terminal: bool) -> bytes:
    """A message as it is shown; what a stranger sent must not command the terminal."""
    if terminal:
        text = payload.decode("utf-8", "backslashreplace")
        shown = (each if each.isprintable() else _escaped(each) for each in text)
        payload = "".join(shown).encode()
    return payload + b"\n"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _add_check_arguments(parser: argparse.ArgumentParser) -> None:
    # The options are those of the gateway, and Twisted reads them: here they are but words.
    parser.prefix_chars = "\0"
    parser.add_argument("words", nargs="*")


def _check_config(arguments: argparse.Namespace, outside: Outside) -> int:
    # Imported here, since it loads the whole gateway.
    from wsredis.service.check_config import run

    return run(arguments.words)


#: All commands by their names. A new one needs an entry here and nothing else.
COMMANDS = {
    "publish": Command("publish one message", _add_publish_arguments, _publish),
    "subscribe": Command(
        "print what is published, one message a line, until Ctrl-C",
        _add_channel_arguments,
        _subscribe,
    ),
    "check-config": Command(
        "say whether the gateway would start, and what a user could do",
        _add_check_arguments,
        _check_config,
    ),
}
