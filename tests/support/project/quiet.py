"""
A session engine, a cache and an authentication backend that hide errors.

django-redis-sessions and django-redis can do the same. The first two are away while the folder of
the setting ``QUIET_FOLDER`` is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends.base import CreateError, SessionBase
from django.core.cache.backends.filebased import FileBasedCache

__all__ = ["QuietBackend", "QuietCache", "SessionStore"]


def _file(key: str | None) -> Path:
    folder = Path(settings.QUIET_FOLDER)
    if not folder.is_dir():
        raise ConnectionError("it is away")
    return folder / str(key)


class SessionStore(SessionBase):  # type: ignore[misc]
    """Sessions that seem to be missing while the folder is away."""

    def load(self) -> dict[str, Any]:
        """A missing session keeps its key; if nothing can be asked, it loses it."""
        try:
            path = _file(self.session_key)
            found: dict[str, Any] = self.decode(path.read_text() if path.exists() else "None")
            return found
        except Exception:
            self._session_key = None
            return {}

    def exists(self, session_key: str) -> bool:
        """As the folder says."""
        return _file(session_key).exists()

    def create(self) -> None:
        """Make a new session."""
        self._session_key = self._get_new_session_key()
        self.save(must_create=True)

    def save(self, must_create: bool = False) -> None:
        """Write the session."""
        if self.session_key is None:
            self.create()
            return
        if must_create and self.exists(self.session_key):
            raise CreateError
        _file(self.session_key).write_text(self.encode(self._get_session(no_load=must_create)))

    def delete(self, session_key: str | None = None) -> None:
        """Remove the session."""
        _file(session_key or self.session_key).unlink(missing_ok=True)


class QuietCache(FileBasedCache):  # type: ignore[misc]
    """A cache that has nothing while the folder is away, if an option says so."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(location, params)
        options = params.get("OPTIONS", {})
        by_default = getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False)
        quiet = options.get("IGNORE_EXCEPTIONS", options.get("ignore_exc", by_default))
        self._is_quiet = bool(quiet)

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Read a value."""
        return super().get(key, default, version) if self._is_here() else default

    def has_key(self, key: str, version: int | None = None) -> bool:
        """Tell whether there is a value."""
        return self._is_here() and bool(super().has_key(key, version))

    def _is_here(self) -> bool:
        try:
            _file(None)
        except ConnectionError:
            if self._is_quiet:
                return False
            raise
        return True


class QuietBackend(ModelBackend):  # type: ignore[misc]
    """A backend to which nobody exists while the database is away."""

    def get_user(self, user_id: Any) -> Any:
        """Load a user."""
        try:
            return super().get_user(user_id)
        except Exception:
            return None
