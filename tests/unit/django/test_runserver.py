"""Tests for `wsredis.django.management.commands.runserver`, with a server that does not serve."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec, module_from_spec
from io import StringIO
from pathlib import Path
from typing import Any

from redis import RedisError

from tests.support.children import reserve_port, until
from tests.support.django_project import missing_django
from tests.support.require import missing
from tests.unit.django.case import AppCase
from tests.unit.web.asgi.test_application import modern
from wsredis.django.server import AsgiApplication
from wsredis.publisher import RedisPublisher
from wsredis.service import embedded

_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]


class _Server:
    """
    In place of the one that serves.

    Attributes:
        served: The ports of all, and the Redis that the environment named.
    """

    served: list[tuple[int, str | None]]
    redis_port: int

    def __init__(self, address: tuple[str, int], handler: object, ipv6: bool = False) -> None:
        self.server_port = address[1]

    def set_app(self, application: object) -> None:
        """Serve this."""

    def serve_forever(self) -> None:
        """Come to an end at once."""
        self.served.append((self.server_port, os.environ.get("WSREDIS_REDIS")))


class _Patient(_Server):
    """One that waits for Redis."""

    def serve_forever(self) -> None:
        """Publish a message first, as the project does."""
        # A client of an old redis-py that is refused does not close its socket.
        until(self.listens)
        until(self.publish)
        super().serve_forever()

    def listens(self) -> bool:
        """Tell whether the Redis that the environment names takes connections."""
        with socket.socket(socket.AF_UNIX) as client:
            return not client.connect_ex(os.environ["WSREDIS_REDIS"].removeprefix("unix://"))

    def publish(self) -> bool:
        """Publish a message. Returns: Whether Redis was ready."""
        publisher = RedisPublisher(facility="news", broadcast=True)
        try:
            publisher.publish_message("hello")
        except RedisError:
            return False
        return True


class RunserverCase(AppCase):
    """The command, with a port where no Redis is."""

    def setUp(self) -> None:
        """Find the port."""
        super().setUp()
        self.redis_port = reserve_port(self)
        self.served: list[tuple[int, str | None]] = []

    def command(self) -> Any:
        """The class of the command, as the apps that are installed make it."""
        spec = find_spec("wsredis.django.management.commands.runserver")
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Command

    def run_it(self, server: type = _Server) -> str:
        """Run it, as if at port 7, and return its output."""
        from django.core.management import call_command

        shown = {"served": self.served, "redis_port": self.redis_port}
        members = {"server_cls": type("Server", (server,), shown), "redis_port": self.redis_port}
        command = type("Command", (self.command(),), members)()
        said = StringIO()
        call_command(command, "7", use_reloader=False, skip_checks=True, stdout=said)
        return said.getvalue()


class RunserverTests(RunserverCase):
    """The command without a Redis of its own."""

    def test_bases(self) -> None:
        """With static files it is heir to the command that serves them."""
        from django.contrib.staticfiles.management.commands.runserver import Command

        self.assertFalse(issubclass(self.command(), Command))
        self.install(*_APPS, "django.contrib.staticfiles")
        self.assertTrue(issubclass(self.command(), Command))

    def test_server(self) -> None:
        """Its server is the gateway, and Redis is sought where everybody seeks it."""
        from wsredis.django.server import GatewayServer

        command = self.command()
        self.assertIs(GatewayServer, command.server_cls)
        self.assertEqual(6379, command.redis_port)

    def test_application_of_ws4redis(self) -> None:
        """In place of the server that django-websocket-redis has projects name, it serves Django's.

        Another application that cannot be imported is reported as in Django.
        """
        from django.core.exceptions import ImproperlyConfigured
        from django.core.handlers.wsgi import WSGIHandler

        self.vary(WSGI_APPLICATION="ws4redis.django_runserver.application")
        self.assertIsInstance(self.command()().get_handler(), WSGIHandler)
        self.vary(WSGI_APPLICATION="nosuch.wsgi.application")
        self.assertRaises(ImproperlyConfigured, self.command()().get_handler)

    def test_application_for_uwsgi(self) -> None:
        """A wsgi.py that imports uwsgi is explained in one line."""
        Path("for_uwsgi.py").write_text("import uwsgi\napplication = None")
        self.patch(sys, "path", [os.getcwd(), *sys.path])
        self.patch(sys, "dont_write_bytecode", True)
        self.addCleanup(sys.modules.pop, "for_uwsgi", None)
        self.vary(WSGI_APPLICATION="for_uwsgi.application")
        error = self.assertRaises(OSError, self.command()().get_handler)
        self.assertIn("WSGI_APPLICATION: No module named 'uwsgi': the gateway takes", str(error))

    def test_asgi(self) -> None:
        """A project with ASGI_APPLICATION is served by it, with static files if they are wanted."""
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        name = "tests.unit.web.asgi.test_application.modern"
        self.vary(ASGI_APPLICATION=name, DEBUG=True)
        handler = self.command()().get_handler()
        self.assertIsInstance(handler, AsgiApplication)
        self.assertIs(modern, handler.call)
        self.install(*_APPS, "django.contrib.staticfiles")
        for is_debug, wants, insecure, expected in (
            (True, True, False, True),
            (True, False, True, False),
            (False, True, False, False),
            (False, True, True, True),
        ):
            self.vary(ASGI_APPLICATION=name, DEBUG=is_debug)
            options = {"use_static_handler": wants, "insecure_serving": insecure}
            handler = self.command()().get_handler(**options)
            self.assertIs(expected, isinstance(handler.call, ASGIStaticFilesHandler))

    def test_asgi_refused(self) -> None:
        """One that cannot be imported is explained in one line."""
        for name in ("nosuch.asgi.application", "nosuch", "tests.unit.nosuch"):
            self.vary(ASGI_APPLICATION=name)
            error = self.assertRaises(OSError, self.command()().get_handler)
            self.assertTrue(str(error).startswith("ASGI_APPLICATION: "), error)
            self.assertEqual(1, len(str(error).splitlines()))

    def test_named_redis(self) -> None:
        """A project that names a Redis gets no other one."""
        self.vary(WS4REDIS_CONNECTION={"port": self.redis_port})
        self.assertNotIn("Redis", self.run_it())
        self.assertEqual([(7, None)], self.served)

    def test_reloader(self) -> None:
        """The inner process of the reloader starts no Redis."""
        self.patch(os, "environ", {**os.environ, "RUN_MAIN": "true"})
        self.assertNotIn("Redis", self.run_it())
        self.assertEqual([(7, None)], self.served)

    def test_no_redis(self) -> None:
        """Where none is installed, it says so and does not serve."""
        from django.core.management import CommandError

        self.patch(os, "environ", {**os.environ, "PATH": ""})
        self.patch(embedded, "find_spec", lambda name: None)
        with self.assertRaisesRegex(CommandError, "^redis: there is no redis-server to start"):
            self.run_it()
        self.assertEqual([], self.served)


class PrivateRedisTests(RunserverCase):
    """The command with a Redis of its own."""

    skip = missing("redis") or missing_django()

    def test_private_redis(self) -> None:
        """Others get one as long as they run, and so do their publishers."""
        said = self.run_it(_Patient)
        self.assertIn("No Redis at localhost: started a private one", said)
        ((_, url),) = self.served
        self.assertRegex(str(url), "^unix:///")
        self.assertIn(f"WSREDIS_REDIS={url}", said)
        self.assertNotIn("WSREDIS_REDIS", os.environ)
        self.assertFalse(Path(str(url).removeprefix("unix://")).exists())
