"""``wsredis serve`` and ``wsredis demo``: the gateway in the foreground, run by parts of twistd."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from twisted.application.service import ServiceMaker
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]

from wsredis.config import GatewayConfig, RedisConfig, all_settings, setting_of
from wsredis.service.option_help import OptionHelp
from wsredis.service.signals import Signals
from wsredis.service.startup import give_up
from wsredis.service.tap import Options

__all__ = ["DemoOptions", "ServeOptions", "free_port", "parse", "serve"]

#: The first port that ``demo`` tries, and the number of ports.
_FIRST_PORT, _PORTS = 8080, 100

_LOCAL = "127.0.0.1"

_DEMO = setting_of(GatewayConfig, "demo").name
_PORT = setting_of(GatewayConfig, "port").name
_VERBOSE = setting_of(GatewayConfig, "verbose").name
_REDIS = setting_of(RedisConfig, "url").name

#: The options of twistd that are options here. Its --prefix is not: ours is that of channels.
_OF_TWISTD = (
    OptionHelp("logfile", "FILE", "Append the log to this file; '-' is standard output.", "l"),
    OptionHelp("syslog", "", "Log to the syslog of this machine."),
    OptionHelp("pidfile", "FILE", "Write the process id to this file. Without it, there is none."),
    OptionHelp("rundir", "FOLDER", "Change to this folder before the start.", "d"),
    OptionHelp("uid", "USER", "Become this user after the ports are bound.", "u"),
    OptionHelp("gid", "GROUP", "Become this group after the ports are bound.", "g"),
    OptionHelp("euid", "", "Change only the effective user."),
    OptionHelp("umask", "MASK", "Mask for the rights of new files, in octal digits."),
    OptionHelp("chroot", "FOLDER", "Make this folder the root of the file system."),
    OptionHelp("reactor", "NAME", "The reactor of Twisted that is used.", "r"),
    # Everybody who knows twistd types it.
    OptionHelp("nodaemon", "", "Stay in the foreground, as always.", "n"),
)


class ServeOptions(Options):
    """The options of the gateway, and those of twistd that matter in the foreground."""

    for_people = True
    help_command = "wsredis serve --help"
    usage_line = "Usage: wsredis serve [options]"
    longdesc = (
        "Runs the gateway until Ctrl-C. Every setting can also be given as a key of the TOML file, "
        "or as an environment variable: --max-queue as WSREDIS_MAX_QUEUE. 'twistd wsredis' takes "
        "the same settings, and can run in the background."
    )

    def getSynopsis(self) -> str:
        """Return the usage line, which would begin with that of twistd."""
        return self.usage_line

    def other_options(self) -> Iterator[OptionHelp]:
        """Return the options that are no settings."""
        yield from super().other_options()
        yield from _OF_TWISTD


class DemoOptions(ServeOptions):
    """The options of ``serve``, with other defaults."""

    help_command = "wsredis demo --help"
    usage_line = "Usage: wsredis demo [options]"
    longdesc = (
        "Runs a gateway for trying it out, until Ctrl-C: with a page to play with, a private Redis "
        f"that keeps nothing, and a log of all connections. It listens on {_LOCAL}, so other "
        f"computers cannot reach it, on port {_FIRST_PORT} or the next free one. The options are "
        "those of 'wsredis serve'."
    )

    def defaults_of_command(self) -> Mapping[str, Any]:
        """See `Options.defaults_of_command`."""
        self._own = f"{_LOCAL}:{free_port()}"
        return {_DEMO: True, _VERBOSE: True, _REDIS: "embedded", _PORT: (self._own,)}

    def load(self) -> GatewayConfig:
        """See `Options.load`. A bare port number is not open to the network here."""
        config = super().load()
        is_first = self._own == f"{_LOCAL}:{_FIRST_PORT}"
        if config.port == (self._own,) and not is_first:
            # Pages and lines that were made for the first port go to whoever has it.
            print(
                f"wsredis demo: port {_FIRST_PORT} is taken, perhaps by another gateway: "
                "this one takes the next free port",
                file=sys.stderr,
            )
        ports = tuple(f"{_LOCAL}:{each}" if each.isdigit() else each for each in config.port)
        return replace(config, port=ports)


def free_port(first: int = _FIRST_PORT, count: int = _PORTS) -> int:
    """
    Find a port of this machine on which nobody listens.

    Returns:
        The first free one of *count* ports. If all are taken, 0, for any.
    """
    return next(filter(_is_free, range(first, first + count)), 0)


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_LOCAL, port))
        except OSError:
            return False
    # A browser may take "localhost" for ::1, where another server may listen.
    try:
        socket.create_connection(("::1", port), timeout=0.2).close()
    except OSError:
        return True
    return False


class _Twistd(ServerOptions):
    """The command line of a twistd that knows one program."""

    def __init__(self, make: type[ServeOptions], signals: Signals) -> None:
        super().__init__()
        self._make = make
        self._signals = signals

    @property
    def subCommands(self) -> Iterator[tuple[Any, ...]]:
        """The program. twistd would look for plugins in all packages."""
        self.loadedPlugins = {"wsredis": ServiceMaker("wsredis", Options.__module__, "", "wsredis")}
        yield "wsredis", None, lambda: self._make(self._signals), ""


def parse(make: type[ServeOptions], words: Sequence[str], signals: Signals) -> ServerOptions:
    """
    Parse a command line. A mistake ends the program with one line and status 1.

    Args:
        make: The options of the command.
        words: The command line after the command.
        signals: Are followed when the program is ready.

    Returns:
        The options of twistd. Those of the gateway are ``subOptions`` of it.
    """
    options = _Twistd(make, signals)
    try:
        of_twistd, own = _split(words)
        options.parseOptions(["--nodaemon", "--pidfile=", *of_twistd, "wsredis", *own])
    # A user that does not exist is a KeyError.
    except (usage.UsageError, KeyError) as error:
        line, *_ = str(error.args[0]).splitlines()
        give_up(f"{line} ({make.help_command} shows all options)")
    return options


def serve(make: type[ServeOptions], words: Sequence[str], signals: Signals) -> int:
    """
    Run the gateway until it is told to stop.

    Args:
        make: See `parse`.
        words: See `parse`.
        signals: See `parse`.

    Returns:
        0. A signal that ended it ends the process.
    """
    runApp(parse(make, words, signals))
    return 0


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """
    Split a command line into the options of twistd and those of the gateway.

    Raises:
        UsageError: The last option has no value.
    """
    takes_value = {f"--{each.name}": bool(each.metavar) for each in _OF_TWISTD}
    takes_value |= {f"-{each.short}": bool(each.metavar) for each in _OF_TWISTD if each.short}
    # The next word is its value, whatever it looks like.
    own_with_value = {each.option for each in all_settings() if not each.is_flag} | {"--config"}
    of_twistd: list[str] = []
    own: list[str] = []
    rest = iter(words)
    for word in rest:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        target, has_value = (
            (of_twistd, takes_value[name]) if name in takes_value else (own, name in own_with_value)
        )
        target.append(word)
        if has_value and word == name:
            value = next(rest, None)
            if value is None:
                raise usage.UsageError(f"option {name} requires argument")
            target.append(value)
    return of_twistd, own
