"""Tests for what programs that embed the gateway, and twistd, may rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import wsredis

_ROOT = Path(wsredis.__file__).parents[1]


def loaded(statement: str, *modules: str) -> list[str]:
    """Those of *modules* that a fresh Python has loaded after *statement*."""
    code = f"import sys; {statement}; print(*[n for n in {modules!r} if n in sys.modules])"
    command = [sys.executable, "-c", code]
    # Where a Django project is named, the publisher asks it.
    ours = ("WSREDIS_", "DJANGO_SETTINGS_MODULE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        command, cwd=_ROOT, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


class PublicTests(SynchronousTestCase):
    """The names of the package."""

    def test_names(self) -> None:
        """The public names are these; removing one breaks other people's programs."""
        expected = """
            Access AsgiConfig Audience AuthUrlConfig Authenticator ConfigError Connection
            ForwardConfig Gap
            GatewayConfig GatewayService Handler Handshake HandshakeRejected Identity JwtConfig
            Limits Policy RedisConfig WsredisError __version__ load
        """
        self.assertEqual(sorted(expected.split()), sorted(wsredis.__all__))

    def test_exist(self) -> None:
        """Each is there, and explained."""
        for name in wsredis.__all__:
            each = getattr(wsredis, name)
            self.assertTrue(each.__doc__, name)

    def test_listed(self) -> None:
        """They are listed before they are loaded; another name is an AttributeError."""
        self.assertEqual(set(), set(wsredis.__all__) - set(dir(wsredis)))
        with self.assertRaises(AttributeError):
            wsredis.nothing  # type: ignore[attr-defined]  # noqa: B018

    def test_version(self) -> None:
        """The version is that of the calendar: year, month, count."""
        self.assertRegex(wsredis.__version__, r"\A[0-9]{2}\.[0-9]{1,2}\.[0-9]+\Z")


class ImportTests(SynchronousTestCase):
    """The modules that an import loads."""

    def test_package(self) -> None:
        """Importing the names of the package installs no reactor and loads no Redis library."""
        found = loaded(
            "from wsredis import *",
            *("wsredis.service.service", "twisted.internet.reactor", "txredisapi", "hiredis"),
        )
        self.assertEqual(["wsredis.service.service"], found)

    def test_lazy(self) -> None:
        """Importing the package loads nothing; a name brings its own module only."""
        heavy = ("twisted", "autobahn", "wsredis.config.settings", "wsredis.channels")
        self.assertEqual([], loaded("import wsredis", *heavy))
        self.assertEqual(["wsredis.channels"], loaded("from wsredis import Access", *heavy))

    def test_names_of_the_publisher(self) -> None:
        """All publishers are imported from one place, also the one that is loaded late."""
        import wsredis.publisher

        for name in wsredis.publisher.__all__:
            self.assertTrue(hasattr(wsredis.publisher, name), name)
            self.assertIn(name, dir(wsredis.publisher))
        self.assertEqual(
            "wsredis.publisher.twisted", wsredis.publisher.TwistedRedisPublisher.__module__
        )
        with self.assertRaises(AttributeError):
            wsredis.publisher.nothing  # type: ignore[attr-defined]  # noqa: B018
        found = loaded("from wsredis.publisher import TwistedRedisPublisher", "txredisapi")
        self.assertEqual(["txredisapi"], found)

    def test_publisher(self) -> None:
        """Programs that publish load redis-py and Django when they do, and Twisted never."""
        heavy = ("twisted", "autobahn", "django", "redis", "txredisapi")
        self.assertEqual([], loaded("import wsredis.publisher", *heavy))
        use = "from wsredis.publisher import RedisPublisher; RedisPublisher()"
        self.assertEqual(["redis"], loaded(use, *heavy))

    def test_commands(self) -> None:
        """The commands of the shell do without Twisted as well."""
        heavy = ("twisted", "autobahn", "django", "redis")
        self.assertEqual([], loaded("import wsredis.__main__", *heavy))

    def test_plugin(self) -> None:
        """The plugin, which every twistd imports, loads nothing of ours."""
        found = loaded(
            "import twisted.plugins.wsredis_plugin",
            "twisted.plugins.wsredis_plugin",
            "wsredis",
            "twisted.internet.reactor",
            "txredisapi",
            "autobahn",
        )
        self.assertEqual(["twisted.plugins.wsredis_plugin"], found)

    def test_options(self) -> None:
        """The options, which ``twistd --help`` needs, install no reactor either."""
        found = loaded(
            "import wsredis.service.command",
            "wsredis.service.command",
            "twisted.internet.reactor",
        )
        self.assertEqual(["wsredis.service.command"], found)
