"""The options of ``check-project``, and the start of a gateway that would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.python import usage
from zope.interface import provider

from wsredis.config import DEFAULT_URL
from wsredis.errors import ConfigError
from wsredis.service.check_config import check_start
from wsredis.service.tap import Options

__all__ = ["ProjectOptions", "Start", "try_start"]


class ProjectOptions(Options):
    """
    The settings module of a project, and the options of its gateway.

    Args:
        words: The command line after ``check-project``.

    Attributes:
        module: The settings module.

    Raises:
        ConfigError: The words are no such options.
    """

    synopsis = "Usage: wsredis check-project SETTINGS [options]"
    longdesc = (
        "Tells what of a Django project that used django-websocket-redis works unchanged with "
        "wsredis, what does not, and what to do. SETTINGS is the settings module, such as "
        "mysite.settings. The options are those of the gateway. The status is 0 if all works "
        "unchanged, 1 if something needs a change, and 2 if the project cannot be loaded."
    )

    #: The project is judged, and the gateway is not the one that will run.
    warns_of_differences = False

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.module = ""
        given = list(words)
        if given and not given[0].startswith("-"):
            # Options end at the first word that is none.
            given.append(given.pop(0))
        try:
            usage.Options.parseOptions(self, given)
        except usage.UsageError as error:
            raise ConfigError(f"{error} (--help shows all options)") from None

    def parseArgs(self, *words: str) -> None:
        """Take the settings module."""
        if len(words) != 1:
            raise usage.UsageError("give one settings module, such as mysite.settings")
        self.module = self["django"] = words[0]


@dataclass(slots=True)
class Start:
    """
    The start of a gateway, up to its ports.

    Attributes:
        warnings: The lines that it would log, by their events.
        error: The reason why it would not start. If None, it would.
    """

    warnings: list[tuple[str, str]] = field(default_factory=list)
    error: str | None = None


def try_start(options: ProjectOptions, reactor: Any) -> Start:
    """Do everything that a start does before it binds a port. Redis is not asked."""
    start = Start()

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.warn:
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            start.warnings.append((str(event.get("event")), text))

    globalLogPublisher.addObserver(observe)
    try:
        config = options.load()
        # Which Redis is chosen depends on the machine, not on the project.
        url = config.redis.url or DEFAULT_URL
        check_start(replace(config, redis=replace(config.redis, url=url)), reactor)
    except ConfigError as error:
        start.error = " ".join(str(error).split())
    finally:
        globalLogPublisher.removeObserver(observe)
    return start
