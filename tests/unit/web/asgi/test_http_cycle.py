"""Tests of one call of an application: events in, bytes out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.websocket.head import parse
from wsredis.web.asgi.events import ClientDisconnected
from wsredis.web.asgi.http_cycle import WINDOW, HttpCycle, Step
from wsredis.web.asgi.http_request import Headers, Request
from wsredis.web.asgi.scopes import Place, Whereabouts

_WHERE = Whereabouts(("192.0.2.1", 5), ("192.0.2.2", 80), False, None)


class _Side:
    """The gateway's side: it remembers what it is told."""

    def __init__(self) -> None:
        self.keeps = True
        self.date = b"Date: now\r\n"
        self.told: list[Any] = []

    def go_on(self, cycle: HttpCycle) -> None:
        self.told.append("continue")

    def body_taken(self, cycle: HttpCycle, size: int) -> None:
        self.told.append(size)

    def write(self, cycle: HttpCycle) -> None:
        self.told.append(cycle.take())

    def ended(self, cycle: HttpCycle, error: BaseException | None) -> None:
        self.told.append(error)

    def finish(self, cycle: HttpCycle, data: bytes, is_last: bool) -> None:
        self.told += [data, is_last]


class _Link:
    """A link between two sides in one thread, with no turn between them."""

    def to_gateway(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)


class CycleCase(SynchronousTestCase):
    """A cycle that the test drives."""

    def setUp(self) -> None:
        """Make a loop."""
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self._close)
        self.side = _Side()

    def _close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle()
        self.loop.close()

    def cycle(
        self,
        line: str = "GET / HTTP/1.1",
        *headers: str,
        body: bytes = b"",
        has_more: bool = False,
    ) -> HttpCycle:
        """Make a cycle for this request."""
        raw = "\r\n".join([line, "Host: x", *headers, "", ""]).encode()
        found = parse(raw, 9999)
        known = Headers(found, b"", _WHERE, Place(), 10**9)
        request = Request(known, raw, found.method, found.target)
        link: Any = _Link()
        return HttpCycle(link, self.side, request, body, has_more)

    def step(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run a coroutine as far as it comes by itself."""

        async def main() -> asyncio.Task[Any]:
            task = asyncio.ensure_future(coroutine)
            for _ in range(5):
                await asyncio.sleep(0)
            return task

        return self.loop.run_until_complete(main())

    def settle(self) -> None:
        """Run what can run."""
        self.step(asyncio.sleep(0))

    def result(self, coroutine: Any) -> Any:
        """Run a coroutine that does not wait."""
        task = self.step(coroutine)
        self.assertTrue(task.done())
        return task.result()

    def waits(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run a coroutine that waits."""
        task = self.step(coroutine)
        self.assertFalse(task.done())
        return task

    def send(self, cycle: HttpCycle, *events: Any) -> list[Any]:
        """Send events that do not wait; return what the other side hears."""
        self.side.told = []
        for event in events:
            self.result(cycle.send(event))
        return self.side.told

    def fails(self, cycle: HttpCycle, kind: Any, event: Any) -> str:
        """An event raises, and nothing is sent. Returns: The text."""
        before = [*self.side.told]
        error = self.assertRaises(kind, self.result, cycle.send(event))
        self.assertEqual(before, self.side.told)
        return str(error)


def start(status: int = 200, *headers: Any, **more: Any) -> dict[str, Any]:
    """The event that begins an answer."""
    return {"type": "http.response.start", "status": status, "headers": [*headers], **more}


def body(data: bytes = b"", **more: Any) -> dict[str, Any]:
    """The event with a part of its body."""
    return {"type": "http.response.body", "body": data, **more}


class AnswerTests(CycleCase):
    """What is sent."""

    def test_whole(self) -> None:
        """Head and body go together; a length is added if the application gave none."""
        for headers in ((), ((b"Content-Length", b"2"),)):
            self.assertEqual(
                [b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nhi", False],
                self.send(self.cycle(), start(200, *headers), body(b"hi")),
            )

    def test_defaults(self) -> None:
        """Body, headers and more_body may be missing."""
        told = self.send(
            self.cycle(),
            {"type": "http.response.start", "status": 404},
            {"type": "http.response.body"},
        )
        self.assertEqual(
            b"HTTP/1.1 404 Not Found\r\nDate: now\r\nContent-Length: 0\r\n\r\n", told[0]
        )

    def test_chunks(self) -> None:
        """A body of unknown length is sent in chunks; an empty part is no chunk."""
        told = self.send(
            self.cycle(),
            start(200, (b"transfer-encoding", b"identity")),
            body(b"a" * 20, more_body=True),
            body(more_body=True),
            body(b"b"),
        )
        head = b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(
            [head + b"14\r\n" + b"a" * 20 + b"\r\n", b"1\r\nb\r\n0\r\n\r\n", False], told
        )
        told = self.send(self.cycle(), start(), body(more_body=True), body())
        self.assertEqual([head, b"0\r\n\r\n", False], told)

    def test_old(self) -> None:
        """For HTTP/1.0 the end of the connection is the end of the body."""
        self.side.keeps = False
        told = self.send(
            self.cycle("GET / HTTP/1.0"), start(), body(b"a", more_body=True), body(b"b")
        )
        head = b"HTTP/1.1 200 OK\r\nDate: now\r\nConnection: close\r\n\r\n"
        self.assertEqual([head + b"a", b"b", True], told)

    def test_no_body(self) -> None:
        """HEAD, 204 and 304 have no body, whatever the application sends; a length may stay."""
        for line, status, headers, length in (
            ("HEAD / HTTP/1.1", 200, [], b""),
            ("HEAD / HTTP/1.1", 200, [(b"content-length", b"9")], b"Content-Length: 9\r\n"),
            ("GET / HTTP/1.1", 304, [(b"content-length", b"9")], b"Content-Length: 9\r\n"),
            ("GET / HTTP/1.1", 204, [(b"content-length", b"9")], b""),
            ("GET / HTTP/1.1", 204, [], b""),
        ):
            for parts in ([body(b"abc")], [body(b"a", more_body=True), body(b"b")]):
                told = self.send(self.cycle(line), start(status, *headers), *parts)
                data = b"".join(each for each in told if isinstance(each, bytes))
                head, end, rest = data.partition(b"\r\n\r\n")
                self.assertEqual(length, (head + end)[data.index(b"now") + 5 : -2], line)
                self.assertEqual(b"", rest)

    def test_close(self) -> None:
        """The connection ends if the application, the client or the gateway wants it."""
        told = self.send(self.cycle(), start(200, (b"connection", b"close")), body())
        self.assertTrue(told[-1])
        self.assertEqual(1, told[0].count(b"Connection: close\r\n"))
        self.side.keeps = False
        told = self.send(self.cycle(), start(200, (b"connection", b"keep-alive")), body())
        self.assertTrue(told[-1])
        self.assertNotIn(b"keep-alive", told[0])

    def test_date(self) -> None:
        """A Date of the application's own stays."""
        told = self.send(self.cycle(), start(200, (b"date", b"then")), body())
        self.assertEqual(1, told[0].lower().count(b"date:"))
        self.assertIn(b"date: then\r\n", told[0])

    def test_wrong_length(self) -> None:
        """A body that is longer or shorter than its length raises out of send."""
        for size, parts in ((1, [b"ab"]), (3, [b"ab"]), (3, [b"ab", b"cd"]), (3, [b"ab", b""])):
            cycle = self.cycle()
            *first, last = parts
            self.send(cycle, start(200, (b"content-length", b"%d" % size)))
            for each in first:
                self.send(cycle, body(each, more_body=True))
            self.assertIn("content-length", self.fails(cycle, RuntimeError, body(last)))
            self.assertNotEqual(Step.ALL, cycle.step)

    def test_order(self) -> None:
        """An event that may not come now raises, with the one that was expected."""
        cycle = self.cycle()
        self.assertIn("start was expected", self.fails(cycle, RuntimeError, body()))
        self.send(cycle, start())
        self.assertIn("body was expected", self.fails(cycle, RuntimeError, start()))
        self.assertIn("body", self.fails(cycle, RuntimeError, {"type": "http.response.trailers"}))
        self.assertIn("body", self.fails(cycle, RuntimeError, {"type": "websocket.send"}))
        self.send(cycle, body())
        for event in (start(), body(), {"type": "http.response.early_hint", "links": []}):
            self.assertIn("after the end", self.fails(cycle, RuntimeError, event))

    def test_malformed(self) -> None:
        """What is malformed raises, and the answer can still be another one."""
        cycle = self.cycle()
        for event in (None, {}, {"type": 1}, start("200"), start(200, ("a", "b"))):  # type: ignore[arg-type]
            self.fails(cycle, TypeError, event)
        self.fails(cycle, ValueError, start(200, (b"a", b"b\r\nc: d")))
        self.send(cycle, start())
        self.fails(cycle, TypeError, {"type": "http.response.body", "body": "text"})
        self.assertEqual(2, len(self.send(cycle, body(bytearray(b"x")))))  # type: ignore[arg-type]

    def test_large(self) -> None:
        """The bytes of a large body are not copied."""
        data = bytes(WINDOW + 1)
        told = self.send(self.cycle(), start(), body(data))
        self.assertEqual(3, len(told))
        self.assertIs(data, told[1])

    def test_window(self) -> None:
        """Send waits while too much is on its way, and goes on when some of it has gone."""
        cycle = self.cycle()
        self.send(cycle, start(), body(b"x" * 60000, more_body=True))
        sending = self.waits(cycle.send(body(b"x" * 60000, more_body=True)))
        cycle.sent(50000)
        self.settle()
        self.assertFalse(sending.done())
        cycle.sent(50000)
        self.settle()
        self.assertTrue(sending.done())
        self.send(cycle, body(b"x" * 60000))

    def test_left(self) -> None:
        """When the client has gone, whoever waits is told, and send raises a kind of OSError."""
        cycle = self.cycle()
        self.send(cycle, start())
        sending = self.waits(cycle.send(body(bytes(WINDOW), more_body=True)))
        cycle.left()
        self.settle()
        self.assertIsInstance(sending.exception(), ClientDisconnected)
        self.fails(cycle, ClientDisconnected, body())

    def test_hints(self) -> None:
        """Hints go before the head, also after the begin of the answer, and later to nobody."""
        hint = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
        data = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
        cycle = self.cycle()
        self.assertEqual([data], self.send(cycle, hint))
        self.assertEqual([data], self.send(cycle, start(), hint))
        self.assertEqual(1, len(self.send(cycle, body(b"a", more_body=True), hint)))
        old = self.cycle("GET / HTTP/1.0")
        self.assertEqual([], self.send(old, start(), hint))

    def test_trailers(self) -> None:
        """Trailers end an answer in chunks; a client that did not ask for them gets none."""
        events = (
            start(trailers=True),
            body(b"a"),
            {"type": "http.response.trailers", "headers": [(b"b", b"1")], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [(b"c", b"2"), (b"date", b"x")]},
        )
        told = self.send(self.cycle("GET / HTTP/1.1", "TE: trailers"), *events)
        self.assertEqual([b"0\r\nb: 1\r\nc: 2\r\n\r\n", False], told[1:])
        self.assertIn(b"Transfer-Encoding: chunked", told[0])
        self.assertTrue(told[0].endswith(b"1\r\na\r\n"))
        told = self.send(self.cycle(), *events)
        self.assertEqual([b"0\r\n\r\n", False], told[1:])
        told = self.send(self.cycle("HEAD / HTTP/1.1", "TE: trailers"), *events)
        self.assertEqual([b"", False], told[1:])
        cycle = self.cycle()
        self.send(cycle, *events[:2])
        self.assertIn("trailers was expected", self.fails(cycle, RuntimeError, body()))


class FileTests(CycleCase):
    """Files."""

    def setUp(self) -> None:
        """Make a file."""
        super().setUp()
        self.path = self.mktemp()
        self.content = os.urandom(200_000)
        with open(self.path, "wb") as file:
            file.write(self.content)

    def answer(self, event: dict[str, Any], *more: dict[str, Any], line: str = "GET") -> bytes:
        """Send a file to a client that takes everything; return the answer."""
        cycle = self.cycle(f"{line} / HTTP/1.1")
        self.send(cycle, start())

        async def run() -> None:
            for each in (event, *more):
                await cycle.send(each)

        self.side.told = []
        running = self.step(run())
        while not running.done():
            cycle.sent(WINDOW)
            self.settle()
        running.result()
        self.assertEqual(Step.ALL, cycle.step)
        return b"".join(each for each in self.side.told if isinstance(each, bytes))

    def test_path(self) -> None:
        """A file is sent with its length."""
        head, _, data = self.answer(
            {"type": "http.response.pathsend", "path": self.path}
        ).partition(b"\r\n\r\n")
        self.assertEqual(self.content, data)
        self.assertIn(b"Content-Length: 200000", head)
        found = self.answer({"type": "http.response.pathsend", "path": self.path}, line="HEAD")
        self.assertIn(b"Content-Length: 200000", found)
        self.assertTrue(found.endswith(b"\r\n\r\n"))

    def test_no_path(self) -> None:
        """What cannot be opened raises out of send; another answer may follow."""
        cycle = self.cycle()
        self.send(cycle, start())
        missing = {"type": "http.response.pathsend", "path": self.path + "x"}
        self.fails(cycle, FileNotFoundError, missing)
        self.fails(cycle, TypeError, {"type": "http.response.pathsend"})
        self.assertEqual(2, len(self.send(cycle, body(b"x"))))

    def test_parts(self) -> None:
        """Parts of an open file follow each other, as those of os.sendfile() do."""
        kind = "http.response.zerocopysend"
        with open(self.path, "rb") as file:
            data = self.answer(
                {"type": kind, "file": file, "count": 100_000, "more_body": True},
                {"type": kind, "file": file, "count": 10, "more_body": True},
                {"type": kind, "file": file, "offset": 5, "count": 2, "more_body": True},
                {"type": kind, "file": file},
            )
        self.assertIn(b"chunked", data)
        chunks = data.partition(b"\r\n\r\n")[2]
        found = b""
        while chunks and not chunks.startswith(b"0\r\n"):
            size, _, chunks = chunks.partition(b"\r\n")
            found += chunks[: int(size, 16)]
            chunks = chunks[int(size, 16) + 2 :]
        content = self.content
        self.assertEqual(content[:100_010] + content[5:7] + content[100_010:], found)

    def test_descriptor(self) -> None:
        """A descriptor is as good as a file, and is left where its bytes end."""
        descriptor = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        data = self.answer({"type": "http.response.zerocopysend", "file": descriptor, "count": 7})
        self.assertTrue(data.endswith(b"\r\n\r\n" + self.content[:7]))
        self.assertEqual(7, os.lseek(descriptor, 0, os.SEEK_CUR))

    def test_empty(self) -> None:
        """An empty file is an empty body."""
        os.truncate(self.path, 0)
        data = self.answer({"type": "http.response.pathsend", "path": self.path})
        self.assertTrue(data.endswith(b"Content-Length: 0\r\n\r\n"))

    def test_left(self) -> None:
        """A client that leaves ends the reading of a file."""
        cycle = self.cycle()
        self.send(cycle, start())
        sending = self.waits(cycle.send({"type": "http.response.pathsend", "path": self.path}))
        cycle.left()
        self.settle()
        self.assertIsInstance(sending.exception(), ClientDisconnected)

    def test_shrinks(self) -> None:
        """A file that becomes shorter meanwhile raises: its length was promised."""
        cycle = self.cycle()
        self.send(cycle, start())
        sending = self.waits(cycle.send({"type": "http.response.pathsend", "path": self.path}))
        os.truncate(self.path, 1000)
        cycle.sent(10 * WINDOW)
        self.settle()
        self.assertIsInstance(sending.exception(), RuntimeError)


class ReceiveTests(CycleCase):
    """What is received."""

    def test_no_body(self) -> None:
        """There is one event, and then the end of the client."""
        cycle = self.cycle()
        event = {"type": "http.request", "body": b"", "more_body": False}
        self.assertEqual(event, self.result(cycle.receive()))
        waiting = self.waits(cycle.receive())
        cycle.left()
        self.settle()
        for _ in range(2):
            self.assertEqual({"type": "http.disconnect"}, self.result(cycle.receive()))
        self.assertEqual({"type": "http.disconnect"}, waiting.result())

    def test_after_the_answer(self) -> None:
        """When the answer is complete, the client is said to have gone, also to those who wait."""
        cycle = self.cycle()
        self.result(cycle.receive())
        waiting = [self.waits(cycle.receive()) for _ in range(2)]
        waiting[0].cancel()
        self.send(cycle, start(), body())
        self.settle()
        self.assertEqual({"type": "http.disconnect"}, waiting[1].result())
        self.assertEqual({"type": "http.disconnect"}, self.result(cycle.receive()))

    def test_gone_with_the_whole_answer(self) -> None:
        """A client that leaves with all bytes of the length is no error for the empty last part."""
        cycle = self.cycle()
        self.send(cycle, start(200, (b"content-length", b"2")), body(b"ab", more_body=True))
        cycle.left()
        self.send(cycle, body(b"", more_body=True), body(b""))
        self.assertIs(Step.ALL, cycle.step)

    def test_gone_with_a_part(self) -> None:
        """A client that leaves before is one, also for the empty last part."""
        cycle = self.cycle()
        self.send(cycle, start(200, (b"content-length", b"3")), body(b"ab", more_body=True))
        cycle.left()
        with self.assertRaises(ClientDisconnected):
            self.send(cycle, body(b""))

    def test_asks_without_waiting(self) -> None:
        """The end is there for one who asks and takes nothing that waits, also a second time."""
        cycle = self.cycle()
        self.result(cycle.receive())
        cycle.left()
        for _ in range(2):
            asking = cycle.receive()
            with self.assertRaises(StopIteration) as caught:
                asking.send(None)
            self.assertEqual({"type": "http.disconnect"}, caught.exception.value)

    def test_asks_for_ever(self) -> None:
        """An application that asks on and on after the end lets others have their turn."""
        cycle = self.cycle()
        cycle.left()
        self.had_turn = False

        async def ask() -> None:
            for _ in range(1000):
                await cycle.receive()
                if self.had_turn:
                    return
            raise AssertionError("nobody else had a turn")

        asking = self.loop.create_task(ask())
        self.loop.call_soon(setattr, self, "had_turn", True)
        self.settle()
        asking.result()

    def test_parts(self) -> None:
        """What has come together is one event; the last one says so."""
        cycle = self.cycle("POST / HTTP/1.1", "Content-Length: 9", body=b"a", has_more=True)
        cycle.body(b"b", True)
        self.assertEqual(
            {"type": "http.request", "body": b"ab", "more_body": True}, self.result(cycle.receive())
        )
        waiting = self.waits(cycle.receive())
        cycle.body(b"", False)
        self.settle()
        self.assertEqual(
            {"type": "http.request", "body": b"", "more_body": False}, waiting.result()
        )

    def test_taken(self) -> None:
        """The other side hears how much of a large body was taken."""
        cycle = self.cycle("POST / HTTP/1.1", "Content-Length: 99999", has_more=True)
        for size in (10000, 10000, 100):
            cycle.body(bytes(size), True)
            self.result(cycle.receive())
        self.assertEqual([20000], self.side.told)

    def test_continue(self) -> None:
        """The client is told to go on once, when its body is wanted, and not if it came."""
        headers = ("Content-Length: 9", "Expect: 100-continue")
        cycle = self.cycle("POST / HTTP/1.1", *headers, has_more=True)
        self.assertEqual([], self.side.told)
        self.waits(cycle.receive())
        self.waits(cycle.receive())
        self.assertEqual(["continue"], self.side.told)
        cycle = self.cycle("POST / HTTP/1.1", *headers, has_more=True)
        told = self.send(cycle, start(), body())
        self.assertTrue(told[-1])

    def test_left_early(self) -> None:
        """A body that was whole is received after its client has gone, half a one is too."""
        for has_more in (False, True):
            cycle = self.cycle("POST / HTTP/1.1", "Content-Length: 2", body=b"a", has_more=has_more)
            cycle.left()
            self.assertEqual(b"a", self.result(cycle.receive())["body"])
            self.assertEqual({"type": "http.disconnect"}, self.result(cycle.receive()))

    def test_scope(self) -> None:
        """The application gets the scope of its request, and its end is told."""
        cycle, scopes = self.cycle(), []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)

        self.result(cycle.call(application))
        self.assertEqual("GET", scopes[0]["method"])
        cycle.ended(None)
        self.assertEqual([None], self.side.told)
