"""What of a project for django-websocket-redis works with wsredis, line by line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks import WARNING, CheckMessage
from django.utils.module_loading import import_string

from wsredis.config.other_settings import unknown_settings
from wsredis.django.checks import check_settings
from wsredis.django.project_files import SCRIPT, ProjectFiles, PythonFile, read_files
from wsredis.django.start_check import Start

__all__ = ["Level", "Line", "describe"]

#: Settings that the gateway reads, and what they do if nothing is wrong with them.
_EFFECTS = {
    "WEBSOCKET_URL": "the gateway serves WebSockets below this path",
    "WS4REDIS_CONNECTION": "the gateway and publishers use this Redis",
    "WS4REDIS_PREFIX": "the names in Redis begin with it, as before",
    "WS4REDIS_STORED_PREFIX": "the keys of stored messages begin with it",
    "WS4REDIS_EXPIRE": "messages are stored for this time",
    "WS4REDIS_HEARTBEAT": "the gateway sends this text every 4 seconds, and as an answer",
    "WS4REDIS_PROCESS_REQUEST": "called for each handshake, in a thread",
    "WS4REDIS_ALLOWED_CHANNELS": "called for each handshake, in a thread",
    "WS4REDIS_SUBSCRIBER": "clients may use the flags in its two lists",
    "CSRF_TRUSTED_ORIGINS": "pages of these origins may open WebSockets with their cookies",
    "ALLOWED_HOSTS": "pages and WebSockets are served by these names",
    "SESSION_ENGINE": "the gateway reads sessions with this engine",
}

#: Warnings about things that are as they were with ws4redis.
_AS_BEFORE = frozenset({"wsredis.W001", "wsredis.W006", "wsredis.W020"})

#: Warnings of a start that the system checks have as well, with a hint.
_TOLD = frozenset(
    {
        "hook-outdated",
        "host-setting-problem",
        "session-setting-problem",
        "subscriber-flags-unused",
        "ws4redis-setting-unknown",
    }
)

#: Modules of ws4redis that serve WebSockets, and take part in nothing else.
_SERVERS = frozenset({"ws4redis.django_runserver", "ws4redis.uwsgi_runserver"})

_PROCESSOR = "ws4redis.context_processors.default"


class Level(Enum):
    """
    How a line is meant.

    Attributes:
        WORKS: It works unchanged.
        NOTE: It works, and the project might like to know something about it.
        CHANGE: It does not work as it is.
    """

    WORKS = "works"
    NOTE = "note"
    CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Line:
    """
    One line of the report.

    Attributes:
        level: How it is meant.
        text: What it is about, and what was found.
        hint: What to do. If it is empty, there is nothing to do.
    """

    level: Level
    text: str
    hint: str = ""


def describe(module: str, try_start: Callable[[], Start]) -> Iterator[Line]:
    """
    Look at the project of this process. Neither its database nor Redis is asked.

    Args:
        module: Its settings module.
        try_start: Tells whether the gateway would start.
    """
    messages = [each for each in check_settings() if not each.is_silenced()]
    start = try_start()
    if any(event == "subscriber-methods-ignored" for event, _ in start.warnings):
        # The options say so, and the warning of the start is told.
        messages = [each for each in messages if each.id != "wsredis.W010"]
    yield from _settings(messages, start)
    yield from map(_line_of, messages)
    yield from _start(start, messages)
    yield from _apps()
    yield from _asgi()
    yield from _layers()
    root = _root(module)
    own = [Path(each.path) for each in apps.get_app_configs() if not _is_foreign(each.path)]
    files = read_files([root, *own])
    yield from _code(root, files, messages)
    yield from _pages(root, files)


# -- Settings


def _settings(messages: list[CheckMessage], start: Start) -> Iterator[Line]:
    problems = [*(str(each.msg) for each in messages), start.error or ""]
    for name, effect in _EFFECTS.items():
        is_wrong = any(f" {name}:" in f" {each}" for each in problems)
        if getattr(settings, name, None) and not is_wrong:
            yield Line(Level.WORKS, f"{name}: {effect}")
    for name, meant in unknown_settings(settings).items():
        if not meant:
            yield Line(Level.NOTE, f"{name}: wsredis and ws4redis have no such setting")


def _line_of(message: CheckMessage) -> Line:
    is_as_before = message.id in _AS_BEFORE
    if message.id == "wsredis.W053":
        is_as_before = apps.is_installed("wsredis.django")
    level = Level.NOTE if is_as_before else Level.CHANGE
    if message.level < WARNING:
        level = Level.WORKS
    return Line(level, f"{message.msg} ({message.id})", str(message.hint or ""))


def _subject(message: CheckMessage) -> str:
    """Return the setting that a message is about."""
    return str(message.msg).partition(":")[0]


def _start(start: Start, messages: list[CheckMessage]) -> Iterator[Line]:
    for event, text in start.warnings:
        if event not in _TOLD:
            yield Line(Level.NOTE, text)
    if start.error is None:
        yield Line(Level.WORKS, "the gateway starts with this project")
    elif not any(f" {name}:" in f" {start.error}" for name in map(_subject, messages)):
        yield Line(Level.CHANGE, f"the gateway does not start: {start.error}")


def _apps() -> Iterator[Line]:
    if not apps.is_installed("wsredis.django"):
        yield Line(
            Level.NOTE,
            "wsredis.django is not in INSTALLED_APPS: the gateway notices logouts after up to "
            "--recheck seconds, and runserver serves no WebSockets",
            "Put it before django.contrib.staticfiles.",
        )
    for engine in settings.TEMPLATES:
        if _PROCESSOR in engine.get("OPTIONS", {}).get("context_processors", ()):
            if _can_import(_PROCESSOR.rpartition(".")[0]):
                yield Line(Level.WORKS, f"TEMPLATES: {_PROCESSOR}")
            else:
                yield Line(
                    Level.CHANGE,
                    f"TEMPLATES: {_PROCESSOR} cannot be imported",
                    "Write wsredis.django.context_processors.default.",
                )


def _asgi() -> Iterator[Line]:
    """Tell how a project with an ASGI application of its own is served."""
    name = getattr(settings, "ASGI_APPLICATION", None)
    if not name:
        return
    module, _, attribute = str(name).rpartition(".")
    yield Line(
        Level.NOTE,
        f"ASGI_APPLICATION: the gateway serves it, if it is told to: --asgi {module}:{attribute}",
        "It takes the place of Daphne or uvicorn.",
    )
    # With wsredis.django, a check tells which of them is the first.
    if apps.is_installed("daphne") and not apps.is_installed("wsredis.django"):
        yield Line(
            Level.NOTE,
            "daphne is in INSTALLED_APPS: it has a runserver of its own",
            "Put wsredis.django before it, whose runserver serves ASGI_APPLICATION and WebSockets "
            "of the gateway. It may stay.",
        )


def _layers() -> Iterator[Line]:
    """Tell which channel layers of Django Channels can be replaced."""
    layers = getattr(settings, "CHANNEL_LAYERS", None) or {}
    for name, layer in layers.items():
        if str(layer.get("BACKEND", "")).startswith("channels_redis."):
            yield Line(
                Level.NOTE,
                f"CHANNEL_LAYERS: {name}: the layer of channels_redis works as before",
                "wsredis.layer.ChannelLayer takes its place, with the same CONFIG.",
            )


# -- Files


def _root(module: str) -> Path:
    """Return the folder that the settings module is found in, which is that of ``manage.py``."""
    path = Path(str(import_module(module).__file__))
    names = module.split(".")
    depth = len(names) if path.name == "__init__.py" else len(names) - 1
    root = path.parents[depth]
    if _is_foreign(str(root / names[0])):
        # The project is installed as a package.
        return path.parents[max(0, depth - 1)]
    return root


def _is_foreign(path: str) -> bool:
    """Tell whether a folder belongs to Python, or to an installed package."""
    parts = Path(path).parts
    standard = Path(str(import_module("os").__file__)).parent
    return bool({"site-packages", "dist-packages"} & {*parts}) or standard in Path(path).parents


def _code(root: Path, files: ProjectFiles, messages: list[CheckMessage]) -> Iterator[Line]:
    used: dict[str, list[str]] = {}
    for each in files.python:
        name = _shown(each.path, root)
        for line, attribute in each.calls:
            # A check tells it of hooks.
            if not any(f" {each.path.name}:{line}:" in str(message.msg) for message in messages):
                yield Line(
                    Level.CHANGE,
                    f"{name}:{line}: {attribute}() is not a method any more: it raises TypeError",
                    f"Write {attribute} without parentheses.",
                )
        for module, line in sorted(each.imports.items()):
            if module in _SERVERS:
                yield _server_line(name, line, module, each)
            else:
                used.setdefault(module, []).append(f"{name}:{line}")
        if each.patch is not None and not _SERVERS & each.imports.keys():
            yield Line(
                Level.NOTE,
                f"{name}:{each.patch}: gevent replaces threads and sockets here: a gateway that "
                "imports this file does not start",
                "Leave the file to a server that needs gevent, or remove the line.",
            )
    for module, places in sorted(used.items()):
        yield _import_line(module, places)
    for path in files.unreadable:
        yield Line(
            Level.NOTE,
            f"{_shown(path, root)}: it mentions ws4redis, and Python {sys.version_info[0]} cannot "
            "read it",
        )


def _server_line(name: str, line: int, module: str, file: PythonFile) -> Line:
    if module == "ws4redis.django_runserver":
        return Line(
            Level.CHANGE,
            f"{name}:{line}: {module} of release 0.6.0 cannot be imported with Django 3.0 and "
            "newer",
            "Remove it. With wsredis.django in INSTALLED_APPS, runserver serves WebSockets.",
        )
    if file.serves_pages:
        return Line(
            Level.CHANGE,
            f"{name}:{line}: {module} can be imported in uWSGI only, and this file serves pages",
            "Let the file end after application = get_wsgi_application(): the gateway serves the "
            "WebSockets.",
        )
    return Line(
        Level.NOTE,
        f"{name}:{line}: the gateway takes the place of this server of uWSGI",
        "Remove the file together with its process.",
    )


def _import_line(module: str, places: list[str]) -> Line:
    text = f"{module}: imported by {_listed(places)}"
    if _can_import(module):
        return Line(Level.WORKS, text)
    return Line(
        Level.CHANGE,
        f"{text}, and cannot be imported",
        "Install django-websocket-redis, or import the same names from wsredis.publisher.",
    )


def _pages(root: Path, files: ProjectFiles) -> Iterator[Line]:
    if files.scripted:
        used = f"{SCRIPT}: named by {_listed([_shown(each, root) for each in files.scripted])}"
        if files.has_script or _has_script():
            yield Line(Level.WORKS, used)
        else:
            yield Line(
                Level.CHANGE,
                f"{used}, and not among the static files",
                f"Keep ws4redis in INSTALLED_APPS, copy {SCRIPT}, or use wsredis.js.",
            )
    if not files.is_complete:
        yield Line(Level.NOTE, "the project has too many files: not all of them were read")


def _has_script() -> bool:
    if not apps.is_installed("django.contrib.staticfiles"):
        # Somebody else serves static files.
        return True
    find = import_string("django.contrib.staticfiles.finders.find")
    return find(f"js/{SCRIPT}") is not None


def _can_import(module: str) -> bool:
    try:
        import_module(module)
    except Exception:
        return False
    return True


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _listed(places: list[str]) -> str:
    more = len(places) - 1
    return places[0] if not more else f"{places[0]} and {more} other file{'s' * (more > 1)}"
