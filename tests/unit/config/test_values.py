"""Tests for `wsredis.config.values`, as settings use them."""

from __future__ import annotations

from tests.unit.config.case import ConfigCase
from wsredis.config import AsgiConfig, AuthUrlConfig, GatewayConfig, JwtConfig, Limits, load
from wsredis.config.cores import usable_cores
from wsredis.config.values import endpoint_description, header_value, script_name
from wsredis.errors import ConfigError


class CheckTests(ConfigCase):
    """The values that each setting allows, as text and as Python values."""

    def test_whole_numbers(self) -> None:
        """A whole number may be given as text; nothing else is one."""
        self.assertEqual(5, GatewayConfig(expire="5").expire)  # type: ignore[arg-type]
        self.assertEqual(0, GatewayConfig(expire=0).expire)
        for value in ("ten", "1.5", 1.5, True, None, "", "-1", -1, "1e3", "0x10", [5], "9" * 5000):
            self.assertTrue(self.refused(GatewayConfig, expire=value).startswith("expire: "))

    def test_workers(self) -> None:
        """A number of at least one, or one for each core that may be used."""
        self.assertEqual(3, GatewayConfig(workers="3").workers)  # type: ignore[arg-type]
        auto = GatewayConfig(workers="auto").workers  # type: ignore[arg-type]
        self.assertEqual(usable_cores(), auto)
        for value in (0, "many", 1.5, True, ""):
            error = self.assertRaises(ConfigError, GatewayConfig, workers=value)
            self.assertIn("workers: ", str(error))

    def test_seconds(self) -> None:
        """Durations are finite numbers, from the smallest that makes sense."""
        self.assertEqual(1.5, GatewayConfig(ping_interval="1.5").ping_interval)  # type: ignore[arg-type]
        self.assertEqual(0.0, GatewayConfig(drain=0).drain)
        words = ("soon", "nan", "inf", "-inf", "-0.1", "nan\n", " -1\n")
        for value in (*words, None, [], -1, 0.5, 10**400):
            self.assertTrue(self.refused(GatewayConfig, ping_interval=value).startswith("ping-"))

    def test_optional(self) -> None:
        """A limit that has a share in its place may be left out, and is checked if it is given."""
        for value, expected in ((None, None), ("", None), ("7", 7), (1, 1)):
            limits = Limits(max_connections_per_address=value)  # type: ignore[arg-type]
            self.assertEqual(expected, limits.max_connections_per_address)
        self.refused(Limits, max_connections_per_address=0)

    def test_flags(self) -> None:
        """A flag is true or false, in a few usual words."""
        for value in (True, "1", "true", "YES", " on "):
            self.assertIs(True, GatewayConfig(demo=value).demo)  # type: ignore[arg-type]
        for value in (False, "0", "False", "no", "off", ""):
            self.assertIs(False, GatewayConfig(demo=value).demo)  # type: ignore[arg-type]
        for value in ("maybe", None, 2, "tru\ne"):
            self.assertIn("neither true nor false", self.refused(GatewayConfig, demo=value))

    def test_ports(self) -> None:
        """A port is a number or an endpoint description, one or several."""
        for value, expected in (
            ("80", ("80",)),
            (0, ("0",)),
            ("65535", ("65535",)),
            ("80 tcp:81", ("80", "tcp:81")),
            ("127.0.0.1:80 localhost:81 [::1]:82", ("127.0.0.1:80", "localhost:81", "[::1]:82")),
            (["unix:/run/my gateway"], ("unix:/run/my gateway",)),
            ((), ()),
        ):
            self.assertEqual(expected, GatewayConfig(port=value).port)  # type: ignore[arg-type]
        for value in (
            "127.0.0.1:65536",
            "localhost:99999",
            "65536",
            "-1",
            "http",
            [""],
            "8.0",
            True,
            "\u00b2",
            "9" * 5000,
        ):
            self.assertTrue(self.refused(GatewayConfig, port=value).startswith("port: "), value)

    def test_endpoint_description(self) -> None:
        """A number, with or without an address, becomes a description; that is left as it is."""
        for text, host, expected in (
            ("80", "", "tcp:80"),
            ("80", "127.0.0.1", "tcp:80:interface=127.0.0.1"),
            ("10.0.0.5:80", "127.0.0.1", "tcp:80:interface=10.0.0.5"),
            ("[fe80::1]:80", "", r"tcp:80:interface=fe80\:\:1"),
            ("tcp:80", "127.0.0.1", "tcp:80"),
            ("unix:/run/x:80", "", "unix:/run/x:80"),
        ):
            self.assertEqual(expected, endpoint_description(text, host))

    def test_tls_ports(self) -> None:
        """A port for TLS is like a port, without a certificate of its own."""
        for value in ("443", "tcp:443:interface=::1", "unix:/x", "haproxy:tcp:443"):
            self.assertEqual((value,), GatewayConfig(tls_port=value).tls_port)  # type: ignore[arg-type]
        for value in ("65536", "https", "ssl:443:privateKey=x", "tls:/x:port=443"):
            self.assertTrue(self.refused(GatewayConfig, tls_port=value).startswith("tls-port: "))

    def test_url_prefix(self) -> None:
        """The URL prefix stands between slashes; a single one will do."""
        for value in ("/", "/ws/", "/a/b/", "/%C3%A9/"):
            self.assertEqual(value, GatewayConfig(url_prefix=value).url_prefix)
        for value in ("", "ws", "/ws", "ws/", "/\u00e9/", "/a b/", "/a?/", "/%zz/", 5, None):
            self.assertTrue(self.refused(GatewayConfig, url_prefix=value).startswith("url-prefix:"))

    def test_header_value(self) -> None:
        """A header and its value; the name is written in any case."""
        for value in ("X-Scheme=https", " x-scheme = https "):
            self.assertEqual("x-scheme=https", header_value(value))
        for value in ("X-Scheme", "=https", "X-Scheme=", "X Scheme=https", "HTTP_X=a", 5):
            self.assertRaises(ValueError, header_value, value)

    def test_script_name(self) -> None:
        """A path without a slash at its end, or none."""
        for value in ("", "/app", "/a/%C3%A9"):
            self.assertEqual(value, script_name(value))
        for value in ("app", "/a b", 5):
            self.assertRaises(ValueError, script_name, value)

    def test_prefix(self) -> None:
        """The prefix has no blank, no control character, and no name of an audience as a part."""
        self.assertEqual("my:app", GatewayConfig(prefix="my:app").prefix)
        self.assertEqual("users:my-session", GatewayConfig(prefix="users:my-session").prefix)
        self.assertEqual("", GatewayConfig(prefix=None).prefix)  # type: ignore[arg-type]
        for value in (
            "a b",
            "a\n",
            "\x00",
            "\x7f",
            "\x85",
            5,
            "user",
            "shop:broadcast",
            "session:x",
        ):
            self.assertTrue(self.refused(GatewayConfig, prefix=value).startswith("prefix: "))

    def test_texts_are_unicode(self) -> None:
        """A string of the command line that is not UTF-8 is refused now, not at the first use."""
        broken = b"\xff".decode("utf-8", "surrogateescape")
        for name in ("prefix", "heartbeat"):
            self.assertTrue(self.refused(GatewayConfig, **{name: broken}).startswith(f"{name}: "))

    def test_heartbeat(self) -> None:
        """A heartbeat is a string; an empty one means none."""
        self.assertEqual("--hb--", GatewayConfig(heartbeat="--hb--").heartbeat)
        self.assertIsNone(GatewayConfig(heartbeat="").heartbeat)
        self.assertIn("heartbeat: ", self.refused(GatewayConfig, heartbeat=5))

    def test_origins(self) -> None:
        """Origins are brought into one form, and what is none is refused."""
        config = GatewayConfig(allow_origin=["https://Example.com", "*"])  # type: ignore[arg-type]
        self.assertEqual(("https://example.com:443", "*"), config.allow_origin)
        extension = ("chrome-extension://abc",)
        self.assertEqual(extension, load({"allow-origin": list(extension)}, {}).allow_origin)
        for value in ("example.com", ["https://a", 5], [None], "https://a\x0b.b"):
            text = self.refused(GatewayConfig, allow_origin=value)
            self.assertTrue(text.startswith("allow-origin: "), text)


class AsgiTests(ConfigCase):
    """The settings of an ASGI application."""

    def test_refused(self) -> None:
        """Each wrong value is refused with the name of its option."""
        for name, option, *values in (
            ("application", "asgi", "module", "module.name", ":name", "a b:c", 5),
            ("loop", "asgi-loop", "uvloop", "Reactor", 1),
            ("lifespan", "asgi-lifespan", "yes", "AUTO", 1),
            ("root_path", "asgi-root-path", "app", "/a b", "/é", 5),
            ("concurrency", "asgi-concurrency", 0, -1, "1.5", "", None),
            ("budget", "asgi-budget", 0, -1, "2ms", "nan", "inf", None),
            ("shutdown", "asgi-shutdown", -1, "ever", "inf", None),
            ("slow", "asgi-slow", 0, -1, "100ms", "nan", None),
        ):
            for value in values:
                text = self.refused(AsgiConfig, **{name: value})
                self.assertTrue(text.startswith(f"{option}: "), text)

    def test_taken(self) -> None:
        """Each is an option of the gateway, with the values that the reference names."""
        config = load(
            {
                "asgi": "site.asgi:app.inner",
                "asgi-loop": "thread",
                "asgi-lifespan": "off",
                "asgi-root-path": "/a/%C3%A9",
                "asgi-concurrency": "7",
                "asgi-budget": "0.01",
                "asgi-shutdown": "0",
                "asgi-slow": "1",
            },
            {},
        )
        expected = AsgiConfig(
            "site.asgi:app.inner", "thread", "off", "/a/%C3%A9", 7, 0.01, 0.0, 1.0
        )
        self.assertEqual(expected, config.asgi)


class IdentityTests(ConfigCase):
    """The settings of identities."""

    def test_urls(self) -> None:
        """A URL that is fetched starts with http:// or https:// and holds no user name."""
        for value in ("http://a/", "https://a.b:8000/x?y=1", "http://[::1]:80/x", None, ""):
            self.assertEqual(value or None, AuthUrlConfig(url=value).url)
            self.assertEqual(value or None, JwtConfig(jwks_url=value).jwks_url)
        for value in ("a.b", "ftp://a/", "http://", "http://u:p@a/", "http://a/ b", "http://a/#x"):
            text = self.refused(AuthUrlConfig, url=value)
            self.assertEqual(
                "auth-url: this is not a URL that starts with http:// or https:// "
                "and has no user in it",
                text,
            )

    def test_algorithm(self) -> None:
        """One of four, or none."""
        for value in ("HS256", "RS256", "ES256", "EdDSA", None):
            self.assertEqual(value, JwtConfig(algorithm=value).algorithm)
        for value in ("none", "hs256", "HS512"):
            self.assertIn("jwt-algorithm: ", self.refused(JwtConfig, algorithm=value))

    def test_python_names(self) -> None:
        """A module, and a function in a module."""
        config = GatewayConfig(django="my_site.settings", policy="my_site.rights:may")
        self.assertEqual("my_site.settings", config.django)
        self.assertEqual("my_site.rights:may", config.policy)
        for value in ("my-site", "a.", "a/b.py", "a:b"):
            self.assertIn("django: ", self.refused(GatewayConfig, django=value))
        for value in ("a.b", "a:", ":b", "a b:c"):
            self.assertIn("policy: ", self.refused(GatewayConfig, policy=value))
