"""Tests for `wsredis.config.settings`: the list of all settings, and their defaults."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.config.case import ConfigCase
from wsredis.config import (
    AsgiConfig,
    AuthUrlConfig,
    ForwardConfig,
    GatewayConfig,
    JwtConfig,
    Limits,
    RedisConfig,
    all_settings,
    load,
)

SECRET = "s3cr3t-w0rd"


class ConfigTests(ConfigCase):
    """The dataclasses of settings."""

    def test_defaults(self) -> None:
        """The defaults are what the reference says, and pass their own checks."""
        config = GatewayConfig()
        self.assertEqual((("8080",), "/ws/"), (config.port, config.url_prefix))
        self.assertEqual(("", 3600), (config.prefix, config.expire))
        self.assertIsNone(config.heartbeat)
        self.assertIsNone(config.redis.url)
        self.assertEqual((), config.allow_origin)
        self.assertFalse(config.demo)
        for setting in all_settings():
            self.assertEqual(setting.default, setting.check(setting.default), setting.name)

    def test_no_limit_can_be_switched_off(self) -> None:
        """Zero, an empty value and infinity are not limits."""
        for setting in all_settings():
            if setting.part == "limits":
                for value in (0, -1, "0", "", "inf", "nan", None, float("inf")):
                    if setting.default is None and value in (None, ""):
                        # There is another limit in its place.
                        continue
                    text = self.refused(Limits, **{setting.attribute: value})
                    self.assertTrue(text.startswith(f"{setting.name}: "), text)

    def test_url_prefixes(self) -> None:
        """WebSocket URLs begin with the path that a proxy takes off, or not."""
        for own, script, expected in (
            ("/ws/", "", ("/ws/",)),
            ("/app/ws/", "/app", ("/app/ws/", "/ws/")),
            ("/ws/", "/app", ("/ws/", "/app/ws/")),
            ("/application/ws/", "/app", ("/application/ws/", "/app/application/ws/")),
            # All pages would be below it.
            ("/app/", "/app", ("/app/",)),
            ("/", "/app", ("/",)),
        ):
            config = GatewayConfig(url_prefix=own, script_name=script)
            self.assertEqual(expected, config.url_prefixes, (own, script))

    def test_frozen(self) -> None:
        """A configuration does not change."""
        for part, name in ((GatewayConfig(), "expire"), (Limits(), "max_head")):
            self.assertRaises(FrozenInstanceError, setattr, part, name, 5)


class SecretTests(ConfigCase):
    """The password shows nowhere."""

    def test_not_in_repr(self) -> None:
        """The repr of a configuration has no password, also not that of the URL."""
        for redis in (
            RedisConfig(password=SECRET),
            RedisConfig(url=f"redis://user:{SECRET}@localhost"),
            RedisConfig(url=f"redis://:{SECRET}@localhost"),
        ):
            config = GatewayConfig(redis=redis)
            self.assertNotIn(SECRET, repr(config) + repr(redis) + str(config))
        self.assertNotIn(SECRET, repr(GatewayConfig(forward=ForwardConfig(key=SECRET))))

    def test_not_in_errors(self) -> None:
        """A refused password is not repeated."""
        for cls, name in ((RedisConfig, "password"), (ForwardConfig, "key")):
            for value in ([SECRET], SECRET.encode()):
                text = self.refused(cls, **{name: value})
                self.assertRegex(text, r"\A[a-z]+-[a-z]+: ")
                self.assertNotIn(SECRET, text)

    def test_urls(self) -> None:
        """URLs, which may have a key in the query, show neither in a repr nor in an error."""
        url = f"https://example.com/?key={SECRET}"
        self.assertNotIn(SECRET, repr(AuthUrlConfig(url)) + repr(JwtConfig(jwks_url=url)))
        for cls, name, value in (
            (RedisConfig, "url", [f"redis://:{SECRET}@localhost"]),
            (AuthUrlConfig, "url", [url]),
            (JwtConfig, "jwks_url", [url]),
        ):
            self.assertNotIn(SECRET, self.refused(cls, **{name: value}))

    def test_not_in_files(self) -> None:
        """A password in a file is refused; the refusal does not repeat it."""
        path = self.file(f'redis-password = "{SECRET}"')
        text = self.refused(load, {}, {}, path)
        self.assertIn("redis-password", text)
        self.assertNotIn(SECRET, text)

    def test_from_the_environment(self) -> None:
        """The environment is a place for it."""
        config = load({}, {"WSREDIS_REDIS_PASSWORD": SECRET})
        self.assertEqual(SECRET, config.redis.password)

    def test_marked(self) -> None:
        """Settings that are secret are marked, so that they become no option."""
        secrets = [each.name for each in all_settings() if each.secret]
        self.assertEqual(["redis-password", "forward-key"], secrets)


class SettingTests(SynchronousTestCase):
    """The list of all settings."""

    def test_names(self) -> None:
        """Each name is there once, with dashes, and the port comes first."""
        names = [setting.name for setting in all_settings()]
        self.assertEqual("port", names[0])
        self.assertEqual(len(set(names)), len(names))
        for name in names:
            self.assertRegex(name, r"\A[a-z]+(-[a-z]+)*\Z")

    def test_complete(self) -> None:
        """Every field of the configuration is a setting, but for what is read from files."""
        found = {(setting.part, setting.attribute) for setting in all_settings()}
        parts = {"redis": RedisConfig, "jwt": JwtConfig, "auth_url": AuthUrlConfig}
        parts |= {"limits": Limits, "asgi": AsgiConfig, "forward": ForwardConfig}
        others = {*parts, "rules", "file"}
        expected = {(None, name) for name in GatewayConfig.__slots__ if name not in others}
        expected |= {(part, name) for part, cls in parts.items() for name in cls.__slots__}
        self.assertEqual(expected - {("redis", "inherited_password")}, found)

    def test_units(self) -> None:
        """The help of every limit and every duration names its unit."""
        for setting in all_settings():
            if setting.part == "limits" or isinstance(setting.default, float):
                self.assertRegex(
                    setting.help,
                    "(?i)bytes|seconds|deliveries|handshakes|WebSockets|channels|commands|requests",
                )
