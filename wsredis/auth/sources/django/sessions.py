"""
Sessions of the project's own engine, which are only read.

A session is never saved, ended or given another key by the gateway: its answer to a handshake could
not bring the client a new cookie.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any

from twisted.logger import Logger

from wsredis.auth.sources.django.project import error_in_project
from wsredis.config.session_cookie import cache_of_one_process, lost_sessions
from wsredis.config.ws4redis import MEMBER_OF

__all__ = ["check_sessions", "existing_key", "open_session"]

_log = Logger()

#: Keys of sessions in a database or a cache; those that Django makes are shorter.
_KEY = re.compile(r"[!-~]{8,128}")


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
            raise ImproperlyConfigured("django.contrib.auth is not in INSTALLED_APPS")
        for problem in lost_sessions(project):
            _log.warn("{problem}", event="session-setting-problem", problem=problem)
        # Django reads it late, and refuses an empty one only then.
        _ = project.SECRET_KEY
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
        Exception: As the database or cache of the project raises, if it is away.
    """
    from django.contrib.sessions.backends import cache, db

    store = _store_class()
    if issubclass(store, (cache.SessionStore, db.SessionStore)) and not _KEY.fullmatch(key or ""):
        # A cache would log a warning that shows such a key.
        key = None
    session = store(key)
    # Loads the data: a missing session loses its key by that.
    session.get(MEMBER_OF)
    if key and session.session_key is None:
        _check_cache(session)
    return session


def existing_key(session: Any) -> str | None:
    """
    Return the key of a session, if the session exists. May block: to be called in a thread.

    A hook may have made a session of Django from a cookie without looking at it: a client can
    invent any key.

    Args:
        session: Any object; None is a session without a key.
    Raises:
        Exception: See `open_session`.
    """
    from django.contrib.sessions.backends import base, signed_cookies

    key = getattr(session, "session_key", None)
    if key and isinstance(session, base.SessionBase):
        # Loads the data: a missing session loses its key by that.
        session.get(MEMBER_OF)
        key = session.session_key
        if key is None:
            _check_cache(session)
        elif isinstance(session, signed_cookies.SessionStore) and not session.keys():
            # Its key is its data. It keeps one that nobody signed.
            key = None
    return str(key) if key else None


def _store_class() -> Any:
    from django.conf import settings as project

    return _read_only(import_module(project.SESSION_ENGINE).SessionStore)


@cache
def _read_only(engine: Any) -> Any:
    from django.conf import settings as project
    from django.contrib.sessions.backends import cached_db, db

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
            if isinstance(self, cached_db.SessionStore) and cache_of_one_process(project):
                # It may still have a session that the process that serves pages has ended.
                return db.SessionStore.load(self)
            return super().load()

    # Django's signatures are salted with the name of the class.
    SessionStore.__qualname__ = engine.__qualname__
    return SessionStore


def _check_cache(session: Any) -> None:
    """Raise if the cache is away, which its engine takes for a missing session."""
    from django.conf import settings as project
    from django.contrib.sessions.backends import cache as engine
    from django.core.cache import caches

    if isinstance(session, engine.SessionStore):
        caches[project.SESSION_CACHE_ALIAS].get("wsredis")
