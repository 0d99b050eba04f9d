"""What applications do with asyncio, in a loop inside the real reactor and in a thread."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import httpx
import redis.asyncio
from asgiref.sync import async_to_sync, sync_to_async
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.support.certificates import Authority
from tests.support.children import PATIENCE, RedisServer
from tests.support.require import missing
from wsredis.config import AsgiConfig
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi.link import make_link

reactor: Any = _reactor

_variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

Call = Coroutine[Any, Any, Any]


class LoopCase(TestCase):
    """Coroutines that run as calls of an application do."""

    timeout = PATIENCE
    mode = "reactor"

    def setUp(self) -> None:
        """Start the loop."""
        self.metrics = Metrics()
        # The machine of the tests may be slow, and that is not their subject.
        self.link = make_link(reactor, AsgiConfig(loop=self.mode, slow=60.0), self.metrics)
        self.link.start()
        self.addCleanup(self.link.stop)

    def run_in_loop(self, call: Call) -> Deferred[Any]:
        """Run it. The Deferred fires with its result."""
        result: Deferred[Any] = Deferred()
        kept: list[Any] = []

        async def run() -> None:
            kept.append(await call)

        def done(error: BaseException | None) -> None:
            if error is None:
                result.callback(kept[0])
            else:
                result.errback(error)

        self.link.spawn("test", run(), done)
        return result


def in_loop(function: Callable[[Any], Call]) -> Callable[[Any], Deferred[Any]]:
    """Make a test of a coroutine."""

    def test(self: Any) -> Deferred[Any]:
        return self.run_in_loop(function(self))

    test.__name__, test.__doc__ = function.__name__, function.__doc__
    return test


class Features:
    """The features of asyncio."""

    @in_loop
    async def test_streams(self: Any) -> None:
        """A server and a client of TCP, which wait for each other when buffers are full."""

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def client(byte: bytes) -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(byte * 4_000_000)
            writer.write_eof()
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
            return data.count(byte)

        counts = await asyncio.gather(client(b"a"), client(b"b"), client(b"c"))
        self.assertEqual([4_000_000] * 3, counts)
        server.close()
        await server.wait_closed()

    @in_loop
    async def test_refused(self: Any) -> None:
        """A connection that is refused raises, and so does one to a name that does not exist."""
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            for _ in range(2):
                with self.assertRaises(ConnectionRefusedError):
                    await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])
        with self.assertRaises(OSError):
            await asyncio.open_unix_connection("/nonexistent/socket")
        with self.assertRaises(socket.gaierror):
            await asyncio.get_running_loop().getaddrinfo("name.invalid", 80)

    @in_loop
    async def test_reset(self: Any) -> None:
        """A peer that resets its connection is noticed by one that reads and one that writes."""

        async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            writer.transport.abort()

        server = await asyncio.start_server(reset, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        with self.assertRaises(ConnectionResetError):
            await reader.readexactly(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        with self.assertRaises(ConnectionError):
            while True:
                writer.write(b"y" * 65536)
                await writer.drain()
                await asyncio.sleep(0)
        server.close()

    @in_loop
    async def test_unix(self: Any) -> None:
        """A server and a client of a UNIX socket."""
        path = os.path.join(os.path.relpath(self.mktemp()))

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        server = await asyncio.start_unix_server(greet, path)
        reader, writer = await asyncio.open_unix_connection(path)
        self.assertEqual(b"hello", await reader.read())
        writer.close()
        server.close()

    @in_loop
    async def test_datagrams(self: Any) -> None:
        """UDP."""
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                got.set_result(data)

        loop = asyncio.get_running_loop()
        receiver, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        address = receiver.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=address
        )
        sender.sendto(b"datagram")
        self.assertEqual(b"datagram", await got)
        sender.close()
        receiver.close()

    @in_loop
    async def test_tls(self: Any) -> None:
        """Streams with TLS."""
        directory = Path(self.mktemp())
        directory.mkdir()
        authority = Authority(directory)

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"x" * 300_000)
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=authority.server())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            server.sockets[0].getsockname()[1],
            ssl=authority.client(),
            server_hostname="localhost",
        )
        self.assertEqual(300_000, len(await reader.read()))
        writer.close()
        server.close()

    @in_loop
    async def test_sendfile(self: Any) -> None:
        """A file that the kernel sends."""
        path = Path(self.mktemp())
        path.write_bytes(b"x" * 1_000_000)

        async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with path.open("rb") as file:
                await asyncio.get_running_loop().sendfile(writer.transport, file)
            writer.close()

        server = await asyncio.start_server(send, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        self.assertEqual(1_000_000, len(await reader.read()))
        writer.close()
        server.close()

    @in_loop
    async def test_subprocesses(self: Any) -> None:
        """Programs that are written to, read from, and killed; their ends are told."""
        pipe = subprocess.PIPE

        async def cat(number: int) -> bytes:
            process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
            output, _ = await process.communicate(b"%d" % number * 100_000)
            self.assertEqual(0, process.returncode)
            return output[:1]

        self.assertEqual([b"0", b"1", b"2"], await asyncio.gather(*map(cat, range(3))))
        process = await asyncio.create_subprocess_shell("exit 3")
        self.assertEqual(3, await process.wait())
        process = await asyncio.create_subprocess_exec("sleep", "3600")
        process.kill()
        self.assertEqual(-9, await process.wait())
        with self.assertRaises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/nonexistent/program")

    @in_loop
    async def test_pipes(self: Any) -> None:
        """The end of a pipe is told to its reader, and to its writer."""
        loop = asyncio.get_running_loop()
        out, into = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(out, "rb", 0)
        )
        os.write(into, b"last words")
        os.close(into)
        self.assertEqual(b"last words", await reader.read())
        transport.close()

        out, into = os.pipe()
        lost = loop.create_future()

        class Writer(asyncio.BaseProtocol):
            def connection_lost(self, reason: Exception | None) -> None:
                lost.set_result(reason)

        await loop.connect_write_pipe(Writer, os.fdopen(into, "wb", 0))
        os.close(out)
        self.assertIn(type(await lost), (type(None), BrokenPipeError))

    @in_loop
    async def test_pidfd(self: Any) -> None:
        """The descriptor of a process tells its end."""
        loop = asyncio.get_running_loop()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            ended = loop.create_future()
            descriptor = os.pidfd_open(process.pid)
            loop.add_reader(descriptor, ended.set_result, True)
            process.stdin.close()  # type: ignore[union-attr]
            await ended
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self.assertEqual(0, process.wait(PATIENCE))

    @in_loop
    async def test_descriptors(self: Any) -> None:
        """Readers and writers of one descriptor; a file is refused, as in any loop."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            writable, readable = loop.create_future(), loop.create_future()
            loop.add_writer(ours, lambda: writable.done() or writable.set_result(None))
            loop.add_reader(ours, lambda: readable.done() or readable.set_result(None))
            await writable
            self.assertFalse(readable.done())
            self.assertTrue(loop.remove_writer(ours))
            theirs.send(b"x")
            await readable
            self.assertTrue(loop.remove_reader(ours))
            self.assertFalse(loop.remove_reader(ours))
            await loop.sock_sendall(ours, b"y" * 10)
            theirs.setblocking(False)
            self.assertEqual(b"y" * 10, await loop.sock_recv(theirs, 100))
        with Path(__file__).open() as file, self.assertRaises(PermissionError):
            loop.add_reader(file, print)

    @in_loop
    async def test_threads(self: Any) -> None:
        """Calls to threads, and from threads."""
        loop = asyncio.get_running_loop()
        here = threading.get_ident()
        self.assertNotEqual(here, await loop.run_in_executor(None, threading.get_ident))
        _variable.set("of the task")
        self.assertEqual("of the task", await asyncio.to_thread(_variable.get))

        def thread() -> int:
            future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, 5), loop)
            return future.result(PATIENCE)

        called = [asyncio.to_thread(thread) for _ in range(8)]
        self.assertEqual([5] * 8, await asyncio.gather(*called))
        event = asyncio.Event()
        threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,)).start()
        await event.wait()

    @in_loop
    async def test_own_loop(self: Any) -> None:
        """A thread may have a loop of its own, and a second one here is refused."""
        self.assertEqual(7, await asyncio.to_thread(asyncio.run, asyncio.sleep(0, 7)))
        refused = asyncio.sleep(0)
        with self.assertRaises(RuntimeError):
            asyncio.run(refused)
        refused.close()

    @in_loop
    async def test_timeouts(self: Any) -> None:
        """Timeouts, and timers in their order."""
        with self.assertRaises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        with self.assertRaises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay / 100, order.append, delay)
        began = loop.time()
        await asyncio.sleep(0.05)
        self.assertEqual([1, 2, 3], order)
        self.assertGreaterEqual(loop.time() - began, 0.05)

    @in_loop
    async def test_groups(self: Any) -> None:
        """Task groups cancel the others when one fails."""
        ends: list[str] = []

        async def other() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ends.append("cancelled")

        async def failing() -> None:
            await asyncio.sleep(0)
            raise KeyError("x")

        with self.assertRaises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(other())
                group.create_task(failing())
        self.assertEqual(["cancelled"], ends)

    @in_loop
    async def test_context(self: Any) -> None:
        """A context variable of one task is not seen by another, nor by the gateway."""

        async def set_it(value: str) -> str:
            _variable.set(value)
            await asyncio.sleep(0)
            return _variable.get()

        self.assertEqual(["a", "b"], await asyncio.gather(set_it("a"), set_it("b")))
        self.assertEqual("unset", _variable.get())

    @in_loop
    async def test_many_tasks(self: Any) -> None:
        """Ten thousand tasks that wake each other."""
        queue: asyncio.Queue[int] = asyncio.Queue(10)

        async def put(number: int) -> None:
            await queue.put(number)

        tasks = [asyncio.create_task(put(number)) for number in range(10_000)]
        got = [await queue.get() for _ in tasks]
        self.assertEqual(10_000, len({*got}))

    def test_unhandled(self: Any) -> Deferred[None]:
        """A task that fails and that nobody waits for is logged, and the others go on."""

        async def failing() -> None:
            raise KeyError("x")

        async def call() -> None:
            task = asyncio.create_task(failing())
            await asyncio.wait([task])

        def check(_: object) -> None:
            self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

        def later(_: object) -> Deferred[None]:
            # The report comes by way of the reactor, too.
            return deferLater(reactor, 0, check, None)

        return self.run_in_loop(call()).addCallback(later)


class Libraries:
    """Libraries on top of asyncio."""

    @in_loop
    async def test_httpx(self: Any) -> None:
        """A client of HTTP, several requests at a time."""

        served: list[Any] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            served.append(asyncio.current_task())
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = "http://127.0.0.1:{1}/".format(*server.sockets[0].getsockname())
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(5)))
        self.assertEqual(["hello"] * 5, [each.text for each in answers])
        server.close()
        await asyncio.gather(*served)

    @in_loop
    async def test_anyio(self: Any) -> None:
        """Task groups, cancel scopes, threads and streams of anyio."""
        send, receive = anyio.create_memory_object_stream[int](0)
        got: list[int] = []

        async def produce() -> None:
            async with send:
                for number in range(3):
                    await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                async for number in receive:
                    got.append(number)
        self.assertEqual([0, 1, 2], got)
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep(3600)
        self.assertTrue(scope.cancelled_caught)

        def thread() -> int:
            return anyio.from_thread.run(anyio.sleep, 0) or 3

        self.assertEqual(3, await anyio.to_thread.run_sync(thread))

    def test_anyio_threads(self: Any) -> Deferred[None]:
        """The threads of anyio, which FastAPI uses, stay for the next request."""
        used: list[int] = []

        async def call() -> None:
            used.append(await anyio.to_thread.run_sync(threading.get_ident))

        def check(_: object) -> None:
            self.assertEqual((3, 1), (len(used), len({*used})))

        first = self.run_in_loop(call())
        for _ in range(2):
            first.addCallback(lambda _: self.run_in_loop(call()))
        return first.addCallback(check)

    @in_loop
    async def test_asgiref(self: Any) -> None:
        """Synchronous code in its one thread, and asynchronous code that it calls here."""
        here = threading.get_ident()

        def synchronous() -> tuple[int, int]:
            async def asynchronous() -> int:
                await asyncio.sleep(0)
                return threading.get_ident()

            return threading.get_ident(), async_to_sync(asynchronous)()

        called = [sync_to_async(synchronous)() for _ in range(5)]
        results = await asyncio.gather(*called)
        threads = {thread for thread, _ in results}
        # The code of Django that is not safe for threads has one thread.
        self.assertEqual(1, len(threads))
        self.assertNotIn(here, threads)
        # What it calls runs in this loop.
        self.assertEqual({here}, {loop for _, loop in results})
        free = sync_to_async(threading.get_ident, thread_sensitive=False)
        self.assertNotIn(await free(), {here})
        with self.assertRaises(RuntimeError):
            async_to_sync(free)()


class RedisFeatures:
    """redis.asyncio."""

    @in_loop
    async def test_redis(self: Any) -> None:
        """Commands, a pipeline, subscriptions, and a blocking command."""
        async with redis.asyncio.from_url(self.redis.url) as client:
            async with client.pipeline() as pipeline:
                for number in range(100):
                    pipeline.incrby("number", number)
                answers = await pipeline.execute()
            self.assertEqual(4950, answers[-1])
            async with client.pubsub() as pubsub:
                await pubsub.subscribe("channel")
                await client.publish("channel", "hello")
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        break
                self.assertEqual(b"hello", message["data"])
            waiting = asyncio.create_task(client.blpop("list", timeout=PATIENCE))
            await client.rpush("list", "x")
            self.assertEqual((b"list", b"x"), tuple(await waiting))
            await client.delete("number")


class TurnsFeatureTests(Features, LoopCase):
    """asyncio in the reactor's thread."""

    def test_fair(self) -> Deferred[None]:
        """The reactor has its turns while the application always has something to do."""
        turns: list[None] = []
        working = True

        def tick() -> None:
            turns.append(None)
            if working:
                reactor.callLater(0, tick)

        async def busy() -> None:
            for _ in range(50):
                end = time.perf_counter() + 0.001
                while time.perf_counter() < end:
                    pass
                await asyncio.sleep(0)

        def check(_: object) -> None:
            nonlocal working
            working = False
            # 50 steps of a millisecond, in turns of two.
            self.assertGreater(len(turns), 15)

        tick()
        return self.run_in_loop(busy()).addCallback(check)

    def test_reactor_and_loop(self) -> Deferred[None]:
        """A callback of the reactor may set a future of the loop, and nobody sleeps over it."""
        future = self.link.loop.create_future()
        reactor.callLater(0.01, future.set_result, None)

        async def wait() -> None:
            await future

        return self.run_in_loop(wait())

    def test_not_asynchronous(self) -> None:
        """The gateway's own code is not in a running loop: Django's guards let it pass."""
        self.assertRaises(RuntimeError, asyncio.get_running_loop)


class BridgeFeatureTests(Features, LoopCase):
    """asyncio in a thread."""

    mode = "thread"


class TurnsLibraryTests(Libraries, LoopCase):
    """Libraries in the reactor's thread."""


class BridgeLibraryTests(Libraries, LoopCase):
    """Libraries in a thread."""

    mode = "thread"


class TurnsRedisTests(RedisFeatures, LoopCase):
    """Redis in the reactor's thread."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start a Redis."""
        super().setUp()
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
