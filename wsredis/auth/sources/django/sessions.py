"""
Sessions of the project's own engine, which are only read.

A session is never saved, ended or given another key by the gateway: its answer to a handshake could
not bring the client a new cookie.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from twisted.logger import Logger

from wsredis.auth.sources.django.hooks import unavailable
from wsredis.auth.sources.django.project import error_in_project
from wsredis.config.session_cookie import cache_of_one_process, doubtful_sessions, lost_sessions
from wsredis.config.ws4redis import MEMBER_OF

__all__ = [
    "NO_SESSION",
    "check_sessions",
    "drop_local_copy",
    "existing_key",
    "open_session",
    "session_user",
]

_log = Logger()

#: Keys of sessions in a database or a cache; those that Django makes are shorter.
_KEY = re.compile(r"[!-~]{8,128}")

#: The key of a session that nobody has: it has the form of those of Django.
NO_SESSION = "wsredis" + "0" * 25

#: The backends of Django whose ``load`` raises if it cannot ask. Others lose the key instead.
_HONEST = tuple(
    f"django.contrib.sessions.backends.{name}" for name in ("db", "cached_db", "signed_cookies")
)

#: Times that a session is loaded again that exists and was not found. It may also have expired.
_RELOADS = 2

#: The options of caches that hide errors, and the same for all caches of django-redis.
_HIDING = ("IGNORE_EXCEPTIONS", "ignore_exc")
_HIDING_SETTING = "DJANGO_REDIS_IGNORE_EXCEPTIONS"


def check_sessions(module: str) -> None:
    """
    Check that the project has users and sessions.

    Args:
        module: Name of the settings module, for the error.
    Raises:
        ConfigError: It lacks them, or their settings cannot be used.
    """
    from django.apps import apps
    from django.conf import settings as project
    from django.core.exceptions import ImproperlyConfigured

    try:
        if not apps.is_installed("django.contrib.auth"):
            text = "django.contrib.auth is not in INSTALLED_APPS"
            if not project.INSTALLED_APPS:
                text += ", which is empty: is this the settings module, such as mysite.settings?"
            raise ImproperlyConfigured(text)
        for problem in [*lost_sessions(project), *doubtful_sessions(project)]:
            _log.warn("{problem}", event="session-setting-problem", problem=problem)
        # Django reads it late, and refuses an empty one only then.
        _ = project.SECRET_KEY
    except (Exception, SystemExit) as error:
        raise error_in_project(module, error) from None
    try:
        _engine()
    except (Exception, SystemExit) as error:
        raise error_in_project("SESSION_ENGINE", error) from None
    try:
        _store_class()()
    except (Exception, SystemExit) as error:
        raise error_in_project(module, error) from None


def open_session(key: str | None) -> Any:
    """
    Load a session. Blocks: to be called in a thread.

    Args:
        key: The value of the session cookie. None if there is no cookie.
    Returns:
        The session. Its ``session_key`` is None if there is no such session, or if it belongs to
        another project.
    Raises:
        Exception: As the database or cache of the project raises, if it is away; also if the
            engine itself hides that.
    """
    from django.contrib.sessions.backends import cache, db, file

    store = _store_class()
    plain = (cache.SessionStore, db.SessionStore, file.SessionStore)
    if issubclass(store, plain) and not _KEY.fullmatch(key or ""):
        # A cache would log a warning that shows such a key.
        key = None
    session = store(key)
    # Loads the data: a missing session loses its key by that.
    session.get(MEMBER_OF)
    return session


def session_user(request: Any) -> Any:
    """
    Load the user of the session of a request. Blocks: to be called in a thread.

    Args:
        request: It has a ``session``.
    Returns:
        The user, or Django's AnonymousUser.
    Raises:
        Exception: As the database of the project raises, if it is away; also if an authentication
            backend hides that.
    """
    from django.contrib.auth import SESSION_KEY, get_user, get_user_model

    user = get_user(request)
    if not user.is_authenticated and SESSION_KEY in request.session:
        # The user has gone, or the backend could not ask and takes that for the same.
        get_user_model()._base_manager.exists()
    return user


def existing_key(session: Any) -> str | None:
    """
    Return the key of a session, if the session exists. May block: to be called in a thread.

    A hook may have made a session of Django from a cookie without looking at it: a client can
    invent any key.

    Args:
        session: Any object; None is a session without a key. An object that is not a session of
            Django is taken at its word.
    Raises:
        SourceAway: The session is one of Django, and cannot be asked for.
        Exception: As another object raises.
    """
    from django.contrib.sessions.backends import base

    if isinstance(session, base.SessionBase):
        with unavailable():
            return _existing_key(session)
    key = getattr(session, "session_key", None)
    return str(key) if key else None


def _existing_key(session: Any) -> str | None:
    from django.contrib.sessions.backends import signed_cookies

    if session.session_key:
        # Loads the data: a missing session loses its key by that.
        session.get(MEMBER_OF)
    key = session.session_key
    if key is None:
        if session.accessed and not isinstance(session, _store_class()) and _may_hide(session):
            # It may have lost the key because nothing could be asked.
            _is_stored(session, NO_SESSION)
        return None
    if isinstance(session, signed_cookies.SessionStore):
        # Its key is its data. It keeps one that nobody signed.
        is_stored = bool(session.keys())
    elif session.modified or not session.keys() or _is_behind_local_cache(session):
        # It may be empty because it is missing, hold only what a hook put there, or be a copy.
        is_stored = _is_stored(session, key)
    else:
        is_stored = True
    return str(key) if is_stored else None


def drop_local_copy(key: str | None) -> None:
    """
    Drop the copy of a session that a cache of this process has, before a hook loads it.

    The process that serves pages may have ended the session. Nothing happens if the sessions of
    the project have no such cache.

    Args:
        key: The value of the session cookie. None if there is no cookie.
    """
    from django.conf import settings as project
    from django.core.cache import caches

    if _KEY.fullmatch(key or ""):
        session = _engine()()
        if _is_behind_local_cache(session):
            caches[project.SESSION_CACHE_ALIAS].delete(f"{session.cache_key_prefix}{key}")


def _engine() -> Any:
    from django.conf import settings as project

    return import_module(project.SESSION_ENGINE).SessionStore


def _store_class() -> Any:
    return _read_only(_engine())


@cache
def _read_only(engine: Any) -> Any:
    class SessionStore(engine):  # type: ignore[misc]
        """A session that keeps its key, or loses it."""

        def create(self) -> None:
            """Make no session in place of a missing one."""
            self._session_key = None
            self.modified = True

        def cycle_key(self) -> None:
            """Leave the client the key that it has."""

        def flush(self) -> None:
            """Be an empty session without a key. The process that serves pages removes it."""
            self.clear()
            self._session_key = None

        def load(self) -> Any:
            """Load the session; past a cache that other processes do not see."""
            from django.contrib.sessions.backends import db

            if _is_behind_local_cache(self):
                # It may still have a session that the process that serves pages has ended.
                return db.SessionStore.load(self)
            key = self.session_key
            found = super().load()
            for _ in range(_RELOADS):
                if self.session_key is not None or not _may_hide(self) or not _is_stored(self, key):
                    break
                # The engine could not ask a moment ago.
                self._session_key = key
                found = super().load()
            return found

    # Django's signatures are salted with the name of the class.
    SessionStore.__qualname__ = engine.__qualname__
    return SessionStore


def _is_stored(session: Any, key: str) -> bool:
    """
    Tell whether there is a session with a key, past all that hides errors.

    Args:
        session: A session of the engine in question.
    Raises:
        Exception: As the database, the cache or the system raises, if it cannot be asked.
    """
    from django.contrib.sessions.backends import cache, db, file
    from django.core.exceptions import SuspiciousOperation

    loader = _loader(session)
    if loader is cache.SessionStore:
        return f"{session.cache_key_prefix}{key}" in _strict_cache()
    if loader is file.SessionStore:
        # Without a free descriptor, or the right to read it, a file is not missing.
        with suppress(FileNotFoundError, SuspiciousOperation), open(session._key_to_file(key)):
            return True
        return False
    if isinstance(session, db.SessionStore) and not _may_hide(session):
        # A cache in front does not count.
        return bool(db.SessionStore.exists(session, key))
    with suppress(NotImplementedError):
        return bool(session.exists(key))
    return False


def _may_hide(session: Any) -> bool:
    """Tell whether a session may have lost its key because its engine could not ask."""
    return _loader(session).__module__ not in _HONEST


def _loader(session: Any) -> Any:
    """Return the class, other than ours, whose ``load`` a session has."""
    loaders = (each for each in session.__class__.__mro__ if "load" in vars(each))
    return next(each for each in loaders if each.__module__ != __name__)


def _is_behind_local_cache(session: Any) -> bool:
    """Tell whether a session is in the database, with a cache of this process in front."""
    from django.conf import settings as project
    from django.contrib.sessions.backends import cached_db

    return isinstance(session, cached_db.SessionStore) and cache_of_one_process(project)


def _strict_cache() -> Any:
    """Return the cache of the sessions, or its like that raises errors if it hides them."""
    from django.conf import settings as project
    from django.core.cache import caches

    alias = project.SESSION_CACHE_ALIAS
    given = project.CACHES[alias]
    options = given.get("OPTIONS", {})
    hiding = [name for name in _HIDING if options.get(name)]
    if getattr(project, _HIDING_SETTING, False) and _is_of_django_redis(caches[alias]):
        hiding.append(_HIDING[0])
    if not hiding:
        return caches[alias]
    return _caches_without(alias, tuple(hiding))[alias]


def _is_of_django_redis(found: object) -> bool:
    """Tell whether a cache is one of django-redis, or of a class of the project that inherits."""
    return any(each.__module__.startswith("django_redis.") for each in type(found).__mro__)


@cache
def _caches_without(alias: str, hiding: tuple[str, ...]) -> Any:
    from django.conf import settings as project
    from django.core.cache import CacheHandler

    given = project.CACHES[alias]
    options = {**given.get("OPTIONS", {}), **dict.fromkeys(hiding, False)}
    return CacheHandler({alias: {**given, "OPTIONS": options}})
