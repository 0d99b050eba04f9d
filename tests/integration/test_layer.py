"""The channel layer with a real Redis, in other servers, in workers, threads and forks."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from channels.exceptions import ChannelFull
from twisted.trial.unittest import SynchronousTestCase
from websockets.sync.client import ClientConnection, connect

from tests.support.certificates import Authority
from tests.support.children import PATIENCE, Child, RedisServer, clean_environment, reserve_port
from tests.support.layer import run
from tests.support.require import missing
from wsredis.layer import ChannelLayer

_SITE = "tests.support.layer_site"

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class RedisCase(SynchronousTestCase):
    """A test with a Redis."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Keep the lines about a Redis that is away out of the output."""
        log, quiet = logging.getLogger("wsredis.layer"), logging.NullHandler()
        log.addHandler(quiet)
        self.addCleanup(log.removeHandler, quiet)

    def start_redis(self, *options: str, tcp: bool = False) -> RedisServer:
        """Start a Redis."""
        server = RedisServer(*options, tcp=tcp)
        self.addCleanup(server.stop)
        return server

    def start(self, server: RedisServer, *words: str) -> Child:
        """Start a program of the project."""
        environ = {"LAYER_URL": server.url, "DJANGO_SETTINGS_MODULE": f"{_SITE}.settings"}
        child = Child([sys.executable, *words], env=clean_environment(environ))
        self.addCleanup(child.stop)
        return child

    def script(self, server: RedisServer, text: str) -> Any:
        """Run a program to its end. Returns: What it printed, from JSON."""
        child = self.start(server, "-W", "error", "-c", _PRELUDE + text)
        self.assertEqual(0, child.wait(PATIENCE), child.output)
        return json.loads(child.output)


#: Every program has a layer and a message, and prints nothing but its result.
_PRELUDE = """
import asyncio, json, os, threading
from asgiref.sync import async_to_sync
from wsredis.layer import ChannelLayer
layer = ChannelLayer(hosts=[os.environ["LAYER_URL"]])
message = {"type": "x"}
async def echo(name="g"):
    channel = await layer.new_channel()
    await layer.group_add(name, channel)
    await layer.group_send(name, message)
    return await layer.receive(channel)
"""


class LayerTests(RedisCase):
    """What the Redis in memory of the unit tests only pretends to do."""

    def test_queues(self) -> None:
        """A list has its capacity, and its messages their age, by the clock of Redis."""
        server = self.start_redis()

        async def use() -> None:
            layer = ChannelLayer(hosts=[server.url], capacity=2, expiry=0.2)
            await layer.send("jobs", {"type": "a"})
            await layer.send("jobs", {"type": "b"})
            with self.assertRaises(ChannelFull):
                await layer.send("jobs", {"type": "c"})
            self.assertEqual("a", (await layer.receive("jobs"))["type"])
            await asyncio.sleep(0.25)
            # It was too old, and is no longer in the way.
            await layer.send("jobs", {"type": "d"})
            await layer.send("jobs", {"type": "e"})
            self.assertEqual("d", (await layer.receive("jobs"))["type"])
            await layer.group_add("g", "mail")
            await layer.group_send("g", {"type": "f"})
            self.assertEqual("f", (await layer.receive("mail"))["type"])
            await layer.flush()
            self.assertEqual([], server.command("KEYS", "*"))

        run(use())

    def test_databases(self) -> None:
        """Projects in two databases of one Redis do not hear each other."""
        server = self.start_redis()

        async def use() -> None:
            first, second = (ChannelLayer(hosts=[f"{server.url}?db={number}"]) for number in (0, 1))
            channels = [(layer, await layer.new_channel()) for layer in (first, second)]
            for layer, channel in channels:
                await layer.group_add("g", channel)
            await first.group_send("g", {"type": "first"})
            await second.group_send("g", {"type": "second"})
            found = [(await layer.receive(channel))["type"] for layer, channel in channels]
            self.assertEqual(["first", "second"], found)

        run(use())

    def test_login(self) -> None:
        """A password and a port work in all forms."""
        server = self.start_redis("--requirepass", "se/cret", tcp=True)
        for host in (
            f"redis://:se%2Fcret@127.0.0.1:{server.port}/1",
            {"host": "127.0.0.1", "port": server.port, "password": "se/cret", "db": 1},
            {"address": f"redis://127.0.0.1:{server.port}/1", "password": "se/cret"},
        ):

            async def use(host: Any = host) -> Any:
                layer = ChannelLayer(hosts=[host])
                channel = await layer.new_channel()
                await layer.group_add("g", channel)
                await layer.group_send("g", {"type": "x"})
                return await layer.receive(channel)

            self.assertEqual({"type": "x"}, run(use()))
        with self.assertRaises(OSError) as caught:
            run(ChannelLayer(hosts=[("127.0.0.1", server.port)]).group_send("g", {"type": "x"}))
        self.assertIn("NOAUTH", str(caught.exception))

    def test_tls(self) -> None:
        """With TLS messages of any size pass, and a certificate of a stranger is refused."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority = Authority(folder)
        key, certificate = authority.issue()
        port = reserve_port(self)
        files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
        self.start_redis("--tls-port", str(port), *files, "--tls-auth-clients", "no")
        address = f"rediss://localhost:{port}"

        async def use(host: Any) -> Any:
            layer = ChannelLayer(hosts=[host])
            channel = await layer.new_channel()
            await layer.group_add("g", channel)
            large = {"type": "x", "data": b"\xff" * 2_000_000}
            for number in range(50):
                await layer.group_send("g", {"type": "x", "number": number})
            await layer.group_send("g", large)
            numbers = [(await layer.receive(channel))["number"] for _ in range(50)]
            self.assertEqual([*range(50)], numbers)
            self.assertEqual(large, await layer.receive(channel))

        run(use({"address": address, "ssl_ca_certs": str(authority.path)}))
        run(use(f"{address}?ssl_cert_reqs=none"))
        with self.assertRaises(OSError) as caught:
            run(use(address))
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(caught.exception))

    def test_large(self) -> None:
        """A message of some megabytes passes, and many small ones that are sent at once."""
        server = self.start_redis()

        async def use() -> None:
            layer = ChannelLayer(hosts=[server.url], capacity=5000)
            channel = await layer.new_channel()
            await layer.group_add("g", channel)
            large = {"type": "x", "data": b"\xff" * 5_000_000}
            await layer.group_send("g", large)
            self.assertEqual(large, await layer.receive(channel))
            numbers = range(3000)
            await asyncio.gather(*[layer.group_send("g", {"type": "x", "n": n}) for n in numbers])
            found = [(await layer.receive(channel))["n"] for _ in numbers]
            self.assertEqual([*numbers], found)

        run(use())


class ProcessTests(RedisCase):
    """Threads, loops and forks, each in a program of its own."""

    def test_synchronous(self) -> None:
        """Synchronous code makes no connection for a call, from whatever number of threads."""
        server = self.start_redis()
        found = self.script(
            server,
            """
def send():
    for _ in range(25):
        async_to_sync(layer.group_send)("g", message)
threads = [threading.Thread(target=send) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for _ in range(25):
    asyncio.run(layer.send("jobs", message))
print(json.dumps(async_to_sync(layer.receive)("jobs")))
""",
        )
        self.assertEqual({"type": "x"}, found)
        info: Any = server.command("INFO", "stats")
        # One for commands, one for publications, and the one that asks for this.
        self.assertEqual(3, info["total_connections_received"])

    def test_loops(self) -> None:
        """Several loops in threads work at the same time, also when the first one ends."""
        server = self.start_redis()
        found = self.script(
            server,
            """
results = []
def work(name):
    async def main():
        for _ in range(20):
            results.append(await echo(name))
    asyncio.run(asyncio.wait_for(main(), 30))
threads = [threading.Thread(target=work, args=(f"g{number}",)) for number in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(results))
""",
        )
        self.assertEqual(100, found)
        info: Any = server.command("INFO", "stats")
        self.assertEqual(3, info["total_connections_received"])

    def test_uvloop(self) -> None:
        """It works in loops of uvloop."""
        server = self.start_redis()
        found = self.script(
            server, "import uvloop\nprint(json.dumps([uvloop.run(echo()), uvloop.run(echo())]))"
        )
        self.assertEqual([{"type": "x"}] * 2, found)

    def test_prefork(self) -> None:
        """
        Workers that are forked after the layer was used have connections and names of their own.

        So it is in Celery, in gunicorn, and in multiprocessing inside a loop.
        """
        server = self.start_redis()
        found = self.script(
            server,
            """
import multiprocessing
fork = multiprocessing.get_context("fork")
async_to_sync(layer.group_send)("g", message)
first = asyncio.run(echo())
def work(pipe):
    async_to_sync(layer.group_send)("g", message)
    pipe.send([layer.client_prefix, asyncio.run(echo()), os.getpid()])
def prefork(number):
    pipes = [fork.Pipe() for _ in range(number)]
    children = [fork.Process(target=work, args=(theirs,)) for _, theirs in pipes]
    for child in children:
        child.start()
    found = [ours.recv() for ours, _ in pipes]
    for child in children:
        child.join()
    return found
async def inside():
    channel = await layer.new_channel()
    await layer.group_add("h", channel)
    found = await asyncio.to_thread(prefork, 2)
    # The connections of this process are what they were.
    await layer.group_send("h", message)
    return found, await layer.receive(channel)
found = prefork(3)
more, last = asyncio.run(inside())
names = {name for name, _, _ in found + more} | {layer.client_prefix}
print(json.dumps([first, last, len(names), [each for _, each, _ in found + more]]))
""",
        )
        message = {"type": "x"}
        self.assertEqual([message, message, 6, [message] * 5], found)

    def test_restarted(self) -> None:
        """A program without a loop sends again after Redis was away, and is told meanwhile."""
        server = self.start_redis()
        layer = ChannelLayer(hosts=[server.url])
        run(layer.send("a", {"type": "x"}))
        server.kill()
        for _ in range(2):
            with self.assertRaises(OSError):
                run(layer.send("a", {"type": "x"}))
        server.start()

        async def again() -> None:
            while True:
                try:
                    await layer.send("a", {"type": "x"})
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    return

        run(again())
        # Without anybody who has noticed.
        server.kill()
        server.start()
        run(layer.send("a", {"type": "x"}))


class ExampleTests(RedisCase):
    """The consumer of the documentation."""

    def test_chat(self) -> None:
        """Both hear what one says, and after a gap each gets the history."""
        server = self.start_redis()
        found = self.script(
            server,
            f"""
import sys
sys.path.insert(0, {str(_EXAMPLES)!r})
import django
django.setup()
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from channel_layer import ChatConsumer
async def chat():
    found = []
    clients = [WebsocketCommunicator(ChatConsumer.as_asgi(), "/") for _ in range(2)]
    for client in clients:
        await client.connect()
        found.append(await client.receive_json_from())
    await clients[0].send_json_to({{"text": "Hello"}})
    found += [await client.receive_json_from() for client in clients]
    get_channel_layer()._station.gap(1.0)
    found += [await client.receive_json_from() for client in clients]
    for client in clients:
        await client.disconnect()
    return found
print(json.dumps(asyncio.run(chat())))
""",
        )
        empty, hello, history = {"history": []}, {"text": "Hello"}, {"history": ["Hello"]}
        self.assertEqual([empty, empty, hello, hello, history, history], found)


class ServerTests(RedisCase):
    """A project in other servers, with workers."""

    def connect(self, port: str, path: str = "/") -> ClientConnection:
        """Enter the room."""
        url = f"ws://127.0.0.1:{port}{path}"
        client: ClientConnection = self.enterContext(connect(url, open_timeout=PATIENCE))
        return client

    def hear(self, *clients: ClientConnection) -> list[str | bytes]:
        """What each hears next."""
        return [client.recv(PATIENCE) for client in clients]

    def test_servers(self) -> None:
        """
        In uvicorn and Daphne all hear what one says, workers do each job once, gaps are told.
        """
        server = self.start_redis()
        uvicorn = self.start(server, "-m", "uvicorn", "--port", "0", f"{_SITE}.asgi:application")
        daphne = self.start(server, "-m", "daphne", "-p", "0", f"{_SITE}.asgi:application")
        workers = [self.start(server, "-m", "django", "runworker", "jobs") for _ in range(2)]
        one = uvicorn.wait_for(r"running on \S+:(\d+)")[1]
        two = daphne.wait_for(r"Listening on TCP address \S+:(\d+)")[1]
        clients = [self.connect(port, path) for port in (one, two) for path in ("/", "/sync")]
        for number, client in enumerate(clients):
            client.send(f"say {number}")
            self.assertEqual([str(number)] * 4, self.hear(*clients))

        for number in range(20):
            clients[number % 2 * 2].send(f"job {number}")
        answers = [str(clients[number % 2 * 2].recv(PATIENCE)) for number in range(20)]
        self.assertEqual([*range(20)], sorted(int(each.split(" by ")[0]) for each in answers))
        pids = {each.split(" by ")[1] for each in answers}
        self.assertLessEqual(pids, {str(worker.pid) for worker in workers})

        server.kill()
        server.start()
        hearing = (clients[0], clients[2])
        self.assertEqual(["gap", "gap"], self.hear(*hearing))
        for _ in range(2):
            clients[2].send("say again")
            self.assertEqual(["again", "again"], self.hear(*hearing))
        clients[0].send("job 1")
        self.assertIn("1 by ", str(clients[0].recv(PATIENCE)))
