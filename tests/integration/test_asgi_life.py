"""The life of an ASGI application in the program: its start, its end, and its steps that block."""

from __future__ import annotations

import signal
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import Gateway
from tests.support.raw import RawClient, response
from tests.support.require import missing

_NO_REDIS = ("--redis", "unix:///nonexistent/redis.sock")

_APPLICATION = "tests.support.asgi_life:application"

#: The statuses after a signal and a clean stop: twistd sends the signal to itself again.
_CLEAN = (0, -signal.SIGTERM)


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


class LifeCase(SynchronousTestCase):
    """Gateways without a Redis, each with an application."""

    def gateway(self, *options: str, name: str = _APPLICATION, **environ: str) -> Gateway:
        """A gateway that is stopped after the test."""
        gateway = Gateway(*_NO_REDIS, "--asgi", name, *options, environ=environ, ready=False)
        self.addCleanup(gateway.stop)
        return gateway

    def refused(self, *options: str, name: str = _APPLICATION, **environ: str) -> str:
        """The output of a gateway that does not start."""
        with self.assertRaises(AssertionError) as caught:
            self.gateway(*options, name=name, **environ)
        return str(caught.exception)

    def ask(self, gateway: Gateway, path: str) -> str:
        """The body of a page."""
        status, _, body = response(gateway.port, _request(path))
        self.assertEqual(200, status)
        return body.decode()

    def send(self, gateway: Gateway, path: str) -> RawClient:
        """Ask for a page, and leave the answer to the test."""
        client = RawClient(gateway.port)
        self.addCleanup(client.socket.close)
        client.send(_request(path))
        return client


class StartTests(LifeCase):
    """Before the first request."""

    def test_before_the_ports(self) -> None:
        """The application has started when the port opens, and each request has its state."""
        for mode, is_main in (("reactor", True), ("thread", False)):
            gateway = self.gateway("--asgi-loop", mode)
            self.assertLess(
                gateway.log.index("application: starts"), gateway.log.index("listening on ")
            )
            self.assertEqual(f"True {is_main} [None]", self.ask(gateway, "/state"))
            self.assertEqual(f"True {is_main} [None, None]", self.ask(gateway, "/state"))
            self.assertIn(gateway.child.stop(), _CLEAN)
            self.assertIn("application: stops", gateway.log)

    def test_failed(self) -> None:
        """A start that failed ends the program with a line, and no port was open."""
        output = self.refused(START="failed")
        self.assertIn(
            "wsredis: asgi: the application could not start: OSError: no database", output
        )
        self.assertNotIn("#info] listening", output)

    def test_raised(self) -> None:
        """An exception in the start is logged, and the application is served."""
        gateway = self.gateway(START="raises")
        self.assertEqual("done", self.ask(gateway, "/"))
        self.assertIn("OSError: no database", gateway.log)

    def test_ignorant(self) -> None:
        """An application without a lifespan is served, unless the lifespan is demanded."""
        name = "tests.support.asgi_life:ignorant"
        gateway = self.gateway(name=name)
        self.assertEqual("done", self.ask(gateway, "/"))
        self.assertIn("the application is not told of start and stop", gateway.log)
        self.assertIn("asgi-lifespan: it is on", self.refused("--asgi-lifespan", "on", name=name))


class EndTests(LifeCase):
    """After the last request."""

    def test_under_way(self) -> None:
        """A request that is under way is answered before the application stops."""
        gateway = self.gateway()
        client = self.send(gateway, "/sleep")
        gateway.child.wait_for("application: sleeps")
        gateway.child.signal(signal.SIGTERM)
        self.assertIn(" 200 ", client.head())
        self.assertEqual(b"done", client.rest())
        self.assertIn(gateway.child.wait(), _CLEAN)
        self.assertIn("application: stops", gateway.log)

    def test_hanging(self) -> None:
        """What does not end, the call and the stop of the application, is cancelled."""
        gateway = self.gateway("--asgi-shutdown", "0.2", "--drain", "0.2", STOP="hangs")
        self.send(gateway, "/hang")
        gateway.child.wait_for("application: hangs")
        gateway.child.signal(signal.SIGTERM)
        self.assertIn(gateway.child.wait(), _CLEAN)
        self.assertLess(
            gateway.log.index("application: is cancelled"), gateway.log.index("application: stops")
        )
        self.assertIn("the application did not stop within 0.2 s", gateway.log)

    def test_stubborn(self) -> None:
        """A call that ignores that it is cancelled does not hold up the end."""
        gateway = self.gateway("--asgi-shutdown", "0.2", "--drain", "0.2")
        self.send(gateway, "/ignore")
        gateway.child.wait_for("application: hangs")
        gateway.child.signal(signal.SIGTERM)
        self.assertIn(gateway.child.wait(), _CLEAN)
        self.assertIn("application: ignores it", gateway.log)
        self.assertIn("1 calls of the application did not end", gateway.log)

    def test_left(self) -> None:
        """A call whose client has left is cancelled after its time; others go on."""
        gateway = self.gateway("--asgi-shutdown", "0.2")
        client = self.send(gateway, "/hang")
        gateway.child.wait_for("application: hangs")
        client.socket.close()
        gateway.child.wait_for("application: is cancelled")
        self.assertEqual("done", self.ask(gateway, "/"))
        self.assertIn("its client has left", gateway.log)


class BusyTests(LifeCase):
    """Steps that hold everything else."""

    skip = missing("redis")

    def test_named(self) -> None:
        """A step that blocks is named with its place, and counted."""
        gateway = self.gateway("--metrics")
        self.ask(gateway, "/block")
        gateway.child.wait_for(
            r"held the gateway for 0\.\d+ s in tests\.support\.asgi_life\._block, line \d+ "
            r"\(GET /block\)"
        )
        with RawClient(gateway.port) as client:
            client.send(_request("/metrics"))
            client.head()
            page = client.rest().decode()
        self.assertIn("wsredis_asgi_slow_steps_total 1.0", page.splitlines())

    def test_thread(self) -> None:
        """With a thread of its own, a step that blocks holds nobody."""
        gateway = self.gateway("--asgi-loop", "thread", "--asgi-slow", "0.05")
        blocked = self.send(gateway, "/block")
        began = time.monotonic()
        self.assertEqual(200, response(gateway.port, _request("/health/live"))[0])
        self.assertLess(time.monotonic() - began, 0.4)
        self.assertIn(" 200 ", blocked.head())
        self.assertNotIn("held the gateway", gateway.log)

    def test_exit(self) -> None:
        """An application that calls exit() gets an error for its client, and nothing else."""
        gateway = self.gateway()
        self.assertEqual(500, response(gateway.port, _request("/exit"))[0])
        self.assertEqual("done", self.ask(gateway, "/"))
        self.assertIn("tried to end the process", gateway.log)
