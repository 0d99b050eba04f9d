"""Tests for `wsredis.config`: what is allowed, what goes before what, and how refusals read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import (
    AuthUrlConfig,
    GatewayConfig,
    JwtConfig,
    Limits,
    RedisConfig,
    all_settings,
    load,
)
from wsredis.config.rules import Rule
from wsredis.config.ws4redis import gateway_values
from wsredis.errors import ConfigError

SECRET = "s3cr3t-w0rd"


class _ConfigCase(SynchronousTestCase):
    """Words for settings that are refused."""

    def refused(self, make: Any, *args: Any, **kwargs: Any) -> str:
        """The text of the refusal: one line."""
        text = str(self.assertRaises(ConfigError, make, *args, **kwargs))
        self.assertEqual(1, len(text.splitlines()), text)
        return text

    def file(self, text: str | bytes) -> str:
        """The path of a TOML file with *text*."""
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)


class CheckTests(_ConfigCase):
    """What each setting allows, however it is given."""

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
        """Zero, nothing and infinity are no limits."""
        for setting in all_settings():
            if setting.part == "limits":
                for value in (0, -1, "0", "", "inf", "nan", None, float("inf")):
                    text = self.refused(Limits, **{setting.attribute: value})
                    self.assertTrue(text.startswith(f"{setting.name}: "), text)

    def test_whole_numbers(self) -> None:
        """A whole number may be given as text; nothing else is one."""
        self.assertEqual(5, GatewayConfig(expire="5").expire)  # type: ignore[arg-type]
        self.assertEqual(0, GatewayConfig(expire=0).expire)
        for value in ("ten", "1.5", 1.5, True, None, "", "-1", -1, "1e3", "0x10", [5], "9" * 5000):
            self.assertTrue(self.refused(GatewayConfig, expire=value).startswith("expire: "))

    def test_workers(self) -> None:
        """A number of at least one, or one for each core that may be used."""
        self.assertEqual(3, GatewayConfig(workers="3").workers)  # type: ignore[arg-type]
        self.patch(os, "sched_getaffinity", lambda pid: {1, 4, 5})
        self.patch(sys, "platform", "linux")
        self.assertEqual(3, GatewayConfig(workers="auto").workers)  # type: ignore[arg-type]
        self.patch(sys, "platform", "other")
        self.patch(os, "cpu_count", lambda: None)
        self.assertEqual(1, GatewayConfig(workers="auto").workers)  # type: ignore[arg-type]
        for value in (0, "many", 1.5, True, ""):
            error = self.assertRaises(ConfigError, GatewayConfig, workers=value)
            self.assertIn("workers: ", str(error))

    def test_seconds(self) -> None:
        """Durations are finite numbers, from the smallest that makes sense."""
        self.assertEqual(1.5, GatewayConfig(ping_interval="1.5").ping_interval)  # type: ignore[arg-type]
        self.assertEqual(0.0, GatewayConfig(drain=0).drain)
        for value in ("soon", None, [], "nan", "inf", "-inf", -1, "-0.1", 0.5, "nan\n", " -1\n"):
            self.assertTrue(self.refused(GatewayConfig, ping_interval=value).startswith("ping-"))

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
            (["unix:/run/my gateway"], ("unix:/run/my gateway",)),
            ((), ()),
        ):
            self.assertEqual(expected, GatewayConfig(port=value).port)  # type: ignore[arg-type]
        for value in ("65536", "-1", "http", [""], "8.0", True, "\u00b2", "9" * 5000):
            self.assertTrue(self.refused(GatewayConfig, port=value).startswith("port: "), value)

    def test_tls_ports(self) -> None:
        """A port for TLS is like a port, without a certificate of its own."""
        for value in ("443", "tcp:443:interface=::1", "unix:/x", "haproxy:tcp:443"):
            self.assertEqual((value,), GatewayConfig(tls_port=value).tls_port)  # type: ignore[arg-type]
        for value in ("65536", "https", "ssl:443:privateKey=x", "tls:/x:port=443"):
            self.assertTrue(self.refused(GatewayConfig, tls_port=value).startswith("tls-port: "))

    def test_no_plain_port_besides_tls(self) -> None:
        """Who asks for TLS gets no plain port, unless he asks for that too."""
        self.assertEqual((), load({"tls-port": ["443"]}, {}).port)
        self.assertEqual((), load({}, {"WSREDIS_TLS_PORT": "443 444"}).port)
        self.assertEqual((), load({}, {}, self.file("tls-port = ['443']")).port)
        for config in (
            load({"tls-port": ["443"], "port": ["8080"]}, {}),
            load({"tls-port": ["443"]}, {"WSREDIS_PORT": "8080"}),
            load({}, {"WSREDIS_TLS_PORT": ""}),
        ):
            self.assertEqual(("8080",), config.port)

    def test_url_prefix(self) -> None:
        """The URL prefix stands between slashes; a single one will do."""
        for value in ("/", "/ws/", "/a/b/", "/%C3%A9/"):
            self.assertEqual(value, GatewayConfig(url_prefix=value).url_prefix)
        for value in ("", "ws", "/ws", "ws/", "/\u00e9/", "/a b/", "/a?/", "/%zz/", 5, None):
            self.assertTrue(self.refused(GatewayConfig, url_prefix=value).startswith("url-prefix:"))

    def test_prefix(self) -> None:
        """The prefix of channels has no blank and no control character."""
        self.assertEqual("my:app", GatewayConfig(prefix="my:app").prefix)
        self.assertEqual("", GatewayConfig(prefix=None).prefix)  # type: ignore[arg-type]
        for value in ("a b", "a\n", "\x00", "\x7f", "\x85", 5):
            self.assertTrue(self.refused(GatewayConfig, prefix=value).startswith("prefix: "))

    def test_texts_are_unicode(self) -> None:
        """What came from the command line and is not UTF-8 is refused now, not at the first use."""
        broken = b"\xff".decode("utf-8", "surrogateescape")
        for name in ("prefix", "heartbeat"):
            self.assertTrue(self.refused(GatewayConfig, **{name: broken}).startswith(f"{name}: "))

    def test_heartbeat(self) -> None:
        """A heartbeat is a text; an empty one is none."""
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

    def test_frozen(self) -> None:
        """A configuration does not change."""
        for part, name in ((GatewayConfig(), "expire"), (Limits(), "max_head")):
            self.assertRaises(FrozenInstanceError, setattr, part, name, 5)


class SecretTests(_ConfigCase):
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

    def test_not_in_errors(self) -> None:
        """A refused password is not repeated."""
        for value in ([SECRET], SECRET.encode()):
            text = self.refused(RedisConfig, password=value)
            self.assertTrue(text.startswith("redis-password: "), text)
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
        """A file is no place for the password; the refusal does not repeat it."""
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
        self.assertEqual(["redis-password"], [each.name for each in all_settings() if each.secret])


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
        """Every field of the configuration is a setting, but for the rules."""
        found = {(setting.part, setting.attribute) for setting in all_settings()}
        parts = {"redis": RedisConfig, "jwt": JwtConfig, "auth_url": AuthUrlConfig}
        parts["limits"] = Limits
        others = {*parts, "rules"}
        expected = {(None, name) for name in GatewayConfig.__slots__ if name not in others}
        expected |= {(part, name) for part, cls in parts.items() for name in cls.__slots__}
        self.assertEqual(expected, found)

    def test_units(self) -> None:
        """The help of every limit and every duration names its unit."""
        for setting in all_settings():
            if setting.part == "limits" or isinstance(setting.default, float):
                self.assertRegex(
                    setting.help,
                    "(?i)bytes|seconds|handshakes|WebSockets|channels|commands|requests",
                )


class IdentityTests(_ConfigCase):
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


class ProjectTests(_ConfigCase):
    """What a Django project has for settings."""

    def project(self, module: str) -> Mapping[str, Any]:
        """Settings of a project."""
        self.assertEqual("my_site.settings", module)
        return {"prefix": "mine", "expire": 60, "port": ("80",)}

    def test_behind_all_others(self) -> None:
        """The project is asked for what neither option, nor variable, nor file says."""
        config = load(
            {"django": "my_site.settings", "expire": "5"},
            {"WSREDIS_PORT": "81"},
            project=self.project,
        )
        self.assertEqual(("mine", 5, ("81",)), (config.prefix, config.expire, config.port))

    def test_redis(self) -> None:
        """Nothing about the Redis of the project is told to another one."""

        def project(module: str) -> Mapping[str, Any]:
            return {"redis": "rediss://a", "redis-password": "secret", "redis-ca": "b", "expire": 5}

        config = load({"django": "a"}, {"WSREDIS_REDIS_PASSWORD": "own"}, project=project)
        redis = config.redis
        self.assertEqual(("rediss://a", "own", "b"), (redis.url, redis.password, redis.ca))
        config = load({"django": "a", "redis": "redis://c"}, {}, project=project)
        redis = config.redis
        self.assertEqual(("redis://c", None, None), (redis.url, redis.password, redis.ca))
        self.assertEqual(5, config.expire)

    def test_not_asked(self) -> None:
        """Without a project, or without somebody to ask, nothing is asked."""
        self.assertEqual("", load({}, {}, project=self.project).prefix)
        self.assertEqual("", load({"django": "my_site.settings"}, {}).prefix)

    def test_bad_value(self) -> None:
        """A value of the project that is not allowed is refused like any other."""

        def project(module: str) -> Mapping[str, Any]:
            values, _ = gateway_values(SimpleNamespace(WS4REDIS_EXPIRE="soon"))
            return values

        text = self.refused(load, {"django": "a"}, {}, project=project)
        expected = "WS4REDIS_EXPIRE: 'soon' is not a whole number of seconds"
        self.assertEqual(expected, text)


class LoadTests(_ConfigCase):
    """Option over environment over file over default."""

    def test_nothing(self) -> None:
        """With nothing given, all is default."""
        self.assertEqual(GatewayConfig(), load({}, {}))
        self.assertEqual(GatewayConfig(), load({"expire": None, "port": []}, {}))

    def test_order(self) -> None:
        """Each source goes before the next, setting by setting."""
        path = self.file("expire = 1\ndrain = 1\nmax-head = 1001\nping-interval = 1")
        environ = {"WSREDIS_EXPIRE": "2", "WSREDIS_DRAIN": "2", "WSREDIS_MAX_HEAD": "1002"}
        config = load({"expire": "3", "max-head": "1003"}, environ, path)
        self.assertEqual((3, 2.0, 1.0), (config.expire, config.drain, config.ping_interval))
        self.assertEqual(1003, config.limits.max_head)
        self.assertEqual(Limits().max_message, config.limits.max_message)

    def test_parts(self) -> None:
        """Settings find their parts; what is not named keeps its default."""
        config = load({"redis": "unix:///x", "max-queue": "5"}, {"WSREDIS_REDIS_CA": "ca.pem"})
        self.assertEqual(RedisConfig(url="unix:///x", ca="ca.pem"), config.redis)
        self.assertEqual(Limits(max_queue=5), config.limits)

    def test_several(self) -> None:
        """Lists are given as lists or between blanks, and replace each other whole."""
        path = self.file('port = [8080, "tcp:81"]\nallow-origin = "https://a https://b"')
        config = load({}, {}, path)
        self.assertEqual(("8080", "tcp:81"), config.port)
        self.assertEqual(("https://a:443", "https://b:443"), config.allow_origin)
        config = load({"allow-origin": ["*"]}, {"WSREDIS_PORT": "1 2"}, path)
        self.assertEqual((("1", "2"), ("*",)), (config.port, config.allow_origin))

    def test_empty_option(self) -> None:
        """An option that is given as empty is given."""
        config = load({"prefix": "", "heartbeat": ""}, {"WSREDIS_PREFIX": "app"})
        self.assertEqual(("", None), (config.prefix, config.heartbeat))

    def test_falsehood(self) -> None:
        """A flag may be switched off again by a source that goes before."""
        path = self.file("demo = true")
        self.assertIs(True, load({}, {}, path).demo)
        self.assertIs(False, load({}, {"WSREDIS_DEMO": "no"}, path).demo)

    def test_file_from_the_environment(self) -> None:
        """WSREDIS_CONFIG names the file, unless there is an option for it."""
        first, second = self.file("expire = 1"), self.file("expire = 2")
        self.assertEqual(1, load({}, {"WSREDIS_CONFIG": first}).expire)
        self.assertEqual(2, load({}, {"WSREDIS_CONFIG": first}, second).expire)
        self.assertEqual(3600, load({}, {"WSREDIS_CONFIG": ""}).expire)

    def test_bad_option(self) -> None:
        """The refusal names the option."""
        text = self.refused(load, {"expire": "ten"}, {})
        self.assertEqual("--expire: 'ten' is not a whole number", text)

    def test_bad_variable(self) -> None:
        """The refusal names the variable."""
        text = self.refused(load, {}, {"WSREDIS_MAX_QUEUE": "0"})
        self.assertEqual("WSREDIS_MAX_QUEUE: 0 is less than 1", text)

    def test_bad_key(self) -> None:
        """The refusal names file and key."""
        path = self.file('ping-interval = "soon"')
        text = self.refused(load, {}, {}, path)
        self.assertEqual(f"{path}: ping-interval: 'soon' is not a number of seconds", text)

    def test_bad_even_if_not_used(self) -> None:
        """A bad value is refused also where a better source says something else."""
        path = self.file("expire = -1")
        self.assertIn(path, self.refused(load, {"expire": "5"}, {}, path))

    def test_unknown_variable(self) -> None:
        """An unknown variable is refused by name."""
        text = self.refused(load, {}, {"WSREDIS_EXPIRES": "5"})
        self.assertEqual("WSREDIS_EXPIRES: there is no such setting", text)

    def test_unknown_key(self) -> None:
        """An unknown key is refused by name, a table and a strange one, too."""
        for text, key in (("expires = 5", "expires"), ("[limits]\nmax-head = 5", "limits")):
            path = self.file(text)
            refusal = self.refused(load, {}, {}, path)
            self.assertEqual(f"{path}: {key}: there is no such setting", refusal)
        self.refused(load, {}, {}, self.file('"a\\nb" = 5'))
        self.refused(load, {}, {}, self.file("max_head = 5000"))

    def test_empty_variable(self) -> None:
        """An empty variable is as good as none."""
        self.assertEqual(GatewayConfig(), load({}, {"WSREDIS_PORT": "", "WSREDIS_EXPIRE": ""}))

    def test_variables_of_others(self) -> None:
        """Other variables are left alone: those of the tests and those that Kubernetes adds."""
        environ = {
            "HOME": "/",
            "NOT_WSREDIS_EXPIRE": "x",
            "WSREDIS_REQUIRE": "redis",
            "WSREDIS_SERVICE_HOST": "10.0.0.1",
            "WSREDIS_SERVICE_PORT": "8080",
            "WSREDIS_SERVICE_PORT_HTTP": "8080",
            "WSREDIS_PORT": "tcp://10.0.0.1:8080",
            "WSREDIS_PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "WSREDIS_PORT_8080_TCP_ADDR": "10.0.0.1",
            "WSREDIS_PORT_53_UDP_PROTO": "udp",
        }
        self.assertEqual(GatewayConfig(), load({}, environ))

    def test_bad_file(self) -> None:
        """A file that is missing, a folder, not TOML or not text is refused in one line."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for path, words in (
            (str(folder / "missing"), "No such file"),
            (str(folder), "directory"),
            (self.file("expire = "), "Invalid value"),
            (self.file("expire = 5\nexpire = 6"), "overwrite a value"),
            (self.file(b"heartbeat = '\xff'"), "utf-8"),
        ):
            text = self.refused(load, {}, {}, path)
            self.assertTrue(text.startswith(f"--config: {path}: "), text)
            self.assertIn(words, text)


class RuleTests(_ConfigCase):
    """Rules, the only tables of the file."""

    def test_rules(self) -> None:
        """Rules stand behind the settings of the file, and only there."""
        path = self.file(
            "expire = 5\n[[rule]]\nwho = 'users'\nallow = true\n[[rule]]\nallow = false"
        )
        config = load({"prefix": "x"}, {}, path)
        self.assertEqual((5, "x"), (config.expire, config.prefix))
        self.assertEqual((Rule(allow=True, who=("users",)), Rule(allow=False)), config.rules)
        self.assertEqual((), load({}, {}).rules)
        self.refused(load, {}, {"WSREDIS_RULE": "x"})
        self.assertNotIn("rule", [each.name for each in all_settings()])

    def test_bad_rule(self) -> None:
        """The refusal names file, rule and key."""
        path = self.file("[[rule]]\nallow = true\n[[rule]]\nallow = 'no'")
        text = self.refused(load, {}, {}, path)
        self.assertEqual(f"{path}: rule 2: allow: 'no' is neither true nor false", text)
        for text in ("rule = 5", "[rule]\nallow = true", "[[rules]]\nallow = true"):
            path = self.file(text)
            self.assertTrue(self.refused(load, {}, {}, path).startswith(f"{path}: rule"))

    def test_a_setting_behind_a_rule(self) -> None:
        """A setting below a rule would belong to it: it is refused with words on where it goes."""
        path = self.file("[[rule]]\nallow = true\nexpire = 5")
        self.assertIn("settings stand before", self.refused(load, {}, {}, path))
