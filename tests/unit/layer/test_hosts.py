"""Tests for `wsredis.layer.hosts`."""

from __future__ import annotations

import ssl
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.layer.hosts import Host, read_hosts


def read(entry: object) -> Host:
    """Read one host."""
    [host] = read_hosts([entry])
    return host


class FormTests(SynchronousTestCase):
    """The forms of channels_redis."""

    def test_default(self) -> None:
        """Without hosts it is Redis on this machine."""
        for hosts in (None, [], ()):
            [host] = read_hosts(hosts)
            self.assertEqual("redis://localhost:6379", host.target.name)

    def test_same(self) -> None:
        """A URL, a pair and dictionaries say the same."""
        for entry in (
            "redis://r.example:6380",
            ("r.example", 6380),
            ["r.example", "6380"],
            {"address": "redis://r.example:6380"},
            {"host": "r.example", "port": 6380},
            {"host": "r.example", "port": "6380", "decode_responses": False},
        ):
            host = read(entry)
            self.assertEqual("redis://r.example:6380", host.target.name, entry)
            self.assertEqual(
                (None, None, 0), (host.context, host.target.password, (host.sentinels and 1) or 0)
            )

    def test_login(self) -> None:
        """User, password and database come from the URL, its options or the arguments."""
        for entry in (
            "redis://joe:secret@r.example/3",
            "redis://r.example?db=3&username=joe&password=secret",
            {"address": "redis://r.example", "username": "joe", "password": "secret", "db": "3"},
            {"host": "r.example", "username": "joe", "password": "secret", "db": 3},
        ):
            target = read(entry).target
            self.assertEqual(
                ("joe", "secret", 3), (target.username, target.password, target.database)
            )
            self.assertNotIn("secret", repr(target))
            self.assertNotIn("secret", target.name)

    def test_socket(self) -> None:
        """A UNIX socket may be named by a URL or a path."""
        for entry in ("unix:///run/redis.sock?db=2", {"path": "/run/redis.sock", "db": 2}):
            target = read(entry).target
            self.assertEqual(("/run/redis.sock", 2), (target.path, target.database))

    def test_times(self) -> None:
        """The time limits are followed, also from the options of a URL."""
        host = read({"host": "r", "socket_timeout": 3, "socket_connect_timeout": "0.5"})
        self.assertEqual((3.0, 0.5), (host.timeout, host.connect_timeout))
        self.assertEqual(2.0, read("redis://r?socket_timeout=2").timeout)
        self.assertEqual(5.0, read({"host": "r", "socket_timeout": None}).timeout)

    def test_several(self) -> None:
        """Several hosts stay in their order."""
        hosts = read_hosts(["redis://a", ("b", 1), {"host": "c"}])
        self.assertEqual(["a", "b", "c"], [host.target.host for host in hosts])

    def test_more(self) -> None:
        """A name for CLIENT LIST, and an object that knows the password."""

        class Provider:
            """As those of redis-py."""

            def get_credentials(self) -> tuple[str, ...]:
                """Return the password."""
                return ("secret",)

        host = read({"host": "r", "client_name": "web", "credential_provider": Provider()})
        assert host.credentials is not None
        self.assertEqual(("web", ("secret",)), (host.client_name, host.credentials()))


class TlsTests(SynchronousTestCase):
    """TLS."""

    def context(self, entry: object) -> ssl.SSLContext:
        """The settings of a host."""
        make = read(entry).context
        assert make is not None
        return make()

    def test_verified(self) -> None:
        """By default the certificate and the name are verified."""
        for entry in ("rediss://r.example", {"host": "r.example", "ssl": True}):
            context = self.context(entry)
            self.assertEqual(
                (ssl.CERT_REQUIRED, True), (context.verify_mode, context.check_hostname)
            )

    def test_not_verified(self) -> None:
        """Hosts with a certificate of their own making need an option, in any form."""
        for value in (None, "none", "CERT_NONE", ssl.CERT_NONE):
            context = self.context({"address": "rediss://r.example", "ssl_cert_reqs": value})
            self.assertEqual((ssl.CERT_NONE, False), (context.verify_mode, context.check_hostname))
        context = self.context("rediss://r.example?ssl_cert_reqs=none")
        self.assertEqual(ssl.CERT_NONE, context.verify_mode)

    def test_name(self) -> None:
        """The name alone may be left unverified."""
        context = self.context({"address": "rediss://r", "ssl_check_hostname": "no"})
        self.assertEqual((ssl.CERT_REQUIRED, False), (context.verify_mode, context.check_hostname))

    def test_files(self) -> None:
        """A file that is not there is found when the connection is made, as an OSError."""
        entry = {"address": "rediss://r", "ssl_ca_certs": "/nothing/here.pem"}
        with self.assertRaises(OSError):
            self.context(entry)
        entry = {"address": "rediss://r", "ssl_certfile": "/nothing/here.pem"}
        with self.assertRaises(OSError):
            self.context(entry)


class SentinelTests(SynchronousTestCase):
    """Sentinels."""

    def test_sentinels(self) -> None:
        """They are named as in channels_redis, with arguments of their own."""
        host = read(
            {
                "sentinels": [("s1", 26379), ("s2", 26380)],
                "master_name": "mymaster",
                "sentinel_kwargs": {"password": "other"},
                "password": "secret",
                "db": 2,
            }
        )
        self.assertEqual(
            ("mymaster", "secret", 2),
            (host.master_name, host.target.password, host.target.database),
        )
        self.assertEqual("the master mymaster", host.target.name)
        self.assertEqual(["s1", "s2"], [each.target.host for each in host.sentinels])
        self.assertEqual({"other"}, {each.target.password for each in host.sentinels})

    def test_none(self) -> None:
        """A name without Sentinels is an error."""
        for sentinels in (None, [], "s1:26379"):
            error = self.assertRaises(
                ConfigError, read, {"master_name": "m", "sentinels": sentinels}
            )
            self.assertIn("sentinels is a list", str(error))


class RefusalTests(SynchronousTestCase):
    """What cannot be used."""

    def test_refused(self) -> None:
        """Each is refused in one line that names it, without a password."""
        for hosts, text in (
            ("redis://localhost", "hosts: a list is needed, even of one host"),
            ({"host": "r"}, "hosts: a list is needed, even of one host"),
            (5, "hosts: a list is needed, even of one host"),
            ([5], "hosts: each is a URL, a pair of host name and port, or a dictionary"),
            ([("a", 1, 2)], "hosts: a tuple has a host name and a port"),
            ([{"hots": "r"}], "hosts: hots is not known"),
            ([{"host": "r", "connection_class": object}], "hosts: connection_class is not known"),
            (["redis://r?dbb=1"], "hosts: the URL has an option that is not known: dbb"),
            ([{"address": 5}], "hosts: an address is a URL"),
            ([{"host": ""}], "hosts: host is not a string"),
            ([{"host": "r", "port": "http"}], "hosts: port is not a number"),
            ([{"host": "r", "port": True}], "hosts: port is not a number"),
            ([{"host": "r", "db": -1}], "hosts: db is not a number"),
            (
                [{"host": "r", "socket_timeout": 0}],
                "hosts: socket_timeout is not a number of seconds above 0",
            ),
            (
                [{"host": "r", "socket_timeout": "x"}],
                "hosts: socket_timeout is not a number of seconds above 0",
            ),
            (
                [{"address": "rediss://r", "ssl_cert_reqs": "maybe"}],
                "hosts: ssl_cert_reqs is none, optional or required",
            ),
            (["http://secret@r"], "redis: a URL starts with redis://, rediss:// or unix://"),
        ):
            wrong: Any = hosts
            error = self.assertRaises(ConfigError, read_hosts, wrong)
            self.assertEqual(text, str(error))
