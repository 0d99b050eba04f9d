"""Tests for `wsredis.django.checks` and `wsredis.django.apps`."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

from tests.support.django_project import SETTINGS
from tests.unit.django.case import AppCase
from wsredis.errors import ConfigError

_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]

_HOOKS = "tests.support.project.hooks"


class CheckCase(AppCase):
    """The checks of the app."""

    def found(self, **settings: object) -> dict[str, str]:
        """The messages of a project with these settings, by their numbers."""
        from django.test import override_settings

        from wsredis.django.checks import check_settings

        with override_settings(**settings):
            messages = check_settings(app_configs=None)
        for each in messages:
            self.assertTrue(each.hint)
            prefix, _, number = each.id.partition(".")
            self.assertEqual(("wsredis", "E" if each.is_serious() else "W"), (prefix, number[0]))
        return {each.id.partition(".")[2]: each.msg for each in messages}


class ValueTests(CheckCase):
    """Settings that hold values."""

    def test_none(self) -> None:
        """A project that is right has nothing to hear."""
        self.assertEqual({}, self.found())

    def test_right(self) -> None:
        """A project that uses all settings has nothing to hear; the gateway takes them as well."""
        for settings in (
            {"WEBSOCKET_URL": "/"},
            {"WEBSOCKET_URL": "wss://live.example.org/ws/"},
            {"WS4REDIS_PREFIX": None},
            {"WS4REDIS_PREFIX": "site:a"},
            {"WS4REDIS_EXPIRE": None},
            {"WS4REDIS_EXPIRE": -1},
            {"WS4REDIS_HEARTBEAT": None},
            {"WS4REDIS_HEARTBEAT": ""},
            {"WS4REDIS_HEARTBEAT": "--heartbeat--"},
            {"WS4REDIS_CONNECTION": {}},
            {"WS4REDIS_CONNECTION": {"host": "h", "port": "7", "db": 2, "password": None}},
            {"WS4REDIS_CONNECTION": {"unix_socket_path": "/run/redis.sock", "password": b"x"}},
            {"WS4REDIS_CONNECTION": {"host": "::1", "ssl": True, "max_connections": 7}},
        ):
            self.assertEqual({}, self.found(**settings), settings)
            self.assertEqual("", self.gateway(**settings), settings)

    def test_wrong(self) -> None:
        """A wrong value is reported with the name of the setting and without a password."""
        for number, name, value, words in (
            ("E001", "WEBSOCKET_URL", "ws/", "'ws/' does not start and end with a slash"),
            ("E001", "WEBSOCKET_URL", "/ws", "does not start and end with a slash"),
            ("E001", "WEBSOCKET_URL", None, "None is not a string"),
            ("E001", "WEBSOCKET_URL", "http://h/ws/", "neither a path nor a whole ws://"),
            ("E001", "WEBSOCKET_URL", "//h/ws/", "neither a path nor a whole ws://"),
            ("E001", "WEBSOCKET_URL", "ws:/ws/", "neither a path nor a whole ws://"),
            ("E001", "WEBSOCKET_URL", "/ws/?a", "has more than a path"),
            ("E002", "WS4REDIS_CONNECTION", {"username": 5}, "'username' is not a string"),
            ("E004", "WS4REDIS_EXPIRE", 1.5, "1.5 is not a whole number of seconds"),
            ("E004", "WS4REDIS_EXPIRE", True, "True is not a whole number of seconds"),
            ("E002", "WS4REDIS_CONNECTION", "redis://:secret@h", "this is not a dictionary"),
            ("E002", "WS4REDIS_CONNECTION", None, "this is not a dictionary"),
            ("E002", "WS4REDIS_CONNECTION", {"port": "secret"}, "'port' is not a number from 0"),
            ("E002", "WS4REDIS_CONNECTION", {"port": 70000}, "'port' is not a number from 0"),
            ("E002", "WS4REDIS_CONNECTION", {"db": []}, "'db' is not a number from 0"),
            ("E002", "WS4REDIS_CONNECTION", {"host": "a secret"}, "'host' is not the name of"),
            ("E002", "WS4REDIS_CONNECTION", {"password": ["secret"]}, "'password' is not a string"),
            ("E003", "WS4REDIS_PREFIX", "a b", "'a b' has a blank or a control character"),
            ("E004", "WS4REDIS_EXPIRE", "soon", "'soon' is not a whole number of seconds"),
            ("E005", "WS4REDIS_HEARTBEAT", 5, "5 is not a string"),
            ("E006", "WS4REDIS_ALLOWED_CHANNELS", "no.such", "'no.such' cannot be imported (Modul"),
            ("E006", "WS4REDIS_ALLOWED_CHANNELS", 5, "neither a function nor the name of one"),
            ("E006", "WS4REDIS_ALLOWED_CHANNELS", f"{_HOOKS}.__doc__", "neither a function nor"),
            ("E007", "WS4REDIS_PROCESS_REQUEST", f"{_HOOKS}.nothing", "(ImportError: "),
            ("E008", "WS4REDIS_SUBSCRIBER", "no.such", "(ModuleNotFoundError: No module"),
            ("E008", "WS4REDIS_SUBSCRIBER", f"{_HOOKS}.fail", "the class has no lists of channels"),
        ):
            found = self.found(**{name: value})
            self.assertEqual([number], list(found), name)
            self.assertTrue(found[number].startswith(f"{name}: "), found)
            self.assertIn(words, found[number])
            self.assertNotIn("secret", found[number])
            # The gateway would not start either.
            self.assertNotEqual("", self.gateway(**{name: value}), name)

    def test_wrong_for_publishers(self) -> None:
        """Arguments that only redis-py could know are reported, too; the gateway ignores them."""
        found = self.found(WS4REDIS_CONNECTION={"hots": "h"})
        self.assertEqual(["E002"], list(found))
        self.assertIn("hots", found["E002"])
        self.assertEqual("", self.gateway(WS4REDIS_CONNECTION={"hots": "h"}))

    def test_hooks(self) -> None:
        """Functions and their names are right, and so are classes with lists of channels."""

        class Subscriber:
            subscription_channels = ("subscribe-user",)
            publish_channels = ("publish-user",)

        globals()["Subscriber"] = Subscriber
        self.addCleanup(globals().pop, "Subscriber")
        settings = {
            "WS4REDIS_ALLOWED_CHANNELS": f"{_HOOKS}.fail",
            "WS4REDIS_PROCESS_REQUEST": len,
            "WS4REDIS_SUBSCRIBER": f"{__name__}.Subscriber",
        }
        self.assertEqual({}, self.found(**settings))
        self.assertEqual("", self.gateway(**settings))
        self.assertEqual({}, self.found(WS4REDIS_SUBSCRIBER="ws4redis.subscriber.RedisSubscriber"))

    def gateway(self, **settings: object) -> str:
        """Return the gateway's refusal of these settings; an empty string if it takes them."""
        from django.test import override_settings

        from tests.support.threads import ThreadReactor
        from wsredis.auth.sources.django.authenticator import DjangoAuthenticator
        from wsredis.auth.sources.django.project import project_settings
        from wsredis.config import GatewayConfig

        with override_settings(**settings):
            try:
                project_settings(SETTINGS)
                DjangoAuthenticator(ThreadReactor(), GatewayConfig(django=SETTINGS)).stop()
            except ConfigError as error:
                return str(error)
        return ""


class CookieTests(CheckCase):
    """Settings under which no session is found."""

    def test_lost(self) -> None:
        """They are warned of; the gateway starts all the same."""
        settings = {"SESSION_COOKIE_PATH": "/app/"}
        found = self.found(**settings)
        self.assertEqual(["W007"], list(found))
        self.assertIn("SESSION_COOKIE_PATH: browsers do not send", found["W007"])

    def test_stale(self) -> None:
        """A cache in front of the sessions that other processes do not see."""
        local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        engine = "django.contrib.sessions.backends.cached_db"
        found = self.found(SESSION_ENGINE=engine, CACHES={"default": local})
        self.assertEqual(["W020"], list(found))
        self.assertIn("SESSION_CACHE_ALIAS: the cache 'default'", found["W020"])


class HostTests(CheckCase):
    """Settings about the name of the project."""

    def test_without_effect(self) -> None:
        """An entry that no request ever has is warned of."""
        found = self.found(CSRF_TRUSTED_ORIGINS=["example.com"])
        self.assertEqual(["W030"], list(found))
        self.assertIn("CSRF_TRUSTED_ORIGINS: 'example.com' has no effect", found["W030"])
        self.assertEqual(["W030"], list(self.found(ALLOWED_HOSTS=[])))


class MeaningTests(CheckCase):
    """Gateway, publishers, pages and checks take the same values, and mean the same by them."""

    #: Settings, values, and the gateway's results. If None, nobody takes the value.
    TABLE: tuple[tuple[str, Any, Any], ...] = (
        ("WS4REDIS_EXPIRE", 7200, 7200),
        ("WS4REDIS_EXPIRE", 0, 0),
        ("WS4REDIS_EXPIRE", -1, 0),
        ("WS4REDIS_EXPIRE", None, 0),
        ("WS4REDIS_EXPIRE", "60", 60),
        ("WS4REDIS_EXPIRE", 1.9, None),
        ("WS4REDIS_EXPIRE", True, None),
        ("WS4REDIS_EXPIRE", "soon", None),
        ("WS4REDIS_EXPIRE", [], None),
        ("WS4REDIS_PREFIX", "site", "site"),
        ("WS4REDIS_PREFIX", 5, "5"),
        ("WS4REDIS_PREFIX", None, ""),
        ("WS4REDIS_PREFIX", 0, ""),
        ("WS4REDIS_PREFIX", "a b", None),
        ("WS4REDIS_PREFIX", b"site", None),
        ("WS4REDIS_HEARTBEAT", "--hb--", "--hb--"),
        ("WS4REDIS_HEARTBEAT", "", ""),
        ("WS4REDIS_HEARTBEAT", None, ""),
        ("WS4REDIS_HEARTBEAT", 5, None),
        ("WS4REDIS_HEARTBEAT", b"--hb--", None),
        ("WS4REDIS_CONNECTION", {"host": "h", "port": "7"}, "redis://h:7/0"),
        ("WS4REDIS_CONNECTION", {"host": None, "password": 5}, "redis://localhost:6379/0"),
        ("WS4REDIS_CONNECTION", {}, "redis://localhost:6379/0"),
        ("WS4REDIS_CONNECTION", {"host": 5}, None),
        ("WS4REDIS_CONNECTION", {"db": "x"}, None),
        ("WS4REDIS_CONNECTION", {"password": []}, None),
        ("WS4REDIS_CONNECTION", None, None),
        ("WS4REDIS_CONNECTION", "redis://h", None),
        ("WEBSOCKET_URL", "/a/", "/a/"),
        ("WEBSOCKET_URL", "wss://h/a/", "/a/"),
        ("WEBSOCKET_URL", "http://h/a/", None),
        ("WEBSOCKET_URL", "/a", None),
        ("WEBSOCKET_URL", None, None),
    )

    _SETTINGS = {
        "WEBSOCKET_URL": "url-prefix",
        "WS4REDIS_CONNECTION": "redis",
        "WS4REDIS_EXPIRE": "expire",
        "WS4REDIS_HEARTBEAT": "heartbeat",
        "WS4REDIS_PREFIX": "prefix",
    }

    def test_same(self) -> None:
        """A value is taken by all readers, or refused by all."""
        for name, value, expected in self.TABLE:
            readers = [self.by_gateway, self.by_publisher]
            readers += [self.by_page] if name in ("WEBSOCKET_URL", "WS4REDIS_HEARTBEAT") else []
            with self.settings(**{name: value}):
                found = [self.outcome(read, name) for read in readers]
                checked = self.found()
            label = f"{name} = {value!r}: {found} {checked}"
            if expected is None:
                self.assertEqual([], [each for each in found if each is not None], label)
                self.assertEqual(1, len(checked), label)
            else:
                self.assertEqual([expected] * len(readers), found, label)
                self.assertEqual({}, checked, label)

    def outcome(self, read: Any, name: str) -> Any:
        """Return the setting as a reader takes it. If None, the reader refuses it by name."""
        try:
            return read(name)
        except ConfigError as error:
            self.assertIn(f"{name}: ", str(error))
            return None

    def settings(self, **settings: object) -> Any:
        """A project with these settings."""
        from django.test import override_settings

        return override_settings(**settings)

    def by_gateway(self, name: str) -> Any:
        """Read as the gateway does."""
        from wsredis.auth.sources.django.project import project_settings

        value = project_settings(SETTINGS)[self._SETTINGS[name]]
        return "" if value is None else value

    def by_publisher(self, name: str) -> Any:
        """Read as publishers do, in the words of the gateway."""
        from wsredis.publisher import RedisPublisher

        publisher = RedisPublisher()
        values = publisher._connection.connection_pool.connection_kwargs
        host, port = values.get("host") or "localhost", values.get("port") or 6379
        return {
            # Publishers have no use for it.
            "WEBSOCKET_URL": lambda: self.by_gateway(name),
            "WS4REDIS_CONNECTION": lambda: f"redis://{host}:{port}/{values.get('db', 0)}",
            "WS4REDIS_EXPIRE": lambda: publisher._expire,
            "WS4REDIS_HEARTBEAT": lambda: publisher._heartbeat or "",
            "WS4REDIS_PREFIX": lambda: publisher.get_prefix().rstrip(":"),
        }[name]()

    def by_page(self, name: str) -> Any:
        """Read as pages do, in the words of the gateway."""
        from django.test import RequestFactory

        from wsredis.django.browser import heartbeat, uri

        if name == "WS4REDIS_HEARTBEAT":
            return heartbeat() or ""
        return f"/{uri(RequestFactory().get('/')).split('/', 3)[3]}"


class AppTests(CheckCase):
    """Apps, middlewares and sessions."""

    def test_auth(self) -> None:
        """Without users there are no identities; nobody asks for sessions then."""
        found = self.found(INSTALLED_APPS=["django.contrib.contenttypes"], MIDDLEWARE=[])
        self.assertEqual(["W003"], list(found))

    def test_sessions(self) -> None:
        """An engine needs its app; others need none."""
        apps = _APPS[:2]
        self.assertEqual(["W004"], list(self.found(INSTALLED_APPS=apps)))
        found = self.found(SESSION_ENGINE="no.such")
        self.assertIn("'no.such' cannot be used (ModuleNotFoundError)", found["W004"])
        engine = "django.contrib.sessions.backends.cache"
        self.assertEqual({}, self.found(INSTALLED_APPS=apps, SESSION_ENGINE=engine))

    def test_original(self) -> None:
        """The app of the original freezes groups."""
        from django.apps import AppConfig

        from tests.support import project

        # Not the real one: its signals would stay for other tests.
        original = AppConfig("ws4redis", project)
        self.assertEqual(["W001"], list(self.found(INSTALLED_APPS=[*_APPS, original])))

    def test_order(self) -> None:
        """The app comes before that of static files, or has no runserver."""
        own, other = "wsredis.django", "django.contrib.staticfiles"
        self.addCleanup(gc.collect)
        self.assertEqual(["W002"], list(self.found(INSTALLED_APPS=[*_APPS, other, own])))
        self.assertEqual({}, self.found(INSTALLED_APPS=[*_APPS, own, other]))
        self.assertEqual({}, self.found(INSTALLED_APPS=[*_APPS, own]))

    def test_other_runserver(self) -> None:
        """Any app with a runserver of its own is noticed, unless that one is an heir of ours."""
        folder = Path(self.mktemp()).absolute()
        self.patch(sys, "path", [*sys.path, str(folder)])
        self.addCleanup(gc.collect)
        own = "wsredis.django"
        for name, line, right in (
            ("wsr_other", "from django.core.management.commands.runserver import Command", False),
            ("wsr_heir", "from wsredis.django.management.commands.runserver import Command", True),
            ("wsr_broken", "raise ImportError", False),
        ):
            commands = folder / name / "management" / "commands"
            commands.mkdir(parents=True)
            (folder / name / "__init__.py").touch()
            (commands / "runserver.py").write_text(f"{line}\n")
            found = self.found(INSTALLED_APPS=[*_APPS, name, own])
            self.assertEqual([] if right else ["W002"], list(found), name)
            self.assertIn(name, found.get("W002", name))
            self.assertEqual({}, self.found(INSTALLED_APPS=[*_APPS, own, name]), name)

    def test_middleware(self) -> None:
        """Pages need the middlewares that begin sessions, or heirs of them."""
        found = self.found(MIDDLEWARE=[f"{__name__}.OwnSessions", "no.such"])
        self.assertEqual(["W005"], list(found))
        self.assertNotIn("SessionMiddleware", found["W005"])
        self.assertIn("AuthenticationMiddleware", found["W005"])
        found = self.found(MIDDLEWARE=[f"{_HOOKS}.fail"])
        self.assertIn("SessionMiddleware and django.contrib.auth.", found["W005"])

    def test_signed_cookies(self) -> None:
        """A signed cookie cannot be called back."""
        found = self.found(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
        self.assertEqual(["W006"], list(found))

    def test_ready(self) -> None:
        """The app registers its checks under its name, and watches as long as it is there."""
        from django.contrib.auth.signals import user_logged_out
        from django.core import checks

        from wsredis.django.signals import SignalReceiver

        self.addCleanup(gc.collect)
        self.vary(INSTALLED_APPS=[*_APPS, "wsredis.django"], WEBSOCKET_URL="ws")
        sent = user_logged_out.send(sender=None, request=None, user=None)
        owners = [getattr(receiver, "__self__", None) for receiver, _ in sent]
        self.assertEqual([SignalReceiver], [type(each) for each in owners if each is not None])
        found = [each.id for each in checks.run_checks(tags=["wsredis"])]
        self.assertEqual(["wsredis.E001"], found)


def __getattr__(name: str) -> Any:
    """``OwnSessions``: a middleware of a project, made when Django is there."""
    if name != "OwnSessions":
        raise AttributeError(name)
    from django.contrib.sessions.middleware import SessionMiddleware

    return type(name, (SessionMiddleware,), {})
