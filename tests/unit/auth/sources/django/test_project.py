"""Tests of `wsredis.auth.sources.django.project`."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

from twisted.logger import capturedLogs, formatEvent

from tests.support.django_project import SETTINGS
from tests.unit.auth.sources.django.case import DjangoCase
from wsredis.auth.sources.django.authenticator import DjangoAuthenticator
from wsredis.auth.sources.django.project import (
    error_in_project,
    project_settings,
    read_setting,
    set_up,
)
from wsredis.config import GatewayConfig
from wsredis.errors import ConfigError


class ProjectSettingsTests(DjangoCase):
    """`project_settings`."""

    def test_default(self) -> None:
        """Settings that the project does not have are missing."""
        self.assertEqual(
            {
                "url-prefix": "/ws/",
                "allow-origin": (),
                "allow-host": ("*",),
                "forwarded-host": False,
                "secure-header": None,
                "script-name": "",
            },
            project_settings(SETTINGS),
        )

    def test_values(self) -> None:
        """Settings of Django become settings of the gateway."""
        for name, value, setting, expected in (
            ("WEBSOCKET_URL", "/sockets/", "url-prefix", "/sockets/"),
            ("WEBSOCKET_URL", "wss://example.com/sockets/", "url-prefix", "/sockets/"),
            ("WEBSOCKET_URL", "/é t/", "url-prefix", "/%C3%A9%20t/"),
            ("WS4REDIS_PREFIX", None, "prefix", ""),
            ("WS4REDIS_PREFIX", "", "prefix", ""),
            ("WS4REDIS_PREFIX", "site", "prefix", "site"),
            ("WS4REDIS_PREFIX", 5, "prefix", "5"),
            ("WS4REDIS_EXPIRE", None, "expire", 0),
            ("WS4REDIS_EXPIRE", 0, "expire", 0),
            ("WS4REDIS_EXPIRE", -1, "expire", 0),
            ("WS4REDIS_EXPIRE", 7200, "expire", 7200),
            ("WS4REDIS_HEARTBEAT", None, "heartbeat", None),
            ("WS4REDIS_HEARTBEAT", "", "heartbeat", None),
            ("WS4REDIS_HEARTBEAT", "--heartbeat--", "heartbeat", "--heartbeat--"),
            (
                *("CSRF_TRUSTED_ORIGINS", ["https://a.example", "https://*.b.example"]),
                "allow-origin",
                ("https://a.example:443", "https://*.b.example:443", "https://b.example:443"),
            ),
        ):
            self.vary(**{name: value})
            self.assertEqual(expected, project_settings(SETTINGS)[setting], (name, value))

    def test_patched(self) -> None:
        """A project, or the module of a hook, that replaces Python's threads is refused."""
        fake = SimpleNamespace(is_module_patched=lambda name: name == "socket")
        with patch.dict(sys.modules, {"gevent.monkey": fake}):  # type: ignore[dict-item]
            for text, error in (
                (SETTINGS, self.assertRaises(ConfigError, project_settings, SETTINGS)),
                (
                    "WS4REDIS_PROCESS_REQUEST",
                    self.assertRaises(
                        ConfigError, read_setting, SimpleNamespace(), "WS4REDIS_PROCESS_REQUEST"
                    ),
                ),
            ):
                self.assertIn(f"django: {text}: an import has replaced threads", str(error))
                self.assertIn("gevent", str(error))

    def test_for_uwsgi(self) -> None:
        """A project that needs uWSGI is explained."""
        error = error_in_project("a.settings", ImportError("No module named 'uwsgi'", name="uwsgi"))
        self.assertIn("'uwsgi': the gateway takes the place of uWSGI", str(error))

    def test_other_folder(self) -> None:
        """A package that is not there is that of another folder; no other module is."""
        for name, is_here in (("a", False), ("a.settings", False), ("b", True), ("a.set", True)):
            error = error_in_project("a.settings", ModuleNotFoundError(f"no {name}", name=name))
            self.assertEqual(is_here, "is this the folder of manage.py?" not in str(error))

    def test_expire_refused(self) -> None:
        """A value that is not a number of seconds is an error."""
        for value in ("soon", [60]):
            self.vary(WS4REDIS_EXPIRE=value)
            error = self.assertRaises(ConfigError, project_settings, SETTINGS)
            self.assertEqual(
                f"django: WS4REDIS_EXPIRE: {value!r} is not a whole number of seconds",
                str(error),
            )

    def test_connection(self) -> None:
        """Arguments of redis-py become settings of Redis."""
        self.vary(WS4REDIS_CONNECTION={"host": "a", "password": "p"})
        found = project_settings(SETTINGS)
        self.assertEqual("redis://a:6379/0", found["redis"])
        self.assertEqual("p", found["redis-password"])

    def test_unknown(self) -> None:
        """A setting with a slip in its name is logged, with the one that may have been meant."""
        self.vary(WS4REDIS_ALLOWED_CHANELS="site.hook", WS4REDIS_OWN=1)
        with capturedLogs() as events:
            project_settings(SETTINGS)
        expected = (
            "WS4REDIS_ALLOWED_CHANELS is not a setting for WebSockets, and has no effect: is it "
            "WS4REDIS_ALLOWED_CHANNELS?"
        )
        self.assertEqual([expected], [formatEvent(event) for event in events])

    def test_connection_ignored(self) -> None:
        """Arguments that the gateway does not use are logged in one line, without their values."""
        self.vary(WS4REDIS_CONNECTION={"socket_timeout": "secret", "retry": "secret"})
        with capturedLogs() as events:
            project_settings(SETTINGS)
        expected = "WS4REDIS_CONNECTION: retry and socket_timeout are not used by the gateway"
        self.assertEqual([expected], [formatEvent(event) for event in events])
        self.vary(WS4REDIS_CONNECTION={"ssl": True, "ssl_keyfile": "secret"})
        with capturedLogs() as events:
            project_settings(SETTINGS)
        expected = "WS4REDIS_CONNECTION: ssl_keyfile is not used by the gateway"
        self.assertEqual([expected], [formatEvent(event) for event in events])

    def test_without_effect(self) -> None:
        """An entry that Django never finds equal to anything is named, and has no effect."""
        self.vary(CSRF_TRUSTED_ORIGINS=["example.com", "https://a.example"])
        with capturedLogs() as events:
            values = project_settings(SETTINGS)
        self.assertEqual(("https://a.example:443",), values["allow-origin"])
        expected = (
            "CSRF_TRUSTED_ORIGINS: 'example.com' has no effect, it has no scheme: begin it "
            "with https://"
        )
        self.assertEqual([expected], [formatEvent(event) for event in events])

    def test_wrong(self) -> None:
        """An unusable value is an error of one line, with its name and without a secret."""
        for name, value in (
            ("WEBSOCKET_URL", "/ws"),
            ("WEBSOCKET_URL", ""),
            ("WS4REDIS_PREFIX", "a b"),
            ("WS4REDIS_EXPIRE", "soon"),
            ("WS4REDIS_EXPIRE", float("inf")),
            ("WS4REDIS_EXPIRE", []),
            ("WS4REDIS_HEARTBEAT", 5),
            ("ALLOWED_HOSTS", ["http://example.com"]),
            ("SECURE_PROXY_SSL_HEADER", "https"),
            ("CSRF_TRUSTED_ORIGINS", 5),
            ("WS4REDIS_CONNECTION", "redis://:secret@localhost"),
            ("WS4REDIS_CONNECTION", {"port": "secret"}),
        ):
            from django.test import override_settings

            with override_settings(**{name: value}):
                error = self.assertRaises(ConfigError, project_settings, SETTINGS)
                self.assertRegex(str(error), rf"^django: {name}: [^\n]+$")
                self.assertNotIn("secret", str(error))

    def test_moved(self) -> None:
        """Rules that the project assigns to ``ws4redis.settings`` while it is set up count."""
        import django
        import django.conf

        original = ModuleType("ws4redis.settings")
        original.__dict__["WS4REDIS_ALLOWED_CHANNELS"] = len
        project = SimpleNamespace(configured=False)
        with patch.dict(sys.modules, {"ws4redis.settings": original}):
            with patch.object(django.conf, "settings", project):
                with patch.object(django, "setup"), capturedLogs() as events:
                    set_up(SETTINGS)
        self.assertIs(len, project.WS4REDIS_ALLOWED_CHANNELS)
        expected = (
            "WS4REDIS_ALLOWED_CHANNELS: the value that was assigned to ws4redis.settings counts"
        )
        self.assertEqual([expected], [formatEvent(event) for event in events])

    def test_other_project(self) -> None:
        """A process can have one project."""
        error = self.assertRaises(ConfigError, project_settings, "other.settings")
        self.assertIn("django: other.settings: this process has other settings", str(error))

    def test_broken_project(self) -> None:
        """A project that fails is an error of one line; texts that may hold values are left out."""
        wrong, missing = "ImproperlyConfigured", "ModuleNotFoundError: No module named 'no'"
        absent = "django.contrib.auth is not in INSTALLED_APPS"
        for settings, words in (
            ({"SESSION_ENGINE": "json"}, "SESSION_ENGINE: AttributeError at sessions.py:"),
            ({"SESSION_ENGINE": "no.such"}, f"SESSION_ENGINE: {missing}"),
            (
                {"INSTALLED_APPS": []},
                f"{SETTINGS}: {wrong}: {absent}, which is empty: is this the settings module, such",
            ),
            (
                {"INSTALLED_APPS": ["django.contrib.contenttypes"]},
                f"{SETTINGS}: {wrong}: {absent}",
            ),
            ({"SECRET_KEY": ""}, f"{SETTINGS}: {wrong}: The SECRET_KEY setting must not be empty"),
            ({"SESSION_SERIALIZER": "no.Such"}, f"{SETTINGS}: {missing}"),
        ):
            from django.test import override_settings

            with override_settings(**settings):
                config = GatewayConfig(django=SETTINGS)
                error = self.assertRaises(ConfigError, DjangoAuthenticator, None, config)
                self.assertIn(f"django: {words}", str(error))
                self.assertNotIn("secret", str(error))

    def test_broken_setup(self) -> None:
        """So is one that fails, or ends the program, while Django is set up."""
        import django

        for error, text in (
            (ValueError("secret"), "ValueError at test_project.py:"),
            (SystemExit("secret"), "SystemExit at test_project.py:"),
            (ImportError("No module\nnamed x"), "ImportError: No module named x"),
        ):

            def setup(error: BaseException = error) -> None:
                raise error

            with patch.object(django, "setup", setup):
                found = str(self.assertRaises(ConfigError, project_settings, SETTINGS))
            self.assertIn(f"django: {SETTINGS}: {text}", found)
            self.assertNotIn("secret", found)

    def test_no_django(self) -> None:
        """Without Django, the error says how to install it."""
        self.addCleanup(sys.modules.__setitem__, "django", sys.modules["django"])
        sys.modules["django"] = None  # type: ignore[assignment]
        error = self.assertRaises(ConfigError, project_settings, SETTINGS)
        self.assertEqual(
            "django: Django is not installed: pip install 'wsredis[django]'", str(error)
        )

    def test_working_directory(self) -> None:
        """Modules in the working directory are found, as with manage.py."""
        self.patch(sys, "path", [each for each in sys.path if each != os.getcwd()])
        for _ in range(2):
            project_settings(SETTINGS)
            self.assertEqual(1, sys.path.count(os.getcwd()))
