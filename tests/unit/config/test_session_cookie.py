"""Tests of `wsredis.config.session_cookie`."""

from __future__ import annotations

from types import SimpleNamespace

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.django_project import missing_django
from wsredis.config.session_cookie import (
    cache_of_one_process,
    doubtful_sessions,
    lost_sessions,
)

_LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
_SHARED = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}
_OWN = "tests.support.project.local"
_BACKENDS = "django.contrib.sessions.backends"


class LostSessionsTests(SynchronousTestCase):
    """`lost_sessions`."""

    def found(self, **settings: object) -> list[str]:
        """Return the names of the settings that are reported."""
        return [each.partition(":")[0] for each in lost_sessions(SimpleNamespace(**settings))]

    def test_right(self) -> None:
        """Settings under which the cookie is sent, and the session is found."""
        other = {"WEBSOCKET_URL": "wss://live.example.org/ws/"}
        trusted = {"CSRF_TRUSTED_ORIGINS": ["https://www.example.org"]}
        for settings in (
            {},
            {"SESSION_COOKIE_PATH": "/", "SESSION_COOKIE_DOMAIN": None},
            {"SESSION_COOKIE_PATH": "/app/", "WEBSOCKET_URL": "/app/ws/"},
            {"SESSION_COOKIE_PATH": "/app", "WEBSOCKET_URL": "/app/"},
            {"SESSION_COOKIE_SECURE": True},
            {"SESSION_COOKIE_SECURE": True, **other},
            {"SESSION_COOKIE_SECURE": True, "WEBSOCKET_URL": "ws://localhost:8080/ws/"},
            {**other, **trusted, "SESSION_COOKIE_DOMAIN": ".example.org"},
            {**other, **trusted, "SESSION_COOKIE_DOMAIN": "example.org"},
            # The pages may be at the same host.
            other,
            {**other, "CSRF_TRUSTED_ORIGINS": ["https://live.example.org"]},
            {"WEBSOCKET_URL": "ws://localhost:8080/ws/", **trusted},
            {"SESSION_ENGINE": f"{_BACKENDS}.cache", "CACHES": _SHARED},
            {"SESSION_ENGINE": f"{_BACKENDS}.cached_db", "CACHES": _LOCAL},
            {"SESSION_ENGINE": f"{_BACKENDS}.db", "CACHES": _LOCAL},
            {"SESSION_ENGINE": f"{_BACKENDS}.file", "SESSION_FILE_PATH": "/var/sessions"},
            {"SESSION_ENGINE": "no.such.engine", "CACHES": _LOCAL},
            # Others report these.
            {"WEBSOCKET_URL": 5, "SESSION_COOKIE_PATH": "/app/"},
            {"CSRF_TRUSTED_ORIGINS": 5, **other},
            {"CACHES": 5, "SESSION_ENGINE": f"{_BACKENDS}.cache"},
        ):
            self.assertEqual([], self.found(**settings), settings)

    def test_path(self) -> None:
        """The cookie is for another path."""
        for path in ("/app/", "/w", "/ws/chat/"):
            self.assertEqual(["SESSION_COOKIE_PATH"], self.found(SESSION_COOKIE_PATH=path))

    def test_host(self) -> None:
        """The cookie is for another host, or for that of the pages only."""
        url = "wss://live.example.org/ws/"
        for settings in (
            {"SESSION_COOKIE_DOMAIN": "www.example.org"},
            {"SESSION_COOKIE_DOMAIN": "ample.org"},
            {"CSRF_TRUSTED_ORIGINS": ["https://www.example.org"]},
            {"CSRF_TRUSTED_ORIGINS": ["https://*.example.org"]},
        ):
            self.assertEqual(["SESSION_COOKIE_DOMAIN"], self.found(WEBSOCKET_URL=url, **settings))

    def test_secure(self) -> None:
        """The cookie is for TLS only, and sockets are without."""
        found = self.found(SESSION_COOKIE_SECURE=True, WEBSOCKET_URL="ws://a.example/ws/")
        self.assertEqual(["SESSION_COOKIE_SECURE"], found)

    def test_cache(self) -> None:
        """The sessions are in a cache that the gateway does not see."""
        engine = f"{_BACKENDS}.cache"
        self.assertEqual(["SESSION_ENGINE"], self.found(SESSION_ENGINE=engine, CACHES=_LOCAL))
        settings = {"SESSION_CACHE_ALIAS": "other", "CACHES": {**_LOCAL, "other": {}}}
        self.assertEqual([], self.found(SESSION_ENGINE=engine, **settings))
        self.assertTrue(cache_of_one_process(SimpleNamespace(CACHES=_LOCAL)))

    def test_heirs(self) -> None:
        """A cache or an engine of the project's own counts as the one of Django below it."""
        reason = missing_django()
        if reason is not None:
            raise SkipTest(reason)
        caches = {"default": {"BACKEND": f"{_OWN}.OwnCache"}}
        self.assertEqual(["SESSION_ENGINE"], self.found(SESSION_ENGINE=_OWN, CACHES=caches))

    def test_stale(self) -> None:
        """A copy in the memory of one process outlives a logout in another."""
        for caches, engine, count in (
            (_LOCAL, "cached_db", 1),
            (_SHARED, "cached_db", 0),
            (
                {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
                "cached_db",
                0,
            ),
            (_LOCAL, "db", 0),
        ):
            settings = SimpleNamespace(SESSION_ENGINE=f"{_BACKENDS}.{engine}", CACHES=caches)
            self.assertEqual(count, len(doubtful_sessions(settings)), engine)

    def test_files(self) -> None:
        """The folder for temporary files may be another one for each service."""
        for more, count in (({}, 1), ({"SESSION_FILE_PATH": "/var/sessions"}, 0)):
            settings = SimpleNamespace(SESSION_ENGINE=f"{_BACKENDS}.file", **more)
            found = doubtful_sessions(settings)
            self.assertEqual(count, sum(each.startswith("SESSION_FILE_PATH: ") for each in found))
            self.assertEqual(count, len(found))
