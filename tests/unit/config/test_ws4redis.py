"""Tests for `wsredis.config.ws4redis`: the meaning of each setting of a project."""

from __future__ import annotations

from ssl import CERT_NONE, CERT_REQUIRED
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import RedisConfig, all_settings
from wsredis.config.redis_url import target_of
from wsredis.config.ws4redis import MEANINGS, gateway_values, project_value
from wsredis.errors import ConfigError


def read(name: str, value: Any) -> Any:
    """The meaning of a setting."""
    return project_value(SimpleNamespace(**{name: value}), name)


class ValueTests(SynchronousTestCase):
    """`project_value`."""

    def test_missing(self) -> None:
        """A setting that the project lacks has the default; without a project there is none."""
        for name in MEANINGS:
            self.assertIsNone(project_value(None, name))
            self.assertEqual("x", project_value(SimpleNamespace(), name, "x"))

    def test_expire(self) -> None:
        """Seconds are whole numbers, also as strings; None and less than 0 are 0."""
        for value, expected in (
            (3600, 3600),
            (0, 0),
            (-1, 0),
            (None, 0),
            ("60", 60),
            ("-1", 0),
        ):
            self.assertEqual(expected, read("WS4REDIS_EXPIRE", value))
        for value in (1.9, 60.0, True, False, "soon", "", "1.5", [60], float("inf"), "9" * 5000):
            error = self.assertRaises(ConfigError, read, "WS4REDIS_EXPIRE", value)
            expected = f"WS4REDIS_EXPIRE: {value!r} is not a whole number of seconds"
            self.assertEqual(expected, str(error))

    def test_prefix(self) -> None:
        """A false value means no prefix, as in the original; a number is its digits."""
        for value, expected in (
            (None, ""),
            ("", ""),
            (0, ""),
            (False, ""),
            (5, "5"),
            ("a:b", "a:b"),
        ):
            self.assertEqual(expected, read("WS4REDIS_PREFIX", value))
        for value in ("a b", "a\n", b"a", "\ud800"):
            self.assertRaises(ConfigError, read, "WS4REDIS_PREFIX", value)

    def test_heartbeat(self) -> None:
        """A heartbeat is a string; None and the empty string mean none."""
        for value, expected in ((None, None), ("", None), ("--hb--", "--hb--")):
            self.assertEqual(expected, read("WS4REDIS_HEARTBEAT", value))
        for value in (5, True, b"--hb--", ["--hb--"]):
            self.assertRaises(ConfigError, read, "WS4REDIS_HEARTBEAT", value)

    def test_url(self) -> None:
        """A path, or a whole URL for WebSockets; both end with a slash."""
        for value in ("/", "/ws/", "/\u00e9 t/", "ws://h/ws/", "wss://h:8443/ws/"):
            self.assertEqual(value, read("WEBSOCKET_URL", value))
        for value in (
            *("", "/ws", "ws/", "http://h/ws/", "//h/ws/", "ws:/ws/", "/ws/?a", "/ws/#a"),
            *("wss://h", "ws://[::1/", None, 5, b"/ws/", "/\ud800/"),
        ):
            self.assertRaises(ConfigError, read, "WEBSOCKET_URL", value)

    def test_origins(self) -> None:
        """A list of origins; Django's wildcards include the name itself."""
        self.assertEqual(
            ("https://*.a.example:443", "https://a.example:443"),
            read("CSRF_TRUSTED_ORIGINS", ["https://*.a.example"]),
        )
        for value in (5, None, "https://a.example"):
            self.assertRaises(ConfigError, read, "CSRF_TRUSTED_ORIGINS", value)

    def test_hosts(self) -> None:
        """A list of names; an entry that no name fits counts as little as it does in Django."""
        given = ["Example.com", ".example.org", "[::1]", "*", "https://a", "*.a.example", "a:80", 5]
        self.assertEqual(
            ("example.com", ".example.org", "[::1]", "*", "5"), read("ALLOWED_HOSTS", given)
        )
        self.assertEqual((), read("ALLOWED_HOSTS", []))
        for value in (5, None, "a.example", ["https://a.example"]):
            self.assertRaises(ConfigError, read, "ALLOWED_HOSTS", value)

    def test_proxy(self) -> None:
        """The header of the proxy that tells of TLS, and the path that it takes off."""
        for value, expected in (
            (None, None),
            (("HTTP_X_FORWARDED_PROTO", "https"), "x-forwarded-proto=https"),
            (["HTTP_X_SCHEME", "on"], "x-scheme=on"),
            (("X-Forwarded-Proto", "https"), None),
        ):
            self.assertEqual(expected, read("SECURE_PROXY_SSL_HEADER", value))
        for value in ("HTTP_X", ("HTTP_X",), 5):
            self.assertRaises(ConfigError, read, "SECURE_PROXY_SSL_HEADER", value)
        for value, expected in ((None, ""), ("/app/", "/app"), ("a/b", "/a/b"), ("/", "")):
            self.assertEqual(expected, read("FORCE_SCRIPT_NAME", value))
        self.assertRaises(ConfigError, read, "FORCE_SCRIPT_NAME", 5)

    def test_hooks(self) -> None:
        """A function, or the dotted name of one."""
        for name in ("WS4REDIS_ALLOWED_CHANNELS", "WS4REDIS_PROCESS_REQUEST"):
            self.assertIsNone(read(name, None))
            self.assertIs(len, read(name, len))
            self.assertIs(read, read(name, f"{__name__}.read"))
            for value, words in (
                (5, "neither a function nor the name of one"),
                (f"{__name__}.__doc__", "neither a function nor the name of one"),
                ("", "(ImportError: it is not written as package.module.name)"),
                ("read", "(ImportError: it is not written as package.module.name)"),
                (".read", "(ImportError: it is not written as package.module.name)"),
                ("no.such", "(ModuleNotFoundError: No module named 'no')"),
                (f"{__name__}.nothing", "(ImportError: the module has no nothing)"),
            ):
                error = self.assertRaises(ConfigError, read, name, value)
                self.assertTrue(str(error).startswith(f"{name}: "), error)
                self.assertIn(words, str(error))

    def test_subscriber(self) -> None:
        """A class with lists of flags. The original's is not imported and knows all of them."""
        name = "WS4REDIS_SUBSCRIBER"
        self.assertIsNone(read(name, "ws4redis.subscriber.RedisSubscriber"))
        for value in (f"{__name__}.Subscriber", Subscriber):
            self.assertEqual(("subscribe-user", "publish-user"), read(name, value).flags)
        for value in (f"{__name__}.read", "no.such", None, 5):
            self.assertRaises(ConfigError, read, name, value)


class Subscriber:
    """A class of subscribers, as a project may have it."""

    subscription_channels = ("subscribe-user",)
    publish_channels = ("publish-user",)


class GatewayTests(SynchronousTestCase):
    """`gateway_values`."""

    def test_nothing(self) -> None:
        """A project without these settings has nothing to say."""
        self.assertEqual(({}, []), gateway_values(SimpleNamespace(SECRET_KEY="secret")))

    def test_local_hosts(self) -> None:
        """With DEBUG and no names, the names are those of this machine, as in Django."""
        local = (".localhost", "127.0.0.1", "[::1]")
        for debug, given, expected in (
            (True, [], local),
            (True, ["a.example"], ("a.example",)),
            (False, [], ()),
        ):
            project = SimpleNamespace(DEBUG=debug, ALLOWED_HOSTS=given)
            self.assertEqual(({"allow-host": expected}, []), gateway_values(project))

    def test_checked(self) -> None:
        """Each value is as the check of its setting leaves it, so that nobody checks again."""
        project = SimpleNamespace(
            WEBSOCKET_URL="wss://h/\u00e9 t/",
            WS4REDIS_PREFIX=5,
            WS4REDIS_EXPIRE="60",
            WS4REDIS_HEARTBEAT="",
            WS4REDIS_CONNECTION={"host": "h", "ssl": True, "ssl_ca_certs": "ca", "password": 7},
            CSRF_TRUSTED_ORIGINS=["https://a.example"],
            USE_X_FORWARDED_HOST=1,
            SECURE_PROXY_SSL_HEADER=("HTTP_X_SCHEME", "https"),
            FORCE_SCRIPT_NAME="/\u00e9/",
        )
        values, ignored = gateway_values(project)
        self.assertEqual(
            {
                "url-prefix": "/%C3%A9%20t/",
                "prefix": "5",
                "expire": 60,
                "heartbeat": None,
                "redis": "rediss://h:6379/0",
                "redis-ca": "ca",
                "redis-password": "7",
                "allow-origin": ("https://a.example:443",),
                "forwarded-host": True,
                "secure-header": "x-scheme=https",
                "script-name": "/%C3%A9",
            },
            values,
        )
        self.assertEqual([], ignored)
        checks = {each.name: each.check for each in all_settings()}
        for name, value in values.items():
            if name != "allow-origin":
                self.assertEqual(value, checks[name](value), name)


def redis_settings(connection: Any) -> tuple[dict[str, Any], list[str]]:
    """The settings of the gateway for a project with this Redis."""
    return gateway_values(SimpleNamespace(WS4REDIS_CONNECTION=connection))


class ConnectionTests(SynchronousTestCase):
    """``WS4REDIS_CONNECTION``."""

    def test_arguments(self) -> None:
        """Publishers get arguments of redis-py; an argument that is None is left to it."""
        given = {"host": None, "port": "7", "password": b"p", "socket_timeout": 1, "db": None}
        expected = {"port": 7, "password": "p", "socket_timeout": 1}
        self.assertEqual(expected, read("WS4REDIS_CONNECTION", given))

    def test_url(self) -> None:
        """Arguments of redis-py become a URL, without the password."""
        for given, url, rest in (
            ({}, "redis://localhost:6379/0", {}),
            (
                {"host": None, "port": None, "db": None, "password": None},
                "redis://localhost:6379/0",
                {},
            ),
            ({"host": "r_1.example", "port": "6380", "db": "3"}, "redis://r_1.example:6380/3", {}),
            ({"host": "::1", "ssl": False}, "redis://[::1]:6379/0", {}),
            (
                {"host": "a", "username": "a@b:c", "password": "p/@:?#"},
                "redis://a%40b%3Ac@a:6379/0",
                {"redis-password": "p/@:?#"},
            ),
            ({"password": b"bytes"}, "redis://localhost:6379/0", {"redis-password": "bytes"}),
            ({"ssl": True}, "rediss://localhost:6379/0", {}),
            (
                {"ssl": True, "ssl_ca_certs": "/a/b"},
                "rediss://localhost:6379/0",
                {"redis-ca": "/a/b"},
            ),
            ({"ssl_ca_certs": "/a/b"}, "redis://localhost:6379/0", {}),
            ({"unix_socket_path": "/a b/?.sock", "db": 2}, "unix:///a%20b/%3F.sock?db=2", {}),
            (
                {"unix_socket_path": "/s", "username": "u", "password": "p", "ssl": True},
                "unix://u@/s?db=0",
                {"redis-password": "p"},
            ),
        ):
            self.assertEqual(({"redis": url, **rest}, []), redis_settings(given))
            target = target_of(RedisConfig(url=url, password="x"))
            self.assertEqual(given.get("unix_socket_path"), target.path)
            self.assertEqual(given.get("username"), target.username)

    def test_from_url(self) -> None:
        """A URL stands for its arguments, for publishers as for the gateway."""
        for url, expected, rest in (
            ("redis://h:6380/2", {"host": "h", "port": 6380, "db": 2}, {}),
            (
                "rediss://joe:p%40w@h",
                {
                    "host": "h",
                    "port": 6379,
                    "db": 0,
                    "ssl": True,
                    "ssl_check_hostname": True,
                    "username": "joe",
                    "password": "p@w",
                },
                {"redis-password": "p@w"},
            ),
            ("unix:///run/x.sock?db=1", {"unix_socket_path": "/run/x.sock", "db": 1}, {}),
        ):
            given = {"url": url, "socket_timeout": 3}
            found = read("WS4REDIS_CONNECTION", given)
            self.assertEqual({**expected, "socket_timeout": 3}, found)
            values, ignored = redis_settings(given)
            target = target_of(RedisConfig(url=url))
            self.assertEqual(
                target.name, target_of(RedisConfig(url=values.pop("redis"), password="x")).name
            )
            self.assertEqual((rest, ["socket_timeout"]), (values, ignored))

    def test_wrong_url(self) -> None:
        """A URL that cannot be used is not shown, and stands alone."""
        for given, words in (
            ({"url": "http://secret"}, "'url': a URL starts with redis://, rediss:// or unix://"),
            ({"url": 5}, "'url': a URL starts with redis://, rediss:// or unix://"),
            ({"url": "redis://h/secret"}, "'url': the URL does not end with the number"),
            ({"url": "redis://h", "port": 1}, "'url' and 'port' exclude each other"),
        ):
            error = self.assertRaises(ConfigError, read, "WS4REDIS_CONNECTION", given)
            self.assertIn(f"WS4REDIS_CONNECTION: {words}", str(error))
            self.assertNotIn("secret", str(error))

    def test_ignored(self) -> None:
        """An argument without a meaning here is named, but not its value."""
        _, ignored = redis_settings({"socket_timeout": "secret", "retry": "secret"})
        self.assertEqual(["retry", "socket_timeout"], ignored)

    def test_certificates(self) -> None:
        """
        Publishers verify a certificate as the project says, also if None says it.

        The gateway always does, and names an argument that says otherwise.
        """
        for given, kept, expected in (
            (None, "none", ["ssl_cert_reqs"]),
            ("none", "none", ["ssl_cert_reqs"]),
            (CERT_NONE, CERT_NONE, ["ssl_cert_reqs"]),
            ("required", "required", []),
            (CERT_REQUIRED, CERT_REQUIRED, []),
        ):
            connection = {"ssl": True, "ssl_cert_reqs": given}
            self.assertEqual(kept, read("WS4REDIS_CONNECTION", connection)["ssl_cert_reqs"])
            self.assertEqual(expected, redis_settings(connection)[1])
            # Without TLS it means nothing.
            self.assertEqual([], redis_settings({**connection, "ssl": False})[1])

    def test_wrong(self) -> None:
        """An argument that cannot be used is named, but not its value."""
        for given, words in (
            ("redis://:secret@localhost", "this is not a dictionary"),
            ({"port": "secret"}, "'port' is not a number from 0 to 65535"),
            ({"port": 70000}, "'port' is not a number from 0 to 65535"),
            ({"port": float("inf")}, "'port' is not a number from 0 to 65535"),
            ({"db": -1}, "'db' is not a number from 0 to 65535"),
            ({"db": []}, "'db' is not a number from 0 to 65535"),
            ({"host": "secret@localhost"}, "'host' is not the name of a host"),
            ({"host": "a/b"}, "'host' is not the name of a host"),
            ({"password": ["secret"]}, "'password' is not a string"),
            ({"password": True}, "'password' is not a string"),
            ({"password": b"secret\xff"}, "'password' is not a string"),
            ({"host": 5}, "'host' is not a string"),
            ({"username": 5}, "'username' is not a string"),
            ({"unix_socket_path": 5}, "'unix_socket_path' is not a string"),
            (None, "this is not a dictionary"),
            (
                {"connection_pool": "secret"},
                "'connection_pool' is not known to the gateway: name 'host' and 'port'",
            ),
        ):
            error = self.assertRaises(ConfigError, redis_settings, given)
            self.assertEqual(f"WS4REDIS_CONNECTION: {words}", str(error))
