"""Plain sockets and Django Channels: the real gateway, real workers, a channel layer."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.children import PATIENCE, Child, Gateway, RedisServer, clean_environment, until
from tests.support.raw import RawClient
from tests.support.require import missing
from tests.support.tokens import signed, verifier
from wsredis.layer import ChannelLayer, gateway_group

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

_SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["channels"]
ASGI_APPLICATION = "orders_asgi.application"
CHANNEL_LAYERS = {{
    "default": {{"BACKEND": "wsredis.layer.ChannelLayer", "CONFIG": {{"hosts": [{url!r}]}}}}
}}
LOGGING = {{
    "version": 1,
    "handlers": {{"out": {{"class": "logging.StreamHandler"}}}},
    "loggers": {{"": {{"handlers": ["out"], "level": "INFO"}}}},
}}
"""


_BOARD = """
import django

django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from orders_page import BoardConsumer

board = URLRouter([path("board", BoardConsumer.as_asgi())])
application = ProtocolTypeRouter({"websocket": board})
"""


def _directory() -> str:
    """Make a directory for as long as the tests run."""
    directory = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, directory)
    return directory


@cache
def _key() -> str:
    path = os.path.join(_directory(), "key")
    Path(path).write_bytes(verifier("HS256"))
    return path


@cache
def _workers(url: str) -> list[Child]:
    """Two processes of ``manage.py runworker`` with the example of the guide."""
    directory = _directory()
    Path(directory, "orders_settings.py").write_text(_SETTINGS.format(url=url))
    path = os.pathsep.join([directory, str(_EXAMPLES)])
    environ = clean_environment({"DJANGO_SETTINGS_MODULE": "orders_settings"})
    environ["PYTHONPATH"] += os.pathsep + path
    words = [sys.executable, "-m", "django", "runworker", "orders"]
    children = [Child(words, env=environ, cwd=directory) for _ in range(2)]
    for child in children:
        atexit.register(child.stop)
    return children


def bearer(user: str, session: str, *groups: str) -> str:
    """The header by which a client says who it is."""
    token = signed(sub=user, sid=session, groups=list(groups))
    return f"Authorization: Bearer {token}"


class ForwardCase(GatewayCase):
    """A gateway that knows clients by tokens, and forwards what they say about orders."""

    skip = missing("redis")
    options = ("--jwt-key", _key(), "--forward", "orders/*=orders")


class WorkerTests(ForwardCase):
    """Workers that are processes of Channels."""

    def setUp(self) -> None:
        """Start two workers, and wait until both hear the bell."""
        super().setUp()
        _workers(self.redis.url)
        until(lambda: self.redis.command("PUBSUB", "NUMSUB", "asgi:queue:orders")[1] == 2)  # type: ignore[index]

    def test_said_and_answered(self) -> None:
        """A worker hears what a socket says, answers that one, and reaches others."""
        query = "subscribe-session&subscribe-group"
        john = self.open(f"/ws/orders/pizza?{query}", bearer("john", "s3ss10n"))
        mary = self.open(f"/ws/orders/pizza?{query}", bearer("mary", "0ther", "staff"))
        nobody = self.open(f"/ws/orders/pizza?{query}&subscribe-broadcast")
        john.send_text("a large one")
        self.assertRegex(john.message(), rb"\Ayour order has the number [0-9]+\Z")
        self.assertEqual(b"john orders a large one", mary.message())
        nobody.send_text("for free")
        john.send_text("another")
        self.assertRegex(john.message(), rb"\Ayour order has the number [0-9]+\Z")
        self.assertEqual(b"john orders another", mary.message())
        self.redis.command("PUBLISH", "broadcast:orders/pizza", "last")
        self.assertEqual(b"last", nobody.message())

    def test_once(self) -> None:
        """Of two workers one hears each message."""
        john = self.open("/ws/orders/many?subscribe-session", bearer("john", "s3ss10n"))
        mary = self.open("/ws/orders/many?subscribe-group", bearer("mary", "0ther", "staff"))
        for number in range(200):
            john.send_text(str(number))
        heard = Counter(mary.message() for _ in range(200))
        self.assertEqual({b"john orders %d" % number: 1 for number in range(200)}, heard)
        for _ in range(200):
            self.assertIn(b"your order", john.message())
        self.assertEqual(0, self.redis.command("LLEN", "asgi:queue:orders"))

    def test_published_too(self) -> None:
        """A flag to publish has its effect beside the worker."""
        john = self.open(
            "/ws/orders/both?subscribe-session&publish-broadcast", bearer("john", "s3ss10n")
        )
        listener = self.open("/ws/orders/both?subscribe-broadcast")
        john.send_text("hello")
        self.assertEqual(b"hello", listener.message())
        self.assertIn(b"your order", john.message())

    def test_post(self) -> None:
        """A message by POST is heard, too, and may be answered on a socket."""
        path, name = "/ws/orders/post?subscribe-session", bearer("john", "s3ss10n")
        john = self.open(path, name)
        connection = HTTPConnection("127.0.0.1", self.gateway.port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("POST", path, "hello", dict([name.split(": ")]))
        self.assertEqual(202, connection.getresponse().status)
        self.assertIn(b"your order", john.message())


class FullTests(GatewayCase):
    """A worker channel without workers."""

    skip = missing("redis")
    options = ("--forward", "*=nobody", "--forward-capacity", "3", "--forward-expiry", "1")

    def test_closed(self) -> None:
        """A client whose message finds no room is closed with 1013; the log says so."""
        client = self.open("/ws/full")
        for number in range(4):
            client.send_text(str(number))
        self.assertEqual(1013, client.closing())
        line = self.gateway.child.wait_for(r"not handed over to a worker of (\S+): (.*); closing")
        self.assertEqual(("asgi:queue:nobody", "the workers do not keep up"), line.groups())
        until(lambda: not self.redis.command("EXISTS", "asgi:queue:nobody"))
        again = self.open("/ws/full")
        again.send_text("there is room")
        until(lambda: self.redis.command("LLEN", "asgi:queue:nobody") == 1)


class AwayTests(FreshGatewayCase):
    """Without Redis."""

    skip = missing("redis")
    options = ("--forward", "*=orders")

    def test_closed(self) -> None:
        """A client that says something is closed with 1013."""
        client = self.open("/ws/away")
        self.redis.kill()
        self.gateway.child.wait_for("lost the connection to")
        client.send_text("hello")
        self.assertEqual(1013, client.closing())
        self.gateway.child.wait_for(
            "not handed over to a worker of asgi:queue:orders: Redis is away"
        )


class RefusedTests(GatewayCase):
    """Settings that cannot be used."""

    def test_one_line(self) -> None:
        """The program ends with one line that names the option."""
        for value, text in (
            ("orders", "--forward: 'orders' is not of the form PATTERN=CHANNEL"),
            ("*=a!b", "--forward: '*=a!b': 'a!b' is a channel of one process, not of workers"),
        ):
            child = Child(
                [sys.executable, "-m", "twisted", "wsredis", "--forward", value],
                env=clean_environment(),
            )
            self.assertNotEqual(0, child.wait())
            child.stop()
            self.assertIn(text, child.output)


class GroupTests(GatewayCase):
    """A channel layer in another process, here that of the test."""

    skip = missing("redis")
    options = ("--prefix", "shop", "--stored-prefix", "kept")

    def layer(self, **settings: Any) -> ChannelLayer:
        """A layer with the prefixes of the gateway."""
        prefixes = {"gateway_prefix": "shop", "gateway_stored_prefix": "kept"}
        return ChannelLayer(hosts=[self.redis.url], **{**prefixes, **settings})

    def run_with(self, layer: ChannelLayer, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine, and close the layer."""

        async def limited() -> Any:
            try:
                return await asyncio.wait_for(work, PATIENCE)
            finally:
                await layer.close()

        return asyncio.run(limited())

    def test_to_sockets(self) -> None:
        """What is sent to a group reaches sockets as it is, and those that come later if stored."""
        layer = self.layer(symmetric_encryption_keys=["a"])
        group = gateway_group("broadcast", "to.sock_ets/é")
        path = "/ws/to.sock_ets/%C3%A9?subscribe-broadcast"
        client = self.open(path)

        async def send() -> None:
            await layer.group_send(group, {"type": "websocket.send", "text": "hé"})
            await layer.group_send(group, {"type": "websocket.send", "bytes": b"\xff"})
            message = {"type": "websocket.send", "text": "stored", "expire": 60}
            await layer.group_send(group, message)

        self.run_with(layer, send())
        got = ["hé".encode(), b"\xff", b"stored"]
        self.assertEqual(got, [client.message() for _ in range(3)])
        self.assertEqual(b"stored", self.open(path).message())
        key = "kept:shop:broadcast:to.sock_ets/é".encode()
        self.assertEqual(b"stored", self.redis.command("GET", key))
        self.assertTrue(0 < self.redis.command("TTL", key) <= 60)  # type: ignore[operator]

    def test_from_sockets(self) -> None:
        """A consumer in a group hears what a socket publishes, and what other layers send."""
        layer = self.layer()
        client = self.open("/ws/from-sockets?publish-broadcast")
        group = gateway_group("broadcast", "from-sockets")

        async def hear() -> list[Any]:
            channels = [await layer.new_channel() for _ in range(2)]
            for channel in channels:
                await layer.group_add(group, channel)
            client.send_text("hello")
            got = [await layer.receive(channel) for channel in channels]
            await layer.group_discard(group, channels[0])
            await layer.group_send(group, {"type": "websocket.send", "bytes": b"\xff"})
            return [*got, await layer.receive(channels[1])]

        event = {"type": "gateway.message", "channel": "broadcast:from-sockets"}
        text, data = {**event, "text": "hello"}, {**event, "bytes": b"\xff"}
        self.assertEqual([text, text, data], self.run_with(layer, hear()))

    def test_refused(self) -> None:
        """A message that no socket would understand, and a name with a slip, are errors."""
        layer = self.layer()

        async def refused(group: str, message: dict[str, Any]) -> str:
            try:
                await layer.group_send(group, message)
            except ValueError as error:
                return str(error)
            return ""

        async def errors() -> list[str]:
            text = {"type": "websocket.send", "text": "a"}
            return [
                await refused("ws.user.john", text),
                await refused("ws.user.john.a", {"type": "chat.message"}),
                await refused("ws.room", text),
            ]

        first, second, third = self.run_with(layer, errors())
        self.assertIn("of the form ws.user.USER.FACILITY", first)
        self.assertIn("not 'chat.message'", second)
        self.assertEqual("", third)

    def test_off(self) -> None:
        """A project that has such groups already may keep them."""
        layer = self.layer(gateway_groups=False)

        async def hear() -> Any:
            channel = await layer.new_channel()
            await layer.group_add("ws.user.5", channel)
            await layer.group_send("ws.user.5", {"type": "chat.message"})
            return await layer.receive(channel)

        self.assertEqual({"type": "chat.message"}, self.run_with(layer, hear()))


class InProcessTests(SynchronousTestCase):
    """A channel layer of an application in the process of a gateway, on its connections."""

    skip = missing("redis")

    def test_reactor(self) -> None:
        """All of the layer works without a connection of its own, also after a restart of Redis."""
        self.check("reactor")

    def test_thread(self) -> None:
        """The same, if the application runs in a thread of its own."""
        self.check("thread")

    def check(self, loop: str) -> None:
        """Use all of it."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        gateway = Gateway(
            *("--redis", redis.url, "--asgi", "tests.support.layer_application:application"),
            *("--asgi-loop", loop, "--drain-spread", "0", "--drain", "0"),
            environ={"TEST_REDIS": redis.url},
        )
        self.addCleanup(gateway.stop)
        listener = RawClient.opened(gateway.port, "/ws/out?subscribe-broadcast")
        self.addCleanup(listener.socket.close)
        speaker = RawClient.opened(gateway.port, "/ws/in?publish-broadcast")
        self.addCleanup(speaker.socket.close)
        self.assertEqual(b"started", listener.message())
        speaker.send_text("a socket")
        self.assertEqual(b"gateway.message a socket", listener.message())
        speaker.send_text("sync")
        self.assertEqual(b"from a thread", listener.message())
        self.send(redis.url)
        got = {listener.message(), listener.message()}
        self.assertEqual({b"to.group hello", b"to.worker hello"}, got)
        found = redis.command("CLIENT", "LIST")
        assert isinstance(found, bytes)
        # Those of the gateway, and that which asks.
        self.assertEqual(3, len(found.splitlines()), found)
        redis.kill()
        redis.start()
        self.assertEqual(b"gap", listener.message())
        self.send(redis.url)
        got = {listener.message(), listener.message()}
        self.assertEqual({b"to.group hello", b"to.worker hello"}, got)
        gateway.stop()
        self.assertEqual(b"stopped", redis.command("GET", "broadcast:out"))
        self.assertNotIn("Traceback", gateway.log)

    def test_private_redis(self) -> None:
        """A layer that names no Redis uses the private one of the gateway; others may, too."""
        gateway = Gateway(
            *("--redis", "embedded", "--asgi", "tests.support.layer_application:application"),
            *("--drain-spread", "0", "--drain", "0"),
        )
        self.addCleanup(gateway.stop)
        listener = RawClient.opened(gateway.port, "/ws/out?subscribe-broadcast")
        self.addCleanup(listener.socket.close)
        self.assertEqual(b"started", listener.message())
        self.send(gateway.child.wait_for(r"started a private Redis at (\S+)")[1])
        got = {listener.message(), listener.message()}
        self.assertEqual({b"to.group hello", b"to.worker hello"}, got)

    def test_board(self) -> None:
        """The consumer of the guide hears what plain sockets hear."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        directory = _directory()
        Path(directory, "orders_settings.py").write_text(_SETTINGS.format(url=redis.url))
        Path(directory, "board_asgi.py").write_text(_BOARD)
        path = os.pathsep.join([str(_EXAMPLES.parents[1]), directory, str(_EXAMPLES)])
        gateway = Gateway(
            *("--redis", redis.url, "--asgi", "board_asgi:application"),
            environ={"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "orders_settings"},
        )
        self.addCleanup(gateway.stop)
        staff = RawClient.opened(gateway.port, "/board")
        self.addCleanup(staff.socket.close)
        redis.command("PUBLISH", "group:staff:orders/pizza", "a large one")
        expected = {"channel": "group:staff:orders/pizza", "order": "a large one"}
        self.assertEqual(expected, json.loads(staff.message()))

    def send(self, url: str) -> None:
        """Send to the group and to the worker channel, from another process."""
        layer = ChannelLayer(hosts=[url])

        async def work() -> None:
            await layer.group_send("ordinary", {"type": "to.group", "text": "hello"})
            await layer.send("jobs", {"type": "to.worker", "text": "hello"})
            await layer.close()

        asyncio.run(asyncio.wait_for(work(), PATIENCE))
