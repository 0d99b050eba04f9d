"""Tests for `wsredis.service.cli`."""

from __future__ import annotations

import io
import os
import runpy
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, cast
from unittest import mock

import redis
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_client import FakeClient
from wsredis import __version__
from wsredis.config import RedisConfig
from wsredis.service import serve
from wsredis.service.cli import COMMANDS, main
from wsredis.service.outside import Outside
from wsredis.service.signals import Signals


class _Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


class _Case(SynchronousTestCase):
    """A Redis in memory, and an environment without settings."""

    def setUp(self) -> None:
        """Nobody has said anything."""
        clean = {name: value for name, value in os.environ.items() if "WSREDIS_" not in name}
        environ = mock.patch.dict(os.environ, clean, clear=True)
        environ.start()
        self.addCleanup(environ.stop)
        self.client = FakeClient()
        self.asked: list[RedisConfig] = []
        self.pauses: list[float] = []
        self.questions: list[tuple[object, ...]] = []
        self.reasons: list[str] = []
        self.private: list[str] = []
        self.stdin = io.BytesIO()
        self.stdout = io.BytesIO()
        self.stderr = io.StringIO()

    def run_command(self, *words: str) -> int:
        """Run a command in this process. Returns: The status."""

        def connect(config: RedisConfig) -> redis.Redis:
            self.asked.append(config)
            return cast("redis.Redis", self.client)

        def why_nobody(
            client: redis.Redis, server: str, prefix: str, channels: Sequence[bytes]
        ) -> list[str]:
            self.questions.append((server, prefix, *channels))
            return self.reasons

        outside = Outside(
            self.stdin,
            self.stdout,
            self.stderr,
            connect,
            self.pauses.append,
            lambda: self.private,
            why_nobody,
        )
        return main(words, outside)

    def check_refused(self, status: int, line: str, *words: str) -> None:
        """A command ends with this status and this one line."""
        self.stderr = io.StringIO()
        # argparse knows only the one of the process.
        with mock.patch.object(sys, "stderr", self.stderr):
            try:
                got: object = self.run_command(*words)
            except SystemExit as end:
                got = end.code
        self.assertEqual((status, f"wsredis {line}\n"), (got, self.stderr.getvalue()))
        self.assertEqual(b"", self.stdout.getvalue())


class EnvironmentTests(_Case):
    """The variables of the commands."""

    def test_unknown(self) -> None:
        """A variable that is no setting is ignored with a line: a script may have its own."""
        with mock.patch.dict(os.environ, {"WSREDIS_PREFX": "p"}):
            self.assertEqual(0, self.run_command("publish", "chat", "--broadcast", "x"))
        self.assertEqual(
            "wsredis publish: warning: ignoring WSREDIS_PREFX: there is no such setting; "
            "did you mean WSREDIS_PREFIX?\n",
            self.stderr.getvalue(),
        )


class PublishTests(_Case):
    """``publish``."""

    def test_all(self) -> None:
        """The message goes to all that are named, is kept, and the receivers are counted."""
        self.client.listeners = {b"broadcast:chat": 2, b"user:john:chat": 1}
        words = "publish chat --broadcast --user john --user mary --group g --session k Hello"
        self.assertEqual(0, self.run_command(*words.split()))
        (trip,) = self.client.trips
        names = ("broadcast", "group:g", "user:john", "user:mary", "session:k")
        channels = [f"{name}:chat".encode() for name in names]
        stored = [words for words in trip if words[0] == "SETEX"]
        self.assertEqual([("SETEX", each, "3600", b"Hello") for each in channels], stored)
        self.assertEqual(channels, [words[1] for words in trip if words[0] == "PUBLISH"])
        self.assertEqual(b"3 subscriber(s) received it\n", self.stdout.getvalue())
        self.assertTrue(self.client.closed)

    def test_expire(self) -> None:
        """It is kept as long as the option says, else the settings; 0 keeps nothing."""
        os.environ["WSREDIS_EXPIRE"] = "7"
        for words in ((), ("--expire", "5"), ("--expire", "0")):
            self.assertEqual(0, self.run_command("publish", "f", "--broadcast", *words, "x"))
        shown = [trip[0][2] for trip in self.client.trips]
        self.assertEqual(["7", "5", b"x"], shown)

    def test_nobody(self) -> None:
        """If nobody receives a message, the reasons are asked for and told, each in one line."""
        self.reasons = ["nobody hears it", "a\x1bb"]
        words = ("publish", "f", "--broadcast", "--user", "joe", "--prefix", "p", "x")
        self.assertEqual(0, self.run_command(*words))
        self.assertEqual(b"0 subscriber(s) received it\n", self.stdout.getvalue())
        self.assertEqual("nobody hears it\na\\x1bb\n", self.stderr.getvalue())
        names = (b"p:broadcast:f", b"p:user:joe:f")
        self.assertEqual([("redis://localhost:6379", "p", *names)], self.questions)
        self.client.listeners = {names[0]: 1}
        self.assertEqual(0, self.run_command(*words))
        self.assertEqual(1, len(self.questions))

    def test_stdin(self) -> None:
        """A dash reads standard input, byte for byte."""
        self.stdin = io.BytesIO(b"a\n\xff\n")
        self.assertEqual(0, self.run_command("publish", "f", "--broadcast", "-"))
        self.assertEqual(b"a\n\xff\n", self.client.values[b"broadcast:f"])

    def test_settings(self) -> None:
        """Options go before the environment, that before the file."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write('redis = "redis://file"\nprefix = "file"\nexpire = 9\n')
        os.environ["WSREDIS_PREFIX"] = "env"
        os.environ["WSREDIS_REDIS_PASSWORD"] = "secret"
        words = ("publish", "f", "--broadcast", "--config", path, "--redis", "redis://option", "x")
        self.assertEqual(0, self.run_command(*words))
        self.assertEqual({b"env:broadcast:f": b"x"}, self.client.values)
        self.assertEqual([RedisConfig(url="redis://option", password="secret")], self.asked)
        words = ("publish", "f", "--broadcast", "--prefix", "option", "x")
        self.assertEqual(0, self.run_command(*words))
        self.assertIn(b"option:broadcast:f", self.client.values)

    def test_no_django(self) -> None:
        """A Django project that the environment names is not loaded."""
        os.environ["DJANGO_SETTINGS_MODULE"] = "nothing.of.this.name"
        self.assertEqual(0, self.run_command("publish", "f", "--broadcast", "x"))
        self.assertEqual(b"x", self.client.values[b"broadcast:f"])

    def test_usage(self) -> None:
        """A usage error is reported in one line, with status 2."""
        hint = "(--help shows all options)"
        owner = "'a:b' is empty or has a colon: it has no channel"
        for words, line in (
            ("f --broadcast", f"the following arguments are required: MESSAGE {hint}"),
            ("f --broadcast --expire x y", f"argument --expire: invalid int value: 'x' {hint}"),
            ("f --user a:b x", f"argument --user: {owner} {hint}"),
            (
                "f x --brodcast",
                f"unrecognized arguments: --brodcast; did you mean --broadcast? {hint}",
            ),
            ("f x", "no audience: give --broadcast, --user, --group or --session"),
            (
                "f --broadcast --prefix a\tb x",
                r"--prefix: 'a\tb' has a blank or a control character",
            ),
        ):
            self.check_refused(2, f"publish: {line}", "publish", *words.split(" "))

    def test_heartbeat(self) -> None:
        """The text of the heartbeat is refused, with status 2."""
        os.environ["WSREDIS_HEARTBEAT"] = "beat"
        line = "publish: this is the text of the heartbeat, clients would not see it"
        self.check_refused(2, line, "publish", "f", "--broadcast", "beat")

    def test_redis(self) -> None:
        """A failure of Redis, or of the way to it, is reported in one line, with status 1."""
        self.client.refuse["PUBLISH"] = redis.ConnectionError("Error 111\nconnecting")
        line = "publish: Error 111 connecting"
        self.check_refused(1, line, "publish", "f", "--broadcast", "x", "--redis", "redis://h")

    def test_other_redis(self) -> None:
        """If nobody answers, the line says where a Redis is, unless a server has answered."""
        words = ["publish", "f", "--broadcast", "x"]
        self.client.refuse["PUBLISH"] = redis.ConnectionError("refused")
        remedy = "give --redis, or start 'wsredis demo', which has a private one"
        self.check_refused(1, f"publish: refused; {remedy}", *words)
        self.private = ["unix:///a"]
        remedy = "a gateway that runs has a private one: --redis unix:///a"
        self.check_refused(1, f"publish: refused; {remedy}", *words, "--redis", "redis://h")
        self.check_refused(1, "publish: refused", *words, "--redis", "unix:///a")
        self.client.refuse["PUBLISH"] = redis.AuthenticationError("no")
        self.check_refused(1, "publish: no", *words, "--redis", "redis://h")


class SubscribeTests(_Case):
    """``subscribe``."""

    def hear(self, *what: object) -> None:
        """Redis confirms the subscription, then this comes, then Ctrl-C is pressed."""
        self.client.heard.extend([{"type": "subscribe"}, *what, KeyboardInterrupt()])

    def subscribe(self, *words: str) -> int:
        """Listen to the broadcasts of facility f."""
        return self.run_command("subscribe", "f", "--broadcast", *words)

    def test_messages(self) -> None:
        """Messages are printed as they are, a line each, until Ctrl-C ends it with status 130."""
        self.hear(message(b"one"), message(b"\xff\x1b"))
        self.assertEqual(130, self.subscribe())
        self.assertEqual(b"one\n\xff\x1b\n", self.stdout.getvalue())
        self.assertEqual("listening to broadcast:f\n", self.stderr.getvalue())
        self.assertEqual([(b"broadcast:f",)], self.client.subscribed)
        self.assertTrue(self.client.closed)

    def test_terminal(self) -> None:
        """On a terminal, what is not printable is written out."""
        self.stdout = _Terminal()
        self.hear(message("ü\x1b[2J\n".encode() + b"\xff"))
        self.assertEqual(130, self.subscribe())
        self.assertEqual("ü\\x1b[2J\\n\\xff\n".encode(), self.stdout.getvalue())

    def test_several(self) -> None:
        """It listens when Redis confirmed every channel."""
        self.client.heard.extend([{"type": "subscribe"}, KeyboardInterrupt()])
        self.assertEqual(130, self.subscribe("--user", "john"))
        self.assertEqual("", self.stderr.getvalue())
        self.hear({"type": "subscribe"})
        self.assertEqual(130, self.subscribe("--user", "john"))
        self.assertEqual("listening to broadcast:f user:john:f\n", self.stderr.getvalue())

    def test_lost(self) -> None:
        """A loss is reported once, and it tries again until it listens again."""
        lost = redis.ConnectionError("gone")
        self.hear(message(b"one"), lost, lost, redis.TimeoutError("late"))
        interrupt = self.client.heard.pop()
        self.client.heard.extend([{"type": "subscribe"}, message(b"two"), lost, interrupt])
        self.assertEqual(130, self.subscribe())
        self.assertEqual(b"one\ntwo\n", self.stdout.getvalue())
        expected = [
            "listening to broadcast:f",
            "wsredis subscribe: connection to Redis lost, reconnecting: gone",
        ]
        self.assertEqual(expected * 2, self.stderr.getvalue().splitlines())
        self.assertEqual([1.0] * 4, self.pauses)

    def test_silence(self) -> None:
        """A silent Redis is asked for a sign of life, and given up without one."""
        pong = {"type": "pong"}
        self.hear(None, pong, None, message(b"one"), None, None)
        self.assertEqual(130, self.subscribe())
        self.assertEqual(3, self.client.pings)
        self.assertEqual([1.0], self.pauses)
        self.assertIn("reconnecting: no answer for 10 seconds\n", self.stderr.getvalue())

    def test_never_there(self) -> None:
        """A Redis that was never there, or refuses, ends it with status 1."""
        for error in (redis.ConnectionError("Error 111"), redis.ResponseError("NOPERM")):
            self.client.heard.append(error)
            line = f"subscribe: {error}"
            self.check_refused(1, line, "subscribe", "f", "--broadcast", "--redis", "redis://h")

    def test_nobody(self) -> None:
        """Without an audience there is nothing to listen to."""
        line = "subscribe: no audience: give --broadcast, --user, --group or --session"
        self.check_refused(2, line, "subscribe", "f")

    def test_reader_gone(self) -> None:
        """When nobody reads the output any more, it ends, and has nothing to complain of."""
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as stdout:
            self.stdout = cast("Any", stdout)
            self.hear(message(b"one"))
            self.assertEqual(0, self.subscribe())


class EndTests(_Case):
    """``end``."""

    def test_all(self) -> None:
        """The end of each session, user and group is kept, and published."""
        words = "end --session a --session b --user john --group g:1 --prefix my"
        self.assertEqual(0, self.run_command(*words.split()))
        (trip,) = self.client.trips
        orders = [
            '{"end": {"user": "john"}}',
            '{"end": {"group": "g:1"}}',
            '{"end": {"session": "a"}}',
            '{"end": {"session": "b"}}',
        ]
        self.assertEqual(orders, [words[-1] for words in trip if words[0] == "XADD"])
        published = [words for words in trip if words[0] == "PUBLISH"]
        self.assertEqual([("PUBLISH", b"my:wsredis-control", each) for each in orders], published)
        self.assertEqual(b"kept for a day; published\n", self.stdout.getvalue())

    def test_nobody(self) -> None:
        """It is an error to end nobody."""
        self.check_refused(2, "end: nobody: give --user, --group or --session", "end")

    def test_redis(self) -> None:
        """A failure is reported in one line, without the key of the session."""
        quoted = "unknown command 'XADD', with args beginning with: 'secret'"
        for error, line in (
            (redis.ConnectionError("Error 111\nconnecting"), "Error 111 connecting"),
            (redis.ResponseError(quoted), "unknown command 'XADD'"),
        ):
            self.client.refuse["XADD"] = error
            words = ("end", "--session", "secret", "--redis", "redis://h")
            self.check_refused(1, f"end: {line}", *words)


class PrivateTests(_Case):
    """The private Redis of a gateway that runs."""

    def test_found(self) -> None:
        """It is used where no Redis is named, and that is said."""
        self.private = ["unix:///tmp/x/redis.sock"]
        for words in ((), ("--redis", "embedded")):
            self.assertEqual(0, self.run_command("publish", "f", "--broadcast", "hello", *words))
            self.assertEqual(self.private, [self.asked.pop().url])
        self.assertEqual(
            "using the private Redis of the gateway that runs: unix:///tmp/x/redis.sock\n" * 2,
            self.stderr.getvalue(),
        )

    def test_named(self) -> None:
        """A Redis that is named goes before, from whatever source."""
        self.private = ["unix:///tmp/x/redis.sock"]
        self.run_command("publish", "f", "--broadcast", "hello", "--redis", "redis://h")
        os.environ["WSREDIS_REDIS"] = "redis://i"
        self.run_command("publish", "f", "--broadcast", "hello")
        self.assertEqual(["redis://h", "redis://i"], [each.url for each in self.asked])
        self.assertEqual("", self.stderr.getvalue())

    def test_none(self) -> None:
        """Without one, it is the usual Redis, unless a private one is asked for."""
        self.run_command("publish", "f", "--broadcast", "hello")
        self.assertEqual([None], [each.url for each in self.asked])
        self.stdout = io.BytesIO()
        line = "publish: --redis: no gateway of this user runs with a Redis of its own"
        self.check_refused(2, line, "publish", "f", "--broadcast", "hello", "--redis", "embedded")

    def test_several(self) -> None:
        """Of several nobody can know which one is meant: nothing is published."""
        self.private = ["unix:///a", "unix:///b"]
        line = (
            "publish: several gateways run with a Redis of their own: "
            "give --redis unix:///a or unix:///b, as the log of the gateway says: "
            "'started a private Redis at ...'"
        )
        self.check_refused(2, line, "publish", "f", "--broadcast", "hello")
        self.assertEqual([], self.asked)


class ProgramTests(_Case):
    """``wsredis``."""

    def test_help(self) -> None:
        """Help lists all commands, each with its own help."""
        # The last one belongs to Django.
        every = [*COMMANDS, "check-project"]
        for words in ([], *([name] for name in every)):
            printed = io.StringIO()
            arguments = ["wsredis", *words, "--help"]
            with mock.patch.object(sys, "stdout", mock.Mock(wraps=printed, buffer=io.BytesIO())):
                with mock.patch.object(sys, "argv", arguments):
                    with self.assertRaises(SystemExit) as end:
                        runpy.run_module("wsredis", run_name="__main__")
            self.assertEqual(0, end.exception.code)
            for name in words or every:
                self.assertIn(name, printed.getvalue())

    def test_version(self) -> None:
        """``--version`` is that of wsredis."""
        outside = Outside(self.stdin, self.stdout, self.stderr)
        with mock.patch.object(sys, "stdout", io.StringIO()) as printed:
            end = self.assertRaises(SystemExit, main, ["--version"], outside)
        self.assertEqual(0, end.code)
        self.assertEqual(f"wsredis {__version__}\n", printed.getvalue())

    def test_nothing(self) -> None:
        """Without a command there is the help, with the commands by groups, and status 2."""
        self.assertEqual(2, self.run_command())
        text = self.stderr.getvalue()
        self.assertTrue(text.startswith("usage: wsredis COMMAND [options]\n"), text)
        self.assertLess(text.index("Run a gateway:\n  demo "), text.index("Send and receive:\n"))
        for name, command in COMMANDS.items():
            self.assertRegex(text, rf"\n  {name} +{command.help}\n")

    def test_help_command(self) -> None:
        """``help`` and ``help COMMAND`` are as good as ``--help``."""
        for words, start in (
            (("help",), "usage: wsredis COMMAND [options]"),
            (("help", "publish"), "usage: wsredis publish "),
        ):
            with mock.patch.object(sys, "stdout", io.StringIO()) as printed:
                end = self.assertRaises(SystemExit, self.run_command, *words)
            self.assertEqual(0, end.code)
            self.assertTrue(printed.getvalue().startswith(start), printed.getvalue())

    def test_versions(self) -> None:
        """``version`` prints what a report of a fault should say, without what is missing."""
        installed = metadata.version

        def version(name: str) -> str:
            if name == "Django":
                raise metadata.PackageNotFoundError
            return installed(name)

        self.patch(metadata, "version", version)
        self.assertEqual(0, self.run_command("version"))
        lines = self.stdout.getvalue().decode().splitlines()
        self.assertEqual(f"wsredis {__version__}", lines[0])
        self.assertTrue(lines[1].startswith("Python 3."), lines)
        self.assertIn(f"Twisted {installed('Twisted')}", lines)
        self.assertNotIn("Django", str(lines))

    def test_serve(self) -> None:
        """``serve`` and ``demo`` get their words as they are, and signals are caught before."""
        calls: list[Any] = []
        caught: list[Any] = []

        def run(make: Any, words: Any, signals: Any) -> int:
            calls.append((make, words))
            self.assertEqual([signals], caught)
            caught.clear()
            return 5

        self.patch(Signals, "catch", lambda signals: caught.append(signals))
        self.patch(serve, "serve", run)
        words = ["--port", "1", "-n"]
        self.assertEqual([5, 5], [self.run_command(each, *words) for each in ("serve", "demo")])
        self.assertEqual([(serve.ServeOptions, words), (serve.DemoOptions, words)], calls)

    def test_import(self) -> None:
        """Importing it runs nothing."""
        names = runpy.run_module("wsredis.__main__", run_name="wsredis.__main__")
        self.assertIs(main, names["main"])


def message(payload: bytes) -> dict[str, object]:
    """Return a message as redis-py gives it to a subscriber."""
    return {"type": "message", "channel": b"broadcast:f", "data": payload}


class CheckConfigTests(_Case):
    """``check-config``, which has tests of its own."""

    def test_words(self) -> None:
        """Its options are read as the gateway reads them; the status is that of the check."""
        words = ("--redis", "unix:///nosuch", "--port=0", "--demo", "--help")
        for some, said in ((words[:-1], "demo = true"), (words[-1:], "Usage: wsredis ")):
            with mock.patch.object(sys, "stdout", io.StringIO()) as printed:
                try:
                    status: object = self.run_command("check-config", *some)
                except SystemExit as end:
                    status = end.code
            self.assertEqual(0, status)
            self.assertIn(said, printed.getvalue())
