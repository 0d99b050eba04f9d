"""
The commands of ``wsredis``, for the shell and for scripts.

It is one module because the commands share their options, their outside and the ways to fail.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from wsredis import __version__
from wsredis.config import GatewayConfig, RedisConfig, load, setting_of
from wsredis.config.redis_url import error_text, target_of
from wsredis.errors import ConfigError
from wsredis.publisher import RedisPublisher
from wsredis.publisher.ending import ending_commands
from wsredis.service.connect.command import CONNECT
from wsredis.service.mistakes import with_suggestion
from wsredis.service.outside import (
    GROUPS,
    Command,
    Outside,
    outside_of_process,
    take_all_words,
)
from wsredis.service.printable import printable
from wsredis.service.signals import Signals
from wsredis.service.why import ask, check_channel, explain, list_gateways

if TYPE_CHECKING:
    import redis

__all__ = ["COMMANDS", "main"]

#: Seconds without a message after which a PING is sent. After as many seconds without an answer
#: the connection is given up.
_SILENCE = 10.0

#: Seconds between two attempts to connect again.
_PAUSE = 1.0

#: Settings of the gateway that are options here too.
_SETTINGS = (
    setting_of(RedisConfig, "url"),
    setting_of(RedisConfig, "ca"),
    setting_of(RedisConfig, "password_file"),
    setting_of(GatewayConfig, "prefix"),
    setting_of(GatewayConfig, "stored_prefix"),
)


_OPTION = re.compile(r"--[a-z][a-z-]*")

#: The audiences with names, and the words for their names.
_OWNERS = (("user", "NAME"), ("group", "NAME"), ("session", "KEY"))


def main(
    args: Sequence[str],
    outside: Outside | None = None,
    commands: Mapping[str, Command] | None = None,
) -> int:
    """
    Run one command.

    Args:
        args: The command line after ``wsredis``.
        outside: If None, it is the streams of the process, and a real Redis.
        commands: All commands by their names. If None, they are `COMMANDS`.

    Returns:
        The status: 0; 1 if Redis fails; 2 if an argument or a setting is wrong; 130 if it was
        interrupted.
    """
    outside = outside or outside_of_process()
    commands = COMMANDS if commands is None else commands
    parser, parsers = _parser(commands)
    if not args:
        parser.print_help(outside.stderr)
        return 2
    if args[0] == "help":
        # As people ask other programs.
        args = [*args[1:2], "--help"]
    arguments, unknown = parser.parse_known_args(args)
    if unknown:
        parsers[arguments.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return commands[arguments.command].run(arguments, outside)
    except ConfigError as error:
        return _fail(outside, arguments, error, 2)
    except BrokenPipeError:
        # The reader of the output has closed it. Python would fail when it flushes it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), outside.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, with the word that was meant."""

    #: The commands of a parser that has some.
    commands: Collection[str] = ()

    def error(self, message: str) -> NoReturn:
        known = [*self.commands, *_OPTION.findall(self.format_help())]
        text = " ".join(with_suggestion(message, known).split())
        self.exit(2, f"{self.prog}: {text} (--help shows all options)\n")


def _parser(known: Mapping[str, Command]) -> tuple[_Parser, dict[str, _Parser]]:
    """Make the parser of all commands, and those of each."""
    parser = _Parser(
        prog="wsredis",
        usage="wsredis COMMAND [options]",
        description="A gateway between WebSockets and Redis pub/sub: 'wsredis demo' shows it.",
        epilog=_list_of(known),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wsredis {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, help=argparse.SUPPRESS, prog="wsredis"
    )
    parser.commands = known.keys()
    parsers = {}
    for name, command in known.items():
        about = f"{command.help[0].upper()}{command.help[1:]}."
        parsers[name] = commands.add_parser(name, description=about)
        command.add_arguments(parsers[name])
    return parser, parsers


def _list_of(known: Mapping[str, Command]) -> str:
    """Return the commands by groups, for the help."""
    width = max(map(len, known))
    lines = []
    for group, heading in GROUPS.items():
        lines += [f"{heading}:"]
        lines += [
            f"  {name:{width}}  {command.help}"
            for name, command in known.items()
            if command.group == group
        ]
        lines += [""]
    return "\n".join([*lines, "'wsredis COMMAND --help' shows the options of a command."])


def _fail(outside: Outside, arguments: argparse.Namespace, error: object, status: int) -> int:
    line = " ".join(str(error).split())
    print(f"wsredis {arguments.command}: {line}", file=outside.stderr)
    return status


def _add_channel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("facility", metavar="FACILITY", help="The topic.")
    parser.add_argument("--broadcast", action="store_true", help="To all listeners of the topic.")
    _add_owner_arguments(parser, "To this {}. May be repeated.", _owner)
    _add_setting_arguments(parser)


def _add_owner_arguments(
    parser: argparse.ArgumentParser, help: str, check: Callable[[str], str]
) -> None:
    for audience, metavar in _OWNERS:
        parser.add_argument(
            f"--{audience}",
            action="append",
            default=[],
            type=check,
            metavar=metavar,
            help=help.format(audience),
        )


def _add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    for each in _SETTINGS:
        about = (
            "URL of Redis (redis://, rediss:// or unix://). If not given, it is the private Redis "
            "of a gateway that runs, or else the one at localhost:6379."
        )
        parser.add_argument(
            each.option, metavar="VALUE", help=about if each.name == "redis" else each.help
        )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings of the gateway.")


def _owner(text: str) -> str:
    if not text or ":" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is empty or has a colon: it has no channel")
    return text


def _settings_of(arguments: argparse.Namespace, outside: Outside) -> GatewayConfig:
    """Return the settings that the gateway would have with these options."""
    given = {each.name: getattr(arguments, each.name.replace("-", "_")) for each in _SETTINGS}

    def unknown(problem: str) -> None:
        # Scripts have variables of their own; but it may be a mistake.
        _fail(outside, arguments, f"warning: ignoring {problem}", 0)

    config = load(given, os.environ, arguments.config, unknown=unknown)
    if config.redis.url in (None, "embedded"):
        config = _find_private(config, arguments, outside)
    return config


def _find_private(
    config: GatewayConfig, arguments: argparse.Namespace, outside: Outside
) -> GatewayConfig:
    """Use the private Redis of a gateway that runs, if there is one, and say so."""
    urls = [*outside.private()]
    if len(urls) > 1:
        several = " or ".join(urls)
        raise ConfigError(
            f"several gateways run with a Redis of their own: give --redis {several}, as the log "
            "of the gateway says: 'started a private Redis at ...'"
        )
    if not urls and config.redis.url is not None:
        raise ConfigError("--redis: no gateway of this user runs with a Redis of its own")
    if not urls:
        return config
    print(f"using the private Redis of the gateway that runs: {urls[0]}", file=outside.stderr)
    return replace(config, redis=replace(config.redis, url=urls[0]))


def _with_remedy(error: redis.RedisError, config: GatewayConfig, outside: Outside) -> str:
    """Return the text of an error, and where a Redis is if nobody answered."""
    from redis import ConnectionError

    text = error_text(error).removesuffix(".")
    # Its subclasses come from a server that has answered.
    if type(error) is not ConnectionError:
        return text
    others = [each for each in outside.private() if each != config.redis.url]
    if others:
        return f"{text}; a gateway that runs has a private one: --redis {' or '.join(others)}"
    if config.redis.url is None:
        return f"{text}; give --redis, or start 'wsredis demo', which has a private one"
    return text


def _publisher_for(
    arguments: argparse.Namespace, config: GatewayConfig, client: redis.Redis
) -> RedisPublisher:
    publisher = RedisPublisher(
        connection=client,
        prefix=config.prefix,
        stored_prefix=config.stored_prefix,
        expire=config.expire,
        heartbeat=config.heartbeat or "",
        facility=arguments.facility,
        broadcast=arguments.broadcast,
        users=arguments.user,
        groups=arguments.group,
        sessions=arguments.session,
    )
    if not publisher.channels:
        raise ConfigError("no audience: give --broadcast, --user, --group or --session")
    return publisher


def _add_publish_arguments(parser: argparse.ArgumentParser) -> None:
    _add_channel_arguments(parser)
    parser.add_argument(
        "--expire",
        type=int,
        metavar="SECONDS",
        help="Seconds that Redis stores the message for clients that connect later. 0 does not "
        "store it.",
    )
    parser.add_argument(
        "message",
        metavar="MESSAGE",
        help="The message. '-' reads it from standard input, unchanged, to its end.",
    )


def _publish(arguments: argparse.Namespace, outside: Outside) -> int:
    config = _settings_of(arguments, outside)
    with outside.connect(config.redis) as client:
        from redis import RedisError

        publisher = _publisher_for(arguments, config, client)
        text = arguments.message
        message = outside.stdin.read() if text == "-" else os.fsencode(text)
        try:
            count = publisher.publish_message(message, arguments.expire)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        except RedisError as error:
            return _fail(outside, arguments, _with_remedy(error, config, outside), 1)
        outside.stdout.write(b"%d subscriber(s) received it\n" % count)
        outside.stdout.flush()
        if not count:
            server, channels = target_of(config.redis).name, publisher.channels
            for line in outside.why_nobody(client, server, config.prefix, channels):
                print(printable(line), file=outside.stderr)
    return 0


def _subscribe(arguments: argparse.Namespace, outside: Outside) -> int:
    config = _settings_of(arguments, outside)
    with outside.connect(config.redis) as client:
        from redis import ConnectionError, RedisError, TimeoutError

        channels = _publisher_for(arguments, config, client).channels
        shown = " ".join(channel.decode() for channel in channels)
        # None until the first connection: without one, the address may be wrong, and waiting would
        # hide it.
        connected: bool | None = None

        def listening() -> None:
            nonlocal connected
            connected = True
            print(f"listening to {shown}", file=outside.stderr, flush=True)

        def received(payload: bytes) -> None:
            outside.stdout.write(_line(payload, outside.stdout.isatty()))
            outside.stdout.flush()

        while True:
            try:
                _listen(client, channels, listening, received)
            except (ConnectionError, TimeoutError) as error:
                if connected is None:
                    return _fail(outside, arguments, _with_remedy(error, config, outside), 1)
                if connected:
                    _fail(outside, arguments, f"connection to Redis lost, reconnecting: {error}", 1)
                connected = False
            except RedisError as error:
                return _fail(outside, arguments, _with_remedy(error, config, outside), 1)
            outside.pause(_PAUSE)


def _listen(
    client: redis.Redis,
    channels: Sequence[bytes],
    listening: Callable[[], None],
    received: Callable[[bytes], None],
) -> NoReturn:
    """
    Subscribe, and pass on each message that is published.

    Args:
        client: A client of redis-py.
        channels: The channels.
        listening: Called when Redis has confirmed all channels.
        received: Called with each message.

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
                    received(got["data"])
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
    """Return a message as one line. On a terminal, control characters of it are escaped."""
    if terminal:
        payload = printable(payload.decode("utf-8", "backslashreplace")).encode()
    return payload + b"\n"


def _add_end_arguments(parser: argparse.ArgumentParser) -> None:
    _add_owner_arguments(parser, "End the connections of this {}. May be repeated.", str)
    _add_setting_arguments(parser)


def _end(arguments: argparse.Namespace, outside: Outside) -> int:
    config = _settings_of(arguments, outside)
    commands = [
        command
        for selector, _ in _OWNERS
        for command in ending_commands(config.prefix, selector, getattr(arguments, selector))
    ]
    if not commands:
        raise ConfigError("nobody: give --user, --group or --session")
    with outside.connect(config.redis) as client:
        from redis import RedisError

        try:
            with client.pipeline(transaction=False) as pipeline:
                for args in commands:
                    pipeline.execute_command(*args)
                # An error that redis-py raises quotes the command, with the key of a session.
                replies = pipeline.execute(raise_on_error=False)
        except RedisError as error:
            return _fail(outside, arguments, _with_remedy(error, config, outside), 1)
    errors = [each for each in replies if isinstance(each, Exception)]
    if errors:
        return _fail(outside, arguments, error_text(errors[0]), 1)
    outside.stdout.write(b"kept for a day; published\n")
    outside.stdout.flush()
    return 0


def _add_why_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "channel",
        metavar="CHANNEL",
        help="broadcast:FACILITY, user:NAME:FACILITY, group:NAME:FACILITY or session:KEY:FACILITY.",
    )
    _add_gateways_arguments(parser)


def _add_gateways_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="Time that the gateways have to answer (2).",
    )
    _add_setting_arguments(parser)


def _ask(arguments: argparse.Namespace, outside: Outside) -> int:
    """Ask the gateways, about a channel or not. Without one, the status is 1 if none answers."""
    config = _settings_of(arguments, outside)
    text = getattr(arguments, "channel", None)
    channel = None if text is None else check_channel(text, config.prefix)
    with outside.connect(config.redis) as client:
        from redis import RedisError

        try:
            answers = ask(client, config.prefix, channel, arguments.wait)
            lines = (
                list_gateways(answers)
                if channel is None
                else explain(client, channel, config.stored_prefix, answers)
            )
            for line in lines:
                outside.stdout.write(_line(line.encode("utf-8", "replace"), True))
        except RedisError as error:
            return _fail(outside, arguments, _with_remedy(error, config, outside), 1)
    outside.stdout.flush()
    return 0 if answers.found or channel is not None else 1


def _check_config(arguments: argparse.Namespace, outside: Outside) -> int:
    # Imported late, since it loads the whole gateway.
    from wsredis.service.check_config import run

    return run(arguments.args)


def _serve(arguments: argparse.Namespace, outside: Outside) -> int:
    # First of all: until the program is ready, these signals would end it.
    signals = Signals()
    signals.catch()
    from wsredis.service.serve import DemoOptions, ServeOptions, serve

    make = DemoOptions if arguments.command == "demo" else ServeOptions
    return serve(make, arguments.args, signals)


def _add_no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _version(arguments: argparse.Namespace, outside: Outside) -> int:
    """Print what a report of a fault should say."""
    # Imported late: no other command needs it.
    from importlib import metadata

    lines = [f"wsredis {__version__}", f"Python {platform.python_version()}, {platform.platform()}"]
    for name in ("Twisted", "autobahn", "txredisapi", "hiredis", "redis", "Django"):
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    outside.stdout.write("".join(f"{line}\n" for line in lines).encode())
    outside.stdout.flush()
    return 0


#: All commands that need no Django, by their names. A new one needs an entry here and nothing else.
COMMANDS = {
    "demo": Command(
        "run a gateway for trying it out, with a page to play with",
        "run",
        take_all_words,
        _serve,
    ),
    "serve": Command("run the gateway until Ctrl-C", "run", take_all_words, _serve),
    "check-config": Command(
        "check whether the gateway would start, and show what a user may do",
        "run",
        take_all_words,
        _check_config,
    ),
    "publish": Command("publish one message", "messages", _add_publish_arguments, _publish),
    "subscribe": Command(
        "print what is published, one message per line, until Ctrl-C",
        "messages",
        _add_channel_arguments,
        _subscribe,
    ),
    "connect": CONNECT,
    "why": Command(
        "ask the gateways about a channel: who hears it, what came, what went wrong",
        "look",
        _add_why_arguments,
        _ask,
    ),
    "gateways": Command(
        "list the gateways that are connected to Redis",
        "look",
        _add_gateways_arguments,
        _ask,
    ),
    "end": Command(
        "end sessions, or all sessions of users or groups",
        "other",
        _add_end_arguments,
        _end,
    ),
    "version": Command(
        "print the versions of wsredis and of the libraries that it uses",
        "other",
        _add_no_arguments,
        _version,
    ),
}
