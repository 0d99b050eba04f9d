"""Tests of URLs: where Redis is, and how to log in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import RedisConfig
from wsredis.config.redis_url import RedisTarget, error_text, format_url, parse_url, target_of
from wsredis.errors import ConfigError


def _parse(url: str | None = None, **more: Any) -> RedisTarget:
    return target_of(RedisConfig(url=url, **more))


class UrlTests(SynchronousTestCase):
    """redis://, rediss:// and unix://, with user, password and database."""

    def test_default(self) -> None:
        """Nothing given means localhost."""
        target = _parse()
        self.assertEqual(("localhost", 6379, 0), (target.host, target.port, target.database))
        self.assertEqual((None, None, False), (target.username, target.password, target.tls))

    def test_everything(self) -> None:
        """All parts of a URL count, percent-decoded."""
        target = _parse("redis://us%40er:p%3Aw%2F%25@example.com:7000/12")
        self.assertEqual("us@er", target.username)
        self.assertEqual("p:w/%", target.password)
        self.assertEqual(("example.com", 7000, 12), (target.host, target.port, target.database))

    def test_place(self) -> None:
        """All names of this machine are one place; another database or port is another place."""
        first, *same = (f"redis://{host}:6379/1" for host in ("localhost", "127.0.0.1", "[::1]"))
        place = parse_url(first).place
        self.assertEqual({place}, {parse_url(each).place for each in same})
        for other in ("redis://localhost/2", "redis://localhost:1/1", "rediss://localhost/1"):
            self.assertNotEqual(place, parse_url(other).place)

    def test_password_alone(self) -> None:
        """A password without a user is that of the default user."""
        target = _parse("redis://:secret@h")
        self.assertEqual((None, "secret"), (target.username, target.password))

    def test_ipv6(self) -> None:
        """An IPv6 address stands in brackets, and is shown so."""
        target = _parse("redis://[::1]:7000")
        self.assertEqual("::1", target.host)
        self.assertEqual("redis://[::1]:7000", target.name)

    def test_no_host(self) -> None:
        """A URL without a host means localhost."""
        self.assertEqual("localhost", _parse("redis:///1").host)

    def test_unix(self) -> None:
        """A socket's path, with a database in the query."""
        target = _parse("unix://user:pw@/run/re%20dis.sock?db=3")
        self.assertEqual(("/run/re dis.sock", 3), (target.path, target.database))
        self.assertEqual(("user", "pw"), (target.username, target.password))
        self.assertEqual(0, _parse("unix:///run/redis.sock").database)

    def test_tls(self) -> None:
        """rediss:// is TLS."""
        target = _parse("rediss://example.com")
        self.assertTrue(target.tls)
        self.assertEqual("rediss://example.com:6379", target.name)

    def test_name_has_no_credentials(self) -> None:
        """The name for logs has neither user nor password."""
        for url in ("redis://joe:secret@h:1/2", "unix://joe:secret@/s", "rediss://joe:secret@h"):
            target = _parse(url)
            for text in (target.name, repr(target), target.cli_arguments):
                self.assertNotIn("secret", text)
            self.assertNotIn("joe", target.name)


class RefusedTests(SynchronousTestCase):
    """A wrong setting is refused in one line that names it and shows no password."""

    def _refused(self, url: str | None, **more: Any) -> str:
        text = str(self.assertRaises(ConfigError, _parse, url, **more))
        self.assertNotIn("\n", text)
        self.assertNotIn("secret", text)
        return text

    def test_urls(self) -> None:
        """Other schemes, bad ports, bad brackets, bad databases."""
        for url in (
            "http://:secret@h",
            "h:6379",
            "localhost",
            "redis://:secret@h:port",
            "redis://:secret@h:70000",
            "redis://:secret@[::1",
            "redis://:secret@h/one",
            "redis://:secret@h/-1",
            "redis://:secret@h/\u0661",
            "redis://:secret@h/1/2",
            # Python refuses to read so many digits.
            "redis://:secret@h/" + "9" * 5000,
            "redis://:1/secret@h",
            "unix://:secret@",
            "unix://:secret@/s?db=x",
        ):
            self.assertIn("redis: ", self._refused(url))

    def test_parts_that_would_be_ignored(self) -> None:
        """A query, a fragment or a host in the wrong place is a mistake, not decoration."""
        for url in ("redis://h?db=3", "redis://:12#34@h", "unix://run/x.sock", "unix:///s#1"):
            self.assertIn("redis: ", self._refused(url))

    def test_user_without_password(self) -> None:
        """Redis knows no login without a password."""
        self.assertIn("there is no password", self._refused("redis://joe@h"))

    def test_ca_without_tls(self) -> None:
        """A CA that would not be used is an error."""
        self.assertIn("redis-ca: ", self._refused("redis://h", ca="/some/ca.pem"))

    def test_ca_with_unix(self) -> None:
        """The same with a UNIX socket."""
        self.assertIn("redis-ca: ", self._refused("unix:///s", ca="/some/ca.pem"))

    def test_embedded(self) -> None:
        """The gateway's word for a private server leads nowhere from another program."""
        self.assertIn("'embedded' is for the gateway", self._refused("embedded"))


class OptionTests(SynchronousTestCase):
    """Publishers may add options of redis-py to a URL; the rest of the grammar is the same."""

    def test_options(self) -> None:
        """They are left alone."""
        for url in ("redis://h:7/2?socket_timeout=9", "rediss://h:7/2?a=b", "unix:///s?db=2&a=b"):
            target = parse_url(url, with_options=True)
            self.assertEqual(2, target.database)
        self.assertRaises(ConfigError, parse_url, "redis://h:7/2?socket_timeout=9")

    def test_mistakes(self) -> None:
        """They excuse nothing else."""
        for url in ("http://h?a=b", "redis://h/x?a=b", "redis://h?a=b#c", "unix://h/s?a=b"):
            self.assertRaises(ConfigError, parse_url, url, with_options=True)

    def test_user_without_a_password(self) -> None:
        """Whether a user needs a password is not the business of the URL alone."""
        self.assertEqual("joe", parse_url("redis://joe@h").username)


class FormatTests(SynchronousTestCase):
    """A URL that is written can be read."""

    def test_round_trip(self) -> None:
        """All parts come back as they were."""
        for parts in (
            {},
            {"host": "::1", "port": 7000, "database": 3},
            {"host": "h", "tls": True, "username": "a@b:c/%"},
            {"path": "/run/a b?c#d.sock", "database": 2, "username": "joe"},
        ):
            target = parse_url(format_url(**parts))  # type: ignore[arg-type]
            self.assertEqual(parts, {name: getattr(target, name) for name in parts})


class PasswordTests(SynchronousTestCase):
    """A password comes from the URL, else the file, else the variable."""

    def _file(self, content: bytes) -> str:
        path = self.mktemp()
        Path(path).write_bytes(content)
        return path

    def test_file(self) -> None:
        """The first line of the file, without its end."""
        for content in (b"s cret\n", b"s cret", b"s cret\r\nmore\n", b"\xef\xbb\xbfs cret"):
            path = self._file(content)
            self.assertEqual("s cret", _parse(password_file=path).password)

    def test_same_from_everywhere(self) -> None:
        """A file, a variable and an option are cleaned in the same way, and not more than that."""
        for text in ("s cret", "s\u2028cret", " s\x0bcret\x1c"):
            for given in (text, f"{text}\n", f"{text}\r\n", f"\ufeff{text}\n"):
                path = self._file(given.encode())
                self.assertEqual(text, _parse(password_file=path).password)
                self.assertEqual(text, _parse(password=given).password)
        self.assertEqual("h", _parse("redis://h\r\n").host)

    def test_read_again(self) -> None:
        """A file is read for each login; a password from elsewhere stays."""
        path = self._file(b"one")
        target = _parse("redis://h", password_file=path)
        Path(path).write_text("two\n")
        self.assertEqual("two", target.current_password())
        target = _parse("redis://:url@h", password_file=path)
        self.assertEqual("url", target.current_password())
        self.assertIsNone(_parse("redis://h").current_password())

    def test_order(self) -> None:
        """URL over file over variable."""
        path = self._file(b"file")
        given = {"password_file": path, "password": "variable"}
        self.assertEqual("url", _parse("redis://:url@h", **given).password)
        self.assertEqual("file", _parse("redis://h", **given).password)
        self.assertEqual("variable", _parse("redis://h", password="variable").password)

    def test_user_in_the_url_and_password_elsewhere(self) -> None:
        """The user may stand in the URL alone."""
        target = _parse("redis://joe@h", password="x")
        self.assertEqual(("joe", "x"), (target.username, target.password))

    def test_unusable_files(self) -> None:
        """Missing, empty, and not UTF-8: one line that names the file."""
        for path, why in (
            (self.mktemp(), "No such file"),
            (self._file(b""), "empty"),
            (self._file(b"\nsecret"), "empty"),
            (self._file(b"\xff"), "not UTF-8"),
        ):
            error = self.assertRaises(ConfigError, _parse, password_file=path)
            self.assertIn("redis-password-file: ", str(error))
            self.assertIn(why, str(error))


class ErrorTextTests(SynchronousTestCase):
    """`error_text`."""

    def test_arguments(self) -> None:
        """The arguments that Redis quotes are left out."""
        for text, expected in (
            ("NOPERM No permissions to access a key", "NOPERM No permissions to access a key"),
            (
                "ERR unknown command 'SETEX', with args beginning with: 'session:KEY:a' '1' 'x'",
                "ERR unknown command 'SETEX'",
            ),
        ):
            self.assertEqual(expected, error_text(Exception(text)))


class CliTests(SynchronousTestCase):
    """The demo page shows how to reach the same Redis by hand."""

    def test_arguments(self) -> None:
        """The arguments that redis-cli needs, without its defaults."""
        for url, words in (
            (None, ""),
            ("redis://localhost:7000", "-p 7000"),
            ("redis://h/2", "-h h -n 2"),
            ("redis://joe:x@localhost", "--user joe --askpass"),
            ("rediss://h", "-h h --tls"),
            ("unix:///run/x.sock?db=1", "-s /run/x.sock -n 1"),
        ):
            self.assertEqual(words, _parse(url).cli_arguments)
