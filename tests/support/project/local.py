"""A session engine and a cache of one process, by names of their own."""

from __future__ import annotations

from django.contrib.sessions.backends.cache import SessionStore as _SessionStore
from django.core.cache.backends.locmem import LocMemCache

__all__ = ["OwnCache", "SessionStore"]


class OwnCache(LocMemCache):  # type: ignore[misc]
    """An heir of Django's cache in the memory of a process."""


class SessionStore(_SessionStore):  # type: ignore[misc]
    """An heir of Django's sessions in the cache."""
