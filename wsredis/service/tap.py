"""``twistd wsredis``: the options, and `makeService`, which twistd calls with them."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.python import usage

from wsredis import __version__
from wsredis.auth.sources.django.project import project_settings, warn_of_differences
from wsredis.config import (
    GatewayConfig,
    Limits,
    RedisConfig,
    all_settings,
    load,
    setting_of,
)
from wsredis.errors import ConfigError
from wsredis.service.deadline import Deadline
from wsredis.service.late_failure import LateFailure
from wsredis.service.leftovers import remove_stale_pidfile
from wsredis.service.log.output import observer_for
from wsredis.service.mistakes import with_suggestion
from wsredis.service.option_help import OptionHelp, help_text
from wsredis.service.signals import Signals
from wsredis.service.startup import (
    OrderedServices,
    build,
    fit_descriptors,
    give_up,
    raise_descriptor_limit,
)
from wsredis.service.stop_once import stop_once
from wsredis.service.systemd import supervision_from

__all__ = ["Options", "makeService", "repeatable"]

_EXAMPLE = setting_of(Limits, "max_queue")
_PASSWORD = setting_of(RedisConfig, "password")
_PASSWORD_FILE = setting_of(RedisConfig, "password_file")


def repeatable(name: str, help: str) -> Callable[[Options, str], None]:
    """
    Make the method of an option that may be repeated: ``opt_NAME`` of `Options`.

    Args:
        name: The key in `Options.repeated`.
        help: The line for ``--help``.
    """

    def add(self: Options, value: str) -> None:
        self.repeated.setdefault(name, []).append(value)

    add.__doc__ = help
    return add


class Options(usage.Options):
    """
    The command line. Values are checked together with those of the environment and the file.

    A mistake ends the program with one line and status 1. twistd itself would print the whole
    help, and end with status 0.

    Args:
        signals: Followed when the program is ready. If None, there are none.

    Attributes:
        repeated: The values of options that may be repeated, by name.
        signals: See the argument.
    """

    #: Tells whether the log is for people if it goes to a terminal.
    for_people = False
    #: twistd puts its own words in front of it.
    synopsis = "[options]"
    #: The command that prints the help.
    help_command = "twistd wsredis --help"
    longdesc = (
        "A gateway between WebSockets and Redis pub/sub. Every option can also be given as a key "
        f"of the TOML file, or as an environment variable: {_EXAMPLE.option} as "
        f"{_EXAMPLE.variable}. The password for Redis is read from {_PASSWORD_FILE.option} or "
        f"{_PASSWORD.variable}."
    )
    optParameters = [
        ["config", None, None, "TOML file with settings."],
        *(
            [each.name, None, None, each.help]
            for each in all_settings()
            if not (each.secret or each.repeatable or each.is_flag)
        ),
    ]
    optFlags = [[each.name, None, each.help] for each in all_settings() if each.is_flag]

    def __init__(self, signals: Signals | None = None) -> None:
        super().__init__()
        self.repeated: dict[str, list[str]] = {}
        self.signals = signals or Signals()

    def getUsage(self, width: int | None = None) -> str:
        """Return the help behind the usage line. Settings are grouped."""
        return help_text(self.longdesc, self.other_options(), width)

    def other_options(self) -> Iterator[OptionHelp]:
        """Return the options that are no settings, for the help."""
        settings = {each.name for each in all_settings()}
        for option in self.longOpt:
            name = option.rstrip("=")
            if name not in settings:
                about = " ".join(self.docs[name].split())
                yield OptionHelp(name, "VALUE" if option.endswith("=") else "", about)

    def opt_version(self) -> NoReturn:
        """Print the version of wsredis, and end."""
        sys.exit(print(f"wsredis {__version__}"))

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Parse the command line, or end the program."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            text = str(error)
            for word in options or ():
                # getopt reads it as letters, and names the first one.
                if re.match("-[a-z][a-z]", word) and text == f"option {word[:2]} not recognized":
                    text = f"option {word} not recognized"
            known = [f"--{each.rstrip('=')}" for each in self.longOpt]
            text = with_suggestion(text, known)
            give_up(f"{text} ({self.help_command} shows all options)")
        if self.parent is not None:
            # twistd looks at the file next.
            remove_stale_pidfile(self.parent.get("pidfile") or "")

    def parseArgs(self, *args: str) -> None:
        """Refuse words that are not options."""
        if args:
            raise usage.UsageError(f"{args[0]!r} is not an option")

    def load(self) -> GatewayConfig:
        """
        Put all settings together: options, environment, file and Django project.

        Raises:
            ConfigError: One of them is wrong.
        """
        options: dict[str, Any] = {}
        for each in all_settings():
            if each.repeatable:
                options[each.name] = self.repeated.get(each.name)
            # A flag that is not given is 0.
            elif self.get(each.name) not in (None, 0):
                options[each.name] = self[each.name]
        found: dict[str, Any] = {}

        def project(module: str) -> Mapping[str, Any]:
            found.update(project_settings(module))
            return found

        defaults = self.defaults_of_command()
        config = load(options, os.environ, self["config"], project, defaults=defaults)
        if config.django:
            warn_of_differences(config, found)
        return config

    def defaults_of_command(self) -> Mapping[str, Any]:
        """Return the values that settings have with this command if they are not given."""
        return {}


for _setting in all_settings():
    if _setting.repeatable:
        _method = f"opt_{_setting.name.replace('-', '_')}"
        setattr(Options, _method, repeatable(_setting.name, _setting.help))


def makeService(options: Options) -> IService:
    """Build the services of one process. twistd calls it with the command line, and starts them."""
    from twisted.internet import reactor

    # A step of the system's clock must not freeze or fire every timer of the process.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    services = OrderedServices(Deadline())
    stop_once(reactor).hurry = services.stop_now
    raise_descriptor_limit()
    try:
        config = fit_descriptors(options.load())
        if options.parent is not None:
            services.observer = observer_for(
                config.log_format, options.parent, sys.stdout, for_people=options.for_people
            )
        gateway, embedded = build(config, reactor)
    except ConfigError as error:
        give_up(error)
    gateway.give_up = LateFailure(reactor)
    # twistd gives up the rights that a port may need.
    gateway.binds_early |= options.parent is not None and options.parent.get("uid") is not None
    if embedded is not None:
        embedded.setServiceParent(services)
    gateway.setServiceParent(services)
    supervision = supervision_from(os.environ, reactor, gateway)
    if supervision is not None:
        # The last one is the first to hear of a stop.
        supervision.setServiceParent(services)
    options.signals.follow(
        reactor, {signal.SIGHUP: services.reload, signal.SIGUSR1: services.reopen_log}
    )
    return services
