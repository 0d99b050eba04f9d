"""Tests for `wsredis.config.load`: which source goes before which, and how refusals read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.unit.config.case import ConfigCase
from wsredis.config import GatewayConfig, Limits, RedisConfig, all_settings, load
from wsredis.config.load import load_rules
from wsredis.config.rules import Rule
from wsredis.config.ws4redis import gateway_values


class LoadTests(ConfigCase):
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

    def test_defaults_of_a_command(self) -> None:
        """They hold where nothing is given, by whatever source."""
        path = self.file("expire = 1")
        defaults = {"expire": 9, "drain": 9.0, "max-head": 999, "prefix": "p"}
        config = load({"drain": "3"}, {"WSREDIS_MAX_HEAD": "1002"}, path, defaults=defaults)
        self.assertEqual((1, 3.0, "p"), (config.expire, config.drain, config.prefix))
        self.assertEqual(1002, config.limits.max_head)

    def test_parts(self) -> None:
        """Settings find their parts; settings that are not named keep their defaults."""
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
        none = "there is no such setting"
        self.assertEqual(f"WSREDIS_EXPIRES: {none}; did you mean WSREDIS_EXPIRE?", text)
        text = self.refused(load, {}, {"WSREDIS_CONFG": "x"})
        self.assertEqual(f"WSREDIS_CONFG: {none}; did you mean WSREDIS_CONFIG?", text)

    def test_unknown_to_programs(self) -> None:
        """A program that has variables of its own is told of each that is no setting."""
        problems: list[str] = []
        environ = {"WSREDIS_EXPIRES": "5", "WSREDIS_EXPIRE": "7"}
        self.assertEqual(7, load({}, environ, unknown=problems.append).expire)
        self.assertEqual(
            ["WSREDIS_EXPIRES: there is no such setting; did you mean WSREDIS_EXPIRE?"], problems
        )

    def test_unknown_key(self) -> None:
        """An unknown key is refused by name, a table and a strange one, too."""
        for text, key, meant in (
            ("expires = 5", "expires", "; did you mean expire?"),
            ("max_head = 5000", "max_head", "; did you mean max-head?"),
            ("[[rules]]\nallow = true", "rules", "; did you mean rule?"),
            ("[limits]\nmax-head = 5", "limits", ""),
        ):
            path = self.file(text)
            refusal = self.refused(load, {}, {}, path)
            self.assertEqual(f"{path}: {key}: there is no such setting{meant}", refusal)
        self.refused(load, {}, {}, self.file('"a\\nb" = 5'))

    def test_secret_key(self) -> None:
        """A secret that is in the file is refused with the variable that may hold it."""
        path = self.file('redis-password = "hidden"')
        text = self.refused(load, {}, {}, path)
        only = "it may only be given as WSREDIS_REDIS_PASSWORD"
        self.assertEqual(f"{path}: redis-password: {only}", text)

    def test_empty_variable(self) -> None:
        """An empty variable is as good as none."""
        self.assertEqual(GatewayConfig(), load({}, {"WSREDIS_PORT": "", "WSREDIS_EXPIRE": ""}))

    def test_variables_of_others(self) -> None:
        """Other variables are left alone, those of the tests too."""
        environ = {"HOME": "/", "NOT_WSREDIS_EXPIRE": "x", "WSREDIS_REQUIRE": "redis"}
        self.assertEqual(GatewayConfig(), load({}, environ))

    def test_variables_of_kubernetes(self) -> None:
        """Those that Kubernetes adds are left alone, of every service with a name like ours."""
        for service in ("", "REDIS_", "REDIS_MASTER_", "TLS_", "WEB_2_"):
            for address in ("10.0.0.1", "fd00::1"):
                host = f"[{address}]" if ":" in address else address
                environ = {
                    f"WSREDIS_{service}{name}": value
                    for name, value in {
                        "SERVICE_HOST": address,
                        "SERVICE_PORT": "8080",
                        "SERVICE_PORT_HTTP_2": "8080",
                        "PORT": f"tcp://{host}:8080",
                        "PORT_8080_TCP": f"tcp://{host}:8080",
                        "PORT_8080_TCP_PROTO": "tcp",
                        "PORT_8080_TCP_PORT": "8080",
                        "PORT_8080_TCP_ADDR": address,
                        "PORT_53_UDP_PROTO": "udp",
                        # Links of Docker.
                        "NAME": "/web/wsredis",
                        "ENV_PATH": "/bin:\n/usr/bin",
                    }.items()
                }
                self.assertEqual(GatewayConfig(), load({}, environ))

    def test_variables_like_those_of_kubernetes(self) -> None:
        """A variable that Kubernetes would not write so is one of ours, or a mistake."""
        self.assertEqual(("tcp:81",), load({}, {"WSREDIS_PORT": "tcp:81"}).port)
        for name, value in (
            ("WSREDIS_REDIS_HOST", "10.0.0.1"),
            ("WSREDIS_REDIS_PORT", "6379"),
            ("WSREDIS_SERVICE", "10.0.0.1"),
            ("WSREDIS_SERVICE_HOST", "a b"),
            ("WSREDIS_REDIS_PORT_6379_TCP_NAME", "x"),
            ("WSREDIS_SERVICE_PORT", "eighty"),
            ("WSREDIS_NAME", "/web"),
        ):
            text = self.refused(load, {}, {name: value})
            self.assertEqual(f"{name}: there is no such setting", text.partition(";")[0])

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

    def test_no_plain_port_besides_tls(self) -> None:
        """With a TLS port there is no plain port, unless that is asked for too."""
        self.assertEqual((), load({"tls-port": ["443"]}, {}).port)
        self.assertEqual((), load({}, {"WSREDIS_TLS_PORT": "443 444"}).port)
        self.assertEqual((), load({}, {}, self.file("tls-port = ['443']")).port)
        for config in (
            load({"tls-port": ["443"], "port": ["8080"]}, {}),
            load({"tls-port": ["443"]}, {"WSREDIS_PORT": "8080"}),
            load({}, {"WSREDIS_TLS_PORT": ""}),
        ):
            self.assertEqual(("8080",), config.port)


class ProjectTests(ConfigCase):
    """Settings that come from a Django project."""

    def project(self, module: str) -> Mapping[str, Any]:
        """Settings of a project."""
        self.assertEqual("my_site.settings", module)
        return {"prefix": "mine", "expire": 60, "port": ("80",)}

    def test_after_all_others(self) -> None:
        """The project is asked for what neither option, nor variable, nor file says."""
        config = load(
            {"django": "my_site.settings", "expire": "5"},
            {"WSREDIS_PORT": "81"},
            project=self.project,
        )
        self.assertEqual(("mine", 5, ("81",)), (config.prefix, config.expire, config.port))

    def test_redis(self) -> None:
        """The project's password and CA for Redis are not used for another Redis."""

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


class RuleTests(ConfigCase):
    """Rules, the only tables of the file."""

    def test_rules(self) -> None:
        """Rules stand after the settings of the file, and only there."""
        path = self.file(
            "expire = 5\n[[rule]]\nwho = 'users'\nallow = true\n[[rule]]\nallow = false"
        )
        config = load({"prefix": "x"}, {}, path)
        self.assertEqual((5, "x"), (config.expire, config.prefix))
        self.assertEqual((Rule(allow=True, who=("users",)), Rule(allow=False)), config.rules)
        self.assertEqual((), load({}, {}).rules)
        self.refused(load, {}, {"WSREDIS_RULE": "x"})
        self.assertNotIn("rule", [each.name for each in all_settings()])

    def test_again(self) -> None:
        """They can be read from the file again, and a mistake anywhere in it is one line."""
        path = self.file("expire = 5\n[[rule]]\nallow = true")
        config = load({}, {}, os.path.relpath(path))
        self.assertEqual(os.path.abspath(path), config.file)
        self.assertIsNone(load({}, {}).file)
        self.assertEqual((Rule(allow=True),), load_rules(path))
        Path(path).write_text("expire = 'x'\n[[rule]]\nallow = true")
        self.assertTrue(self.refused(load_rules, path).startswith(f"{path}: expire"))

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
