"""A test case with a project that has the settings block of the original's documentation."""

from __future__ import annotations

import atexit
import sys
from functools import cache
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import Child, Gateway, RedisServer, clean_environment
from tests.support.django_project import SETTINGS, Project
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing
from tests.support.ws4redis import missing_package

__all__ = ["HEARTBEAT", "PatternCase", "settings_block"]

HEARTBEAT = "--heartbeat--"

#: Code at the top of a view that has the request of a visitor.
_VIEW = """
from importlib import import_module
from django.contrib.auth import get_user
from django.test import RequestFactory

def request_of(key):
    request = RequestFactory().get("/")
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request.user = get_user(request)
    return request
"""


@cache
def _shared_redis() -> RedisServer:
    server = RedisServer(tcp=True)
    atexit.register(server.stop)
    return server


def settings_block(redis: RedisServer) -> dict[str, object]:
    """
    The settings that everybody copied, with the port as a string, as environment variables give it.

    ``WSGI_APPLICATION`` is what the original needed for ``runserver``, and nobody removes it.
    """
    return {
        "MORE_APPS": ["ws4redis"],
        "WEBSOCKET_URL": "/ws/",
        "WS4REDIS_CONNECTION": {
            "host": "127.0.0.1",
            "port": str(redis.port),
            "db": 0,
            "password": "",
        },
        "WS4REDIS_PREFIX": "ws",
        "WS4REDIS_EXPIRE": 7200,
        "WS4REDIS_HEARTBEAT": HEARTBEAT,
        "WSGI_APPLICATION": "ws4redis.django_runserver.application",
    }


class PatternCase(SynchronousTestCase):
    """A test case with Redis, which all tests share, and a project and a gateway of its own."""

    skip = missing("redis") or missing_package()
    redis: RedisServer
    project: Project
    gateway: Gateway

    def start(self, *options: str, **settings: object) -> None:
        """Start a gateway for the project of the settings block, varied by *settings*."""
        self.redis = _shared_redis()
        self.redis.command("FLUSHALL")
        self.project = Project(**{**settings_block(self.redis), **settings})
        self.addCleanup(self.project.remove)
        # Clients that do not answer a close frame are not waited for.
        self.gateway = self.project.gateway(None, "--drain", "0", *options)
        self.addCleanup(self.gateway.stop)

    def start_fails(self, *options: str, **settings: object) -> str:
        """Start a gateway that cannot serve such a project. Returns: The one line that says why."""
        self.redis = _shared_redis()
        project = Project(**{**settings_block(self.redis), **settings})
        self.addCleanup(project.remove)
        words = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n"]
        words += ["--pidfile=", "wsredis", "--port", "0", "--django", SETTINGS, *options]
        child = Child(words, env=clean_environment(project.environ), cwd=project.folder)
        self.addCleanup(child.stop)
        self.assertNotIn(child.wait(), (0, -9), child.output)
        (line,) = (each for each in child.output.splitlines() if "twistd" not in each)
        return line

    def open(self, path: str, key: str = "", *headers: str) -> RawClient:
        """Connect, with a session cookie if a key is given."""
        cookie = (f"Cookie: sessionid={key}",) if key else ()
        client = RawClient.opened(self.gateway.port, path, *cookie, *headers)
        self.addCleanup(client.socket.close)
        return client

    def refused(self, path: str, key: str = "", *headers: str) -> tuple[int, str]:
        """Return status and body of the answer to a handshake that is refused."""
        cookie = (f"Cookie: sessionid={key}",) if key else ()
        status, _, body = response(self.gateway.port, handshake(path, *cookie, *headers))
        return status, body.decode().strip()

    def next(self, client: RawClient) -> str:
        """The next message that is not a heartbeat."""
        while True:
            got = client.message().decode()
            if got != HEARTBEAT:
                return got

    def check_heard(self, client: RawClient, *messages: str) -> None:
        """Check that these are the next messages."""
        self.assertEqual(list(messages), [self.next(client) for _ in messages])

    def view(self, code: str, **values: object) -> str:
        """
        Run code of a view of the project, in a process of its own.

        Args:
            code: May use ``request_of(session_key)``.
            values: Names that it may use.
        Returns: Its output.
        """
        lines = "".join(f"{name} = {value!r}\n" for name, value in values.items())
        return self.project.run(_VIEW + lines + code)

    def command(self, *words: Any) -> Any:
        """Send one command to Redis. Returns: The reply."""
        return self.redis.command(*words)
