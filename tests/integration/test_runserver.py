"""``manage.py runserver`` of a Django project that has ``wsredis.django``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import Child, RedisServer, clean_environment, reserve_port, until
from tests.support.pages import copy_of_site, site_environment
from tests.support.raw import RawClient, response
from tests.support.require import missing

_SOCKET = "/ws/runserver?subscribe-broadcast"


class RunserverTests(SynchronousTestCase):
    """Pages, static files and sockets in development."""

    skip = missing("redis")

    def setUp(self) -> None:
        """A project of its own, and a Redis."""
        self.directory = copy_of_site()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.port = reserve_port(self)

    def start(self, *words: str, port: str = "", environ: dict[str, str] | None = None) -> Child:
        """Start the command. Returns: The child, which may not serve yet."""
        child = Child(
            [
                *(sys.executable, str(Path(self.directory) / "mysite" / "manage.py")),
                *("runserver", port or str(self.port), *words),
            ],
            env=clean_environment(
                {
                    **site_environment(self.directory),
                    "SITE_DEBUG": "1",
                    "SITE_REDIS": self.redis.path,
                    # Django leaves its banner in the buffer of a pipe.
                    "PYTHONUNBUFFERED": "1",
                    **(environ or {}),
                }
            ),
            cwd=self.directory,
        )
        self.addCleanup(child.stop)
        return child

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask for a page. Returns: Status and body."""
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        status, _, body = response(self.port, request)
        return status, body

    def test_serves(self) -> None:
        """Pages, static files and sockets are on the port that the banner names."""
        child = self.start()
        child.wait_for("connected to ")
        self.assertIn(f"Starting development server at http://127.0.0.1:{self.port}/", child.output)
        self.assertEqual((200, b"hello"), self.get("/hello?secret"))
        self.assertEqual((200, b"body { color: navy }\n"), self.get("/static/site/site.css"))
        child.wait_for('"GET /hello" 200')
        self.assertNotIn("secret", child.output)
        with RawClient.opened(self.port, _SOCKET) as client:
            self.redis.command("PUBLISH", "broadcast:runserver", "news")
            while client.message() != b"news":
                pass
        child.wait_for(r"\] WebSocket opened 127.* hears broadcast:runserver")
        child.wait_for(r"\] WebSocket closed 127.* by the client with ")

    def test_asgi(self) -> None:
        """ASGI_APPLICATION has the pages and WebSockets; static files and the sockets are there."""
        child = self.start(environ={"SITE_ASGI": "1"})
        child.wait_for("connected to ")
        until(lambda: self.get("/hello?secret") == (200, b"hello"))
        self.assertEqual((200, b"body { color: navy }\n"), self.get("/static/site/site.css"))
        child.wait_for('"GET /hello" 200')
        with RawClient.opened(self.port, "/echo?secret") as client:
            client.send_text("hello")
            self.assertEqual(b"hello", client.message())
        child.wait_for('"WebSocket /echo" 101')
        RawClient.opened(self.port, _SOCKET).socket.close()
        self.assertNotIn("secret", child.output)

    def test_reload(self) -> None:
        """A changed file ends sockets with 1001, and the new code serves on the same port."""
        child = self.start()
        child.wait_for("connected to ")
        client = RawClient.opened(self.port, _SOCKET)
        self.addCleanup(client.socket.close)
        position = len(child.output)
        views = Path(self.directory) / "mysite" / "urls.py"
        views.write_text(views.read_text().replace('"hello"', '"changed"'))
        times = iter(range(2_000_000_000, 2_100_000_000))

        def touched() -> bool:
            # The reloader takes the first state of a file that it sees for unchanged.
            now = next(times)
            os.utime(views, (now, now))
            return "reloading" in child.output

        until(touched)
        self.assertEqual(1001, client.closing())
        child.wait_for("connected to ", since=position)
        self.assertEqual((200, b"changed"), self.get("/hello"))

    def test_ends(self) -> None:
        """Control-C and SIGTERM end it, with and without the reloader, and say goodbye."""
        for words in ((), ("--noreload",)):
            for number in (signal.SIGINT, signal.SIGTERM):
                self.port = reserve_port(self)
                child = self.start(*words)
                child.wait_for("connected to ")
                client = RawClient.opened(self.port, _SOCKET)
                if words:
                    child.signal(number)
                else:
                    # A terminal sends it to both processes.
                    for pid in _children(child.pid):
                        os.kill(pid, number)
                self.assertEqual(1001, client.closing(), (words, number))
                client.socket.close()
                child.wait()
                self.assertNotIn("Traceback", child.output)

    def test_options(self) -> None:
        """``--nostatic``, ``--nothreading`` and IPv6 work as in Django."""
        child = self.start("--nostatic", "--nothreading", "--noreload", port=f"[::1]:{self.port}")
        child.wait_for("connected to ")
        self.assertIn(f"http://[::1]:{self.port}/", child.output)
        child.stop()
        child = self.start("--nostatic", "--noreload")
        child.wait_for("connected to ")
        self.assertEqual(404, self.get("/static/site/site.css")[0])

    def test_port_in_use(self) -> None:
        """A second server on the same port ends with one line that says so."""
        self.start("--noreload").wait_for("connected to ")
        second = self.start("--noreload")
        second.wait_for("Error: That port is already in use")
        self.assertEqual(1, second.wait())
        self.assertNotIn("Traceback", second.output)

    def test_left_over(self) -> None:
        """A project whose settings still name the server of ws4redis is served all the same."""
        settings = Path(self.directory) / "mysite" / "settings.py"
        line = "WSGI_APPLICATION = 'ws4redis.django_runserver.application'"
        settings.write_text(f"{settings.read_text()}\n{line}\n")
        child = self.start("--noreload")
        child.wait_for("connected to ")
        self.assertIn("wsredis.W053", child.output)
        self.assertEqual((200, b"hello"), self.get("/hello"))

    def test_bad_setting(self) -> None:
        """A setting that cannot be used ends the command with one line."""
        child = self.start("--noreload", environ={"WSREDIS_MAX_QUEUE": "many"})
        child.wait_for("Error: WSREDIS_MAX_QUEUE: 'many' is not a whole number")
        self.assertEqual(1, child.wait())
        self.assertNotIn("Traceback", child.output)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
