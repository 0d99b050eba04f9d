"""Tests for `wsredis.publisher.redis_py`: where Redis is."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred

from tests.unit.publisher.case import SettingsCase
from wsredis.config import RedisConfig
from wsredis.errors import ConfigError
from wsredis.publisher import RedisPublisher
from wsredis.publisher.redis_py import connect, connect_as_project


class ConnectionTests(SettingsCase):
    """Where Redis is."""

    def arguments(self, publisher: Any) -> dict[str, Any]:
        """Return the arguments of the connections of a publisher."""
        pool = publisher._connection.connection_pool
        return {"class": pool.connection_class.__name__, **pool.connection_kwargs}

    def check(self, publisher: Any, **expected: object) -> None:
        """Compare a part of the arguments."""
        found = self.arguments(publisher)
        self.assertEqual(expected, {name: found.get(name) for name in expected})

    def test_default(self) -> None:
        """Redis is at localhost; nothing is repeated, and every wait ends."""
        publisher = RedisPublisher()
        found = self.arguments(publisher)
        found.setdefault("host", "localhost")
        self.assertEqual("localhost", found["host"])
        self.assertEqual((5.0, 5.0), (found["socket_timeout"], found["socket_connect_timeout"]))
        self.assertEqual(0, found["retry"]._retries)

    def test_url(self) -> None:
        """A URL goes before the defaults."""
        publisher = RedisPublisher(connection="redis://u:p@h:7/2?socket_timeout=9")
        expected = {"host": "h", "port": 7, "db": 2, "username": "u", "password": "p"}
        self.check(publisher, **expected, socket_timeout=9.0)
        publisher = RedisPublisher(connection="unix:///run/redis.sock?db=1")
        self.check(publisher, path="/run/redis.sock", db=1)

    def test_environment(self) -> None:
        """The variables of the gateway count; the password of the URL goes before the file's."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("from-file\n")
        os.environ["WSREDIS_REDIS"] = "redis://h"
        self.check(RedisPublisher(), host="h", password=None)
        os.environ["WSREDIS_REDIS_PASSWORD"] = "from-variable"
        self.check(RedisPublisher(), password="from-variable")
        os.environ["WSREDIS_REDIS_PASSWORD_FILE"] = path
        self.check(RedisPublisher(), password=None)
        provider = self.arguments(RedisPublisher())["credential_provider"]
        self.assertEqual(("from-file",), provider.get_credentials())
        os.environ["WSREDIS_REDIS"] = "redis://:from-url@h"
        self.check(RedisPublisher(), password="from-url")
        # They belong to that Redis, and are sent to no other.
        self.check(RedisPublisher(connection="redis://other"), password=None)

    def test_password_file(self) -> None:
        """The file is read again for each connection; all publishers share a client."""
        path = self.mktemp()
        os.environ["WSREDIS_REDIS"] = "redis://app@h/3?socket_timeout=9"
        os.environ["WSREDIS_REDIS_PASSWORD_FILE"] = path
        clients = []
        for password in ("one", "two"):
            with open(path, "w") as file:
                file.write(password)
            publisher = RedisPublisher()
            clients.append(publisher._connection)
            self.check(publisher, host="h", db=3, socket_timeout=9.0, username=None)
            provider = self.arguments(publisher)["credential_provider"]
            self.assertEqual(("app", password), provider.get_credentials())
            waiting = Deferred.fromCoroutine(provider.get_credentials_async())
            self.assertEqual(("app", password), self.successResultOf(waiting))
        self.assertIs(clients[0], clients[1])
        for url in ("unix:///run/redis.sock?db=1", "unix://app@/run/redis.sock?db=1"):
            os.environ["WSREDIS_REDIS"] = url
            self.check(RedisPublisher(), path="/run/redis.sock", db=1, username=None)
        os.remove(path)
        self.assertRaises(ConfigError, RedisPublisher)

    def test_tls(self) -> None:
        """Certificates are verified, with the CA of the settings; elsewhere a CA is refused."""
        client = connect(RedisConfig(url="rediss://h", ca="ca.pem"))
        found = client.connection_pool.connection_kwargs
        self.assertEqual(("ca.pem", True), (found["ssl_ca_certs"], found["ssl_check_hostname"]))
        with self.assertRaisesRegex(ConfigError, "redis-ca: only a rediss:// URL"):
            connect(RedisConfig(url="redis://h", ca="ca.pem"))

    def test_django(self) -> None:
        """In Django it is as its settings say, whatever redis-py understands."""
        os.environ["WSREDIS_REDIS"] = "redis://env"
        self.use_django()
        self.check(RedisPublisher(), host="env")
        self.use_django(WS4REDIS_CONNECTION={"host": "h", "port": 7, "db": 2, "password": "p"})
        self.check(RedisPublisher(), host="h", port=7, db=2, password="p", socket_timeout=5.0)
        self.use_django(WS4REDIS_CONNECTION={"unix_socket_path": "/run/redis.sock"})
        self.check(RedisPublisher(), path="/run/redis.sock")
        self.use_django(WS4REDIS_CONNECTION={"host": "h", "ssl": True, "socket_timeout": 1})
        self.check(RedisPublisher(), **{"class": "SSLConnection"}, socket_timeout=1)
        self.use_django(WS4REDIS_CONNECTION={"url": "rediss://h:7/2", "socket_timeout": 1})
        self.check(RedisPublisher(), **{"class": "SSLConnection"}, host="h", port=7, db=2)
        self.use_django(WS4REDIS_CONNECTION="redis://url")
        with self.assertRaisesRegex(ConfigError, "^WS4REDIS_CONNECTION: this is not a dictionary$"):
            RedisPublisher()
        self.use_django(WS4REDIS_CONNECTION={"hots": "h"})
        with self.assertRaisesRegex(ConfigError, "^WS4REDIS_CONNECTION: .*hots"):
            RedisPublisher()

    def test_patience(self) -> None:
        """A client of the project with a time limit of its own is another client."""
        self.use_django(WS4REDIS_CONNECTION={"host": "h", "socket_timeout": 9})
        client = connect_as_project(0.5)
        found = client.connection_pool.connection_kwargs
        self.assertEqual(
            ("h", 0.5, 0.5),
            (found["host"], found["socket_timeout"], found["socket_connect_timeout"]),
        )
        self.assertIs(client, connect_as_project(0.5))
        self.check(RedisPublisher(), host="h", socket_timeout=9)

    def test_shared(self) -> None:
        """One target has one pool in a process; another has another."""
        one, two, other = (
            RedisPublisher(connection=f"redis://{host}")._connection.connection_pool
            for host in ("h", "h", "other")
        )
        self.assertIs(one, two)
        self.assertIsNot(one, other)

    def test_wrong(self) -> None:
        """A wrong URL is refused in one line that shows no password."""
        for url, why in (
            ("http://h", "a URL starts with redis://, rediss:// or unix://"),
            (
                "h:6379",
                "a URL starts with redis://, rediss:// or unix://; did you mean redis://h:6379?",
            ),
            ("u:secret@h:6379", "a URL starts with redis://, rediss:// or unix://"),
            ("secret", "a URL starts with redis://, rediss:// or unix://"),
            ("redis://:secret@h:port", "this is not a URL"),
            ("redis://:sec?ret@h", "this is not a URL"),
            ("redis://:sec#ret@h", "this is not a URL"),
            ("redis://h/secret", "the URL does not end with the number of a database"),
            ("redis://h?secret=1", "the URL has an option that redis-py does not know"),
            ("redis://h?db=secret", "the URL has an option that redis-py does not know"),
            ("redis://[::1", "this is not a URL"),
        ):
            with self.assertRaises(ConfigError) as caught:
                RedisPublisher(connection=url)
            self.assertEqual(f"redis: {why}", str(caught.exception))
            self.assertNotIn("sec", str(caught.exception))
        with self.assertRaisesRegex(ConfigError, "^redis: 'embedded' is for the gateway"):
            RedisPublisher(connection="embedded")

    def test_no_library(self) -> None:
        """Without redis-py, the extra that brings it is named."""
        sys.modules["redis"] = None  # type: ignore[assignment]
        with self.assertRaisesRegex(ConfigError, r"pip install 'wsredis\[publisher\]'"):
            RedisPublisher(connection="redis://nobody-asked-before")
