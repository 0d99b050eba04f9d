"""Tests for `wsredis.config.ws4redis`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import RedisConfig
from wsredis.config.redis_url import target_of
from wsredis.config.ws4redis import redis_settings


class RedisSettingsTests(SynchronousTestCase):
    """`redis_settings`."""

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

    def test_ignored(self) -> None:
        """What has no meaning here is named, never its value."""
        _, ignored = redis_settings({"socket_timeout": "secret", "retry": "secret"})
        self.assertEqual(["retry", "socket_timeout"], ignored)

    def test_wrong(self) -> None:
        """What cannot be used is named, never its value."""
        for given, words in (
            ("redis://:secret@localhost", "this is not a dictionary"),
            ({"port": "secret"}, "'port' is not a number from 0 to 65535"),
            ({"port": 70000}, "'port' is not a number from 0 to 65535"),
            ({"port": float("inf")}, "'port' is not a number from 0 to 65535"),
            ({"db": -1}, "'db' is not a number from 0 to 65535"),
            ({"db": []}, "'db' is not a number from 0 to 65535"),
            ({"host": "secret@localhost"}, "'host' is not the name of a host"),
            ({"host": "a/b"}, "'host' is not the name of a host"),
            ({"password": ["secret"]}, "'password' is not a text"),
            ({"password": b"secret\xff"}, "'password' is not a text"),
        ):
            error = self.assertRaises(ValueError, redis_settings, given)
            self.assertEqual(words, str(error))
