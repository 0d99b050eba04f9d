"""``wsredis demo``, and the commands that find it: as a person uses them, in several terminals."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE, Child, clean_environment, reserve_port
from tests.support.require import missing
from tests.support.terminal import Terminal
from wsredis import __version__

WSREDIS = ("-m", "wsredis")


class CommandCase(SynchronousTestCase):
    """Programs that have a place for temporary files of their own."""

    def setUp(self) -> None:
        """Make the place; its path is short enough for a UNIX socket."""
        self.folder = tempfile.mkdtemp(prefix="wsredis-test-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.environ = clean_environment({"TMPDIR": self.folder, "PYTHONWARNINGS": "error"})

    def child(self, *words: str) -> Child:
        """Start a command; it is stopped after the test."""
        child = Child([sys.executable, *WSREDIS, *words], env=self.environ, cwd=self.folder)
        self.addCleanup(child.stop)
        return child

    def terminal(self, *words: str) -> Terminal:
        """Start a command on a terminal; it is killed after the test."""
        terminal = Terminal(*WSREDIS, *words, env=self.environ)
        self.addCleanup(terminal.close)
        return terminal

    def run_command(self, *words: str, input: bytes = b"") -> tuple[int, str, str]:
        """Run a command to its end. Returns: The status, standard output and standard error."""
        done = subprocess.run(
            [sys.executable, *WSREDIS, *words],
            input=input,
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()


class DemoTests(CommandCase):
    """The first minutes: a demo, a message from outside, a client."""

    skip = missing("redis")

    def test_first_minutes(self) -> None:
        """
        A demo says where its page is, and opens nothing to the network; a message of the shell
        reaches a client on a terminal, whose keys do what they do elsewhere; Ctrl-C ends the demo.
        """
        demo = self.child("demo")
        page = demo.wait_for(r"demo page: (http://localhost:(\d+)/)\n")
        demo.wait_for("connected to unix://")
        self.assertIn(f"listening on 127.0.0.1:{page[2]}\n", demo.output)
        self.assertNotIn("open to the network", demo.output)
        with urllib.request.urlopen(page[1], timeout=PATIENCE) as answer:
            self.assertIn(b"<html", answer.read())
        url = f"localhost:{page[2]}/ws/first?subscribe-broadcast&publish-broadcast&echo"

        person = self.terminal("connect", url, "--subprotocol", "wsredis", "--verbose")
        person.wait_for("connected, subprotocol wsredis.*\n")
        person.wait_for("you hear broadcast, and may publish broadcast")
        status, output, errors = self.run_command("publish", "first", "--broadcast", "from outside")
        self.assertEqual((0, "1 subscriber(s) received it\n"), (status, output))
        self.assertTrue(errors.startswith("using the private Redis of the gateway that runs: "))
        person.wait_for("\r\x1b\\[K< from outside\r\n> ")
        person.type("hello\r")
        person.wait_for("< hello\r\n")
        person.type("/close 4321 enough\r")
        person.wait_for("closed: 4321")
        self.assertEqual(0, person.wait())
        self.assertTrue(person.is_restored())
        self.keys(url)
        self.pipe(url)

        demo.signal(signal.SIGINT)
        self.assertIn(demo.wait(), (0, -signal.SIGINT))
        self.assertEqual([], os.listdir(self.folder))

    def keys(self, url: str) -> None:
        """Ctrl-D and Ctrl-C, also in the middle of a line, end it and restore the terminal."""
        for key, expected in (("\x04", 0), ("half a line\x03", 130)):
            person = self.terminal("connect", url)
            person.wait_for("connected")
            person.wait_for("\n> ")
            person.type(key)
            person.wait_for("closed: 1000 \\(normal\\)")
            self.assertEqual(expected, person.wait(), person.output)
            self.assertTrue(person.is_restored())

    def pipe(self, url: str) -> None:
        """In a pipe lines are messages; a refusal is told with status and reason."""
        words = [sys.executable, *WSREDIS, "connect", url.replace("first", "pipe")]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            words, env=self.environ, stdin=pipe, stdout=pipe, stderr=pipe
        ) as done:
            assert done.stdin is not None and done.stdout is not None and done.stderr is not None
            for line in (b"one\n", b"two\n"):
                done.stdin.write(line)
                done.stdin.flush()
                self.assertEqual(line, done.stdout.readline())
            done.stdin.close()
            self.assertEqual(b"connected\nclosed: 1000 (normal)\n", done.stderr.read())
        self.assertEqual(0, done.returncode)
        status, output, errors = self.run_command("connect", url.replace("/ws/", "/nosuch/"))
        self.assertEqual((1, ""), (status, output))
        self.assertRegex(errors, r"\Arefused: HTTP 4\d\d \w[^\n]*\n")

    def test_next_port(self) -> None:
        """Two demos run side by side, and the commands ask which one is meant."""
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                other.bind(("127.0.0.1", 8080))
                other.listen()
            except OSError:
                # Somebody else has it, which is as good.
                pass
            demos = [self.child("demo"), self.child("demo", "--port", "0")]
            for each in demos:
                each.wait_for("connected to unix://")
            found = demos[0].wait_for(r"demo page: http://localhost:(\d+)/\n")
            self.assertNotEqual("8080", found[1])
            demos[1].wait_for(r"listening on 127\.0\.0\.1:\d+\n")
        status, output, errors = self.run_command("publish", "f", "--broadcast", "x")
        self.assertEqual((2, ""), (status, output))
        self.assertEqual(2, errors.count("unix://"), errors)
        self.assertEqual(1, errors.count("\n"), errors)


class ServeTests(CommandCase):
    """``wsredis serve``."""

    def test_serve(self) -> None:
        """On a terminal its log is for people; it needs no pid file, and Ctrl-C ends it."""
        words = ("serve", "--redis", "unix:///nosuch")
        person = self.terminal(*words, "--port", f"127.0.0.1:{reserve_port(self)}")
        person.wait_for(rf"\A\d\d:\d\d:\d\d wsredis {__version__}\r\n")
        person.wait_for(r"\A\d\d:\d\d:\d\d listening on 127\.0\.0\.1:\d+\r\n")
        person.wait_for(r"\d\d:\d\d:\d\d warning: ")
        person.type("\x03")
        self.assertIn(person.wait(), (0, -signal.SIGINT))
        self.assertEqual([], os.listdir(self.folder))

    def test_elsewhere(self) -> None:
        """In a pipe the log has the usual form, and a port for everybody is named as such."""
        child = self.child("serve", "--redis", "unix:///nosuch", "--port", "0", "-n")
        child.wait_for(r"\A20\d\d-\d\d-\d\dT\S+ \[\S+\] ")
        child.wait_for(r"0\.0\.0\.0:\d+ is open to the network: ")
        self.assertIn(child.stop(), (0, -signal.SIGTERM))

    def test_mistake(self) -> None:
        """A mistake is one line and a status that is not 0."""
        for words, part in (
            (("serve", "--prot", "1"), "did you mean --port?"),
            # Without a port, it may tell of another gateway as well.
            (("demo", "--port", "8080", "--redis", "http://x"), "redis: a URL starts with"),
            (("sevre",), "did you mean serve?"),
        ):
            status, output, errors = self.run_command(*words)
            self.assertNotEqual(0, status)
            self.assertEqual("", output)
            self.assertIn(part, errors)
            self.assertEqual(1, errors.count("\n"), errors)
