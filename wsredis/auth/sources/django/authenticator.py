"""
Identities from the sessions of a Django project, and the settings that the project has for them.

All that may touch a database runs in threads. What is read is never written: a session is neither
saved, nor ended, nor given another key by the gateway, whose answer could not bring the client a
new cookie.

Django can be set up once in a process. It is imported where it is needed, so that a gateway
without it can do without Django.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wsredis.channels import Access, Audience, parse_flags, read_flag
from wsredis.config import GatewayConfig, all_settings
from wsredis.config.imports import search_here
from wsredis.config.origins import HOST_HEADER, default_port
from wsredis.config.ws4redis import MEMBER_OF, SUBSCRIBER, redis_settings
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.threads import Threads

__all__ = ["DjangoAuthenticator", "project_settings"]

_log = Logger()

#: Where Django looks for the name of the settings module.
_VARIABLE = "DJANGO_SETTINGS_MODULE"

#: Every flag that is a right.
_FLAGS = frozenset(Access("", frozenset(Audience), frozenset(Audience)).flags)

#: Keys of sessions in a database or a cache; Django's own are shorter.
_KEY = re.compile(r"[!-~]{8,128}")

#: Characters of what a hook says to a client.
_MAX_REASON = 200


# -- The settings of the project


def project_settings(module: str) -> dict[str, Any]:
    """
    Set Django up, and read what the project says about WebSockets.

    Args:
        module: The settings module of the project; the working directory is searched as well.
    Returns: Values by the names of the settings of wsredis; only what the project has set.
    Raises:
        ConfigError: The project cannot be used, or one of its settings. The text names ``--django``
            and never the value of a secret.
    """
    _set_up(module)
    from django.conf import settings as project

    found: dict[str, Any] = {}
    for name, (setting, convert) in _PROJECT.items():
        if hasattr(project, name):
            try:
                found[setting] = _CHECKS[setting](convert(getattr(project, name)))
            except (TypeError, ValueError, OverflowError) as error:
                raise ConfigError(f"--django: {name}: {_line(error)}") from None
    if hasattr(project, "WS4REDIS_CONNECTION"):
        try:
            values, ignored = redis_settings(project.WS4REDIS_CONNECTION)
        except ValueError as error:
            raise ConfigError(f"--django: WS4REDIS_CONNECTION: {error}") from None
        if ignored:
            _log.warn(
                "WS4REDIS_CONNECTION: {names} not used by the gateway",
                names=" and ".join(ignored) + (" are" if len(ignored) > 1 else " is"),
            )
        found.update(values)
    return found


_CHECKS = {setting.name: setting.check for setting in all_settings()}


def _url_prefix(value: Any) -> str:
    # What a client percent-encodes, as browsers do it.
    return quote(urlsplit(str(value)).path, safe="/!$&'()*+,;=:@~")


def _expire(value: Any) -> int:
    try:
        return 0 if value is None else max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a whole number of seconds") from None


def _origins(value: Any) -> list[str]:
    # Django's wildcards include the name itself.
    given = [str(each) for each in value]
    return list(dict.fromkeys([*given, *(each.replace("*.", "", 1) for each in given)]))


#: Settings of Django and what they are here.
_PROJECT: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "WEBSOCKET_URL": ("url-prefix", _url_prefix),
    "WS4REDIS_PREFIX": ("prefix", lambda value: str(value or "")),
    "WS4REDIS_EXPIRE": ("expire", _expire),
    "WS4REDIS_HEARTBEAT": ("heartbeat", lambda value: value or None),
    "CSRF_TRUSTED_ORIGINS": ("allow-origin", _origins),
}


def _set_up(module: str) -> None:
    """
    Set Django up. Repeating it is harmless.

    Raises:
        ConfigError: It is not installed, or the project fails.
    """
    # Where manage.py is.
    search_here(first=True)
    try:
        import django
        from django.conf import settings as project
    except ImportError:
        raise ConfigError(
            "--django: Django is not installed: pip install 'wsredis[django]'"
        ) from None
    if project.configured and os.environ.get(_VARIABLE) != module:
        raise ConfigError(f"--django: {module}: this process has other settings of Django already")
    os.environ[_VARIABLE] = module
    try:
        django.setup()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"--django: {module}: {_reason(error)}") from None


def _check_users(module: str) -> None:
    """
    Find out whether the project has users and sessions.

    Raises:
        ConfigError: It has not.
    """
    from django.apps import apps
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        if not apps.is_installed("django.contrib.auth"):
            raise ImproperlyConfigured("django.contrib.auth is not in INSTALLED_APPS")
        # It is read late, and an empty one is refused only then.
        _ = settings.SECRET_KEY
        _store_class()()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"--django: {module}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """What is wrong with a project, in one line, without values that its settings may have."""
    from django.core.exceptions import ImproperlyConfigured

    # These name modules, settings, variables and lines.
    if isinstance(error, (ImportError, ImproperlyConfigured, KeyError, SyntaxError)):
        return f"{type(error).__name__}: {_line(error)}"
    return _place(error)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_MAX_REASON]


def _place(error: BaseException) -> str:
    """Kind and place of an error. Its text may hold what a client or a database must not tell."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


# -- Sessions


def _store_class() -> Any:
    """Sessions of the project's own engine, that are only read."""
    from django.conf import settings as project

    return _read_only(import_module(project.SESSION_ENGINE).SessionStore)


@cache
def _read_only(engine: Any) -> Any:
    class SessionStore(engine):  # type: ignore[misc]
        """A session that nobody can be given another key for."""

        def create(self) -> None:
            """What is not there is not made."""
            self._session_key = None
            self.modified = True

        def cycle_key(self) -> None:
            """The client keeps the key that it has."""

        def flush(self) -> None:
            """It is empty, and that of nobody; whoever serves pages removes it."""
            self.clear()
            self._session_key = None

    # Django's signatures are salted with the name of the class.
    SessionStore.__qualname__ = engine.__qualname__
    return SessionStore


def _open_session(key: str | None) -> Any:
    """The session of a cookie. What is not there, or belongs to another project, has no key."""
    from django.contrib.sessions.backends import cache, db

    store = _store_class()
    if issubclass(store, (cache.SessionStore, db.SessionStore)) and not _KEY.fullmatch(key or ""):
        # A cache would warn of such a key, and show it.
        key = None
    session = store(key)
    session.get(MEMBER_OF)
    if key and session.session_key is None:
        _check_cache(session)
    return session


def _check_cache(session: Any) -> None:
    """This engine takes a cache that is away for a session that is not there: ask it."""
    from django.conf import settings as project
    from django.contrib.sessions.backends import cache as engine
    from django.core.cache import caches

    if isinstance(session, engine.SessionStore):
        caches[project.SESSION_CACHE_ALIAS].get("wsredis")


# -- The request


def _request(handshake: Handshake) -> Any:
    """The request of the handshake, as a WSGI server would hand it to Django."""
    from django.core.handlers.wsgi import WSGIRequest

    host, _, port = handshake.peer.rpartition(":")
    own = HOST_HEADER.fullmatch(handshake.headers.get("host", "").lower())
    scheme = "https" if handshake.secure else "http"
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(handshake.path).decode("latin-1"),
        "QUERY_STRING": handshake.query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": own[1] if own else "localhost",
        "SERVER_PORT": (own and own[2]) or default_port(scheme),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": port if host else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for header, value in handshake.headers.items():
        # X_Forwarded_Proto would pass for X-Forwarded-Proto, which a proxy takes care of.
        if "_" not in header and header not in ("content-type", "content-length"):
            environ[f"HTTP_{header.upper().replace('-', '_')}"] = value
    return WSGIRequest(environ)


# -- The authenticator


class DjangoAuthenticator:
    """
    Knows clients by the session cookie of a Django project.

    The settings ``WS4REDIS_PROCESS_REQUEST``, ``WS4REDIS_ALLOWED_CHANNELS`` and
    ``WS4REDIS_SUBSCRIBER`` of the project are honoured. See `wsredis.gateway.identity.AuthBackend`.

    Args:
        config: ``django``, ``auth_concurrency`` and ``auth_timeout`` of it are used.
    Raises:
        ConfigError: The project cannot be used.
    """

    def __init__(self, reactor: Any, config: GatewayConfig) -> None:
        assert config.django is not None
        _set_up(config.django)
        _check_users(config.django)
        from django.conf import settings as project

        self._project = project
        self._timeout = config.auth_timeout
        self._process = _hook(project, "WS4REDIS_PROCESS_REQUEST")
        self._allowed = _hook(project, "WS4REDIS_ALLOWED_CHANNELS")
        self._possible = _possible_flags(project)
        self._threads = Threads(reactor, config.auth_concurrency, _close_connections)

    def start(self) -> None:
        """Threads start when they are needed."""

    def stop(self) -> None:
        """Ask no more. Connections to the database are closed, except one that hangs."""
        self._threads.stop()

    def forget(self) -> None:
        """See `wsredis.gateway.identity.AuthBackend.forget`. The project is asked each time."""

    def identify(self, handshake: Handshake) -> Deferred[Identity] | Identity | None:
        """
        See `wsredis.gateway.identity.Authenticator.identify`.

        Raises:
            HandshakeRejected: 403: a hook denies it. 500: a hook failed. 503: the project cannot
                reach its database, or has too much to do.
        """
        if (
            self._process is None
            and self._allowed is None
            and self._project.SESSION_COOKIE_NAME not in handshake.cookies()
        ):
            access = self._access(handshake, self._flags(handshake))
            return None if access == handshake.requested else Identity(granted=access)
        return self._threads.ask(lambda: self._ask(handshake))

    # -- In a thread

    def _ask(self, handshake: Handshake) -> Identity:
        from django.db import close_old_connections

        with _unavailable():
            # Between two questions a database may have been restarted.
            close_old_connections()
            try:
                return self._identity(handshake)
            finally:
                close_old_connections()

    def _identity(self, handshake: Handshake) -> Identity:
        from django.contrib.auth.models import AnonymousUser

        request = _request(handshake)
        if self._process is None:
            self._process_request(request)
        else:
            with _failing_closed("WS4REDIS_PROCESS_REQUEST"):
                self._call(self._process, request)
            if getattr(request, "user", None) is None:
                request.user = AnonymousUser()
            if getattr(request, "session", None) is None:
                request.session = _open_session(None)
        flags = self._flags(handshake)
        if self._allowed is not None:
            with _failing_closed("WS4REDIS_ALLOWED_CHANNELS"):
                answer = self._call(self._allowed, request, list(flags))
                flags = flags if answer is None else list(answer)
        granted = self._access(handshake, flags)
        access = None if granted == handshake.requested else granted
        if self._process is None:
            return _identity_of(request, access)
        with _failing_closed("WS4REDIS_PROCESS_REQUEST"):
            return _identity_of(request, access)

    def _process_request(self, request: Any) -> None:
        """What the middlewares of Django do, now and not when somebody looks at the user."""
        from django.contrib.auth import get_user

        key = request.COOKIES.get(self._project.SESSION_COOKIE_NAME)
        request.session = _open_session(key)
        request.user = get_user(request)

    def _call(self, hook: Callable[..., Any], *words: Any) -> Any:
        answer = hook(*words)
        if inspect.isawaitable(answer):
            from asgiref.sync import async_to_sync

            answer = async_to_sync(self._in_time)(answer)
        return answer

    async def _in_time(self, answer: Any) -> Any:
        # The thread is not to wait for ever, after the client was told to try again.
        return await asyncio.wait_for(answer, self._timeout)

    # -- Flags

    def _flags(self, handshake: Handshake) -> list[str]:
        """What the client asks for and may ask for, in the order of its URL."""
        given = [read_flag(parameter) for parameter in handshake.query.split("&")]
        wanted = handshake.requested.flags
        return [
            flag
            for flag in dict.fromkeys([*given, *wanted])
            if flag in wanted and flag in self._possible
        ]

    def _access(self, handshake: Handshake, flags: Iterable[Any]) -> Access:
        # What is no flag has no meaning, as it had none in ws4redis.
        chosen = [flag for flag in flags if isinstance(flag, str) and flag in _FLAGS]
        subscribe, publish = parse_flags(chosen)
        return Access(handshake.requested.facility, subscribe, publish, handshake.requested.echo)


def _identity_of(request: Any, access: Access | None) -> Identity:
    user, session = request.user, request.session
    name = user.get_username() if user.is_authenticated else ""
    groups = _groups(user, session) if name else ()
    key = getattr(session, "session_key", None)
    return Identity(str(name) if name else None, groups, str(key) if key else None, granted=access)


def _groups(user: Any, session: Any) -> tuple[str, ...]:
    listed = session.get(MEMBER_OF)
    if listed is None:
        groups = getattr(user, "groups", None)
        listed = () if groups is None else [getattr(each, "name", None) for each in groups.all()]
    if not isinstance(listed, (list, tuple)):
        return ()
    return tuple(name for name in listed if isinstance(name, str))


def _close_connections() -> None:
    from django.db import connections

    # One that is broken has nobody to tell it to any more.
    with suppress(Exception):
        connections.close_all()


# -- Hooks


def _hook(project: Any, name: str) -> Callable[..., Any] | None:
    """
    A function that a setting holds or names.

    Raises:
        ConfigError: There is no such function.
    """
    hook = getattr(project, name, None)
    if isinstance(hook, str):
        hook = _imported(name, hook)
    if hook is None or callable(hook):
        return hook
    raise ConfigError(f"--django: {name}: this is neither a function nor the name of one")


def _imported(name: str, path: str) -> Any:
    from django.utils.module_loading import import_string

    try:
        return import_string(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"--django: {name}: {_reason(error)}") from None


def _possible_flags(project: Any) -> frozenset[str]:
    """The flags that a subscriber of ws4redis would take note of."""
    name = "WS4REDIS_SUBSCRIBER"
    path = getattr(project, name, SUBSCRIBER)
    if path == SUBSCRIBER:
        return _FLAGS
    subscriber = _imported(name, str(path))
    try:
        given = [*subscriber.subscription_channels, *subscriber.publish_channels]
    except (AttributeError, TypeError):
        raise ConfigError(f"--django: {name}: the class has no lists of channels") from None
    _log.info("of {name} only the lists of channels count", name=name)
    return frozenset(given) & _FLAGS


@contextmanager
def _failing_closed(name: str) -> Iterator[None]:
    """
    Run a hook of the project.

    Raises:
        HandshakeRejected: It did not return.
        django.db.Error, TimeoutError: It could not.
    """
    from django.core.exceptions import PermissionDenied, SuspiciousOperation
    from django.db import Error

    try:
        yield
    except (Error, TimeoutError):
        raise
    except PermissionDenied as error:
        raise HandshakeRejected(_printable(str(error)) or "forbidden", 403, name) from None
    except SuspiciousOperation as error:
        raise HandshakeRejected("bad request", 400, f"{name}: {_place(error)}") from None
    except BaseException as error:
        raise HandshakeRejected("internal error", 500, f"{name}: {_place(error)}") from None


@contextmanager
def _unavailable() -> Iterator[None]:
    """
    Ask the project.

    Raises:
        HandshakeRejected: It did not answer.
    """
    try:
        yield
    except HandshakeRejected:
        raise
    except BaseException as error:
        raise HandshakeRejected("try again later", 503, f"--django: {_place(error)}") from None


def _printable(text: str) -> str:
    """What a hook says to the client: one line."""
    return "".join(each if each.isprintable() else " " for each in text)[:_MAX_REASON].strip()
