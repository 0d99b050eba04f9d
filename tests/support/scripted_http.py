"""A server of streams and polls that a test controls step by step."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.children import PATIENCE

__all__ = ["Asked", "ScriptedHttp"]

_STREAM = "text/event-stream; charset=utf-8"


class Asked:
    """
    A request that waits for its answer.

    Attributes:
        method: GET or POST.
        target: As it came.
        fields: The parts of the query that have a value.
        headers: By lower-case name.
        body: That of a POST.
    """

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self._done = threading.Event()
        self.method = handler.command
        self.target = handler.path
        self.fields = dict(parse_qsl(urlsplit(handler.path).query))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length", 0)))

    def wait(self) -> None:
        """Wait for the answer. Called by the server."""
        self._done.wait(PATIENCE)

    def answer(self, status: int, body: object = None, **headers: str) -> None:
        """
        Answer.

        Args:
            body: Text, or what becomes JSON. If None, there is none.
            headers: With underscores in place of hyphens.
        """
        kind = "text/plain" if isinstance(body, str) else "application/json"
        data = (
            b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        )
        self._begin(status, {"Content-Type": kind, "Content-Length": str(len(data)), **headers})
        self.write(data)
        self.end()

    def stream(self) -> None:
        """Begin an answer of events."""
        self._begin(200, {"Content-Type": _STREAM})

    def open(self, cursor: str = "p-1", **more: object) -> None:
        """Begin an answer of events, with the first one."""
        self.stream()
        self.event(json.dumps({"cursor": cursor, **more}), "open", cursor)

    def event(self, data: str, name: str = "", cursor: str = "") -> None:
        """Send an event."""
        lines = [f"event: {name}"] * bool(name) + [f"id: {cursor}"] * bool(cursor)
        lines += [f"data: {line}" for line in data.split("\n")]
        self.write(("\n".join(lines) + "\n\n").encode())

    def write(self, data: bytes) -> None:
        """Send bytes."""
        with suppress(OSError):
            self._handler.wfile.write(data)
            self._handler.wfile.flush()

    def end(self) -> None:
        """End the answer."""
        self._done.set()

    def is_left(self) -> bool:
        """Tell whether the client has gone, or goes now. Waits for it."""
        connection = self._handler.connection
        connection.settimeout(PATIENCE)
        try:
            return not connection.recv(1)
        except ConnectionError:
            return True

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        handler = self._handler
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Access-Control-Allow-Origin", self.headers["origin"])
        handler.send_header("Access-Control-Allow-Credentials", "true")
        handler.send_header("Access-Control-Expose-Headers", "Wsredis-Cursor, Retry-After")
        handler.end_headers()


class ScriptedHttp:
    """
    The server. It answers preflights by itself, and any other request when the test says so.

    Attributes:
        port: The port on which it listens.
        preflights: The headers that browsers asked for.
    """

    def __init__(self) -> None:
        preflights: list[str] = []
        self.preflights = preflights
        self._asked: SimpleQueue[Asked] = SimpleQueue()
        self._all: list[Asked] = []
        asked_queue, everything = self._asked, self._all

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = Asked(self)
                everything.append(asked)
                asked_queue.put(asked)
                asked.wait()

            do_POST = do_GET

            def do_OPTIONS(self) -> None:
                preflights.append(self.headers["Access-Control-Request-Headers"])
                self.send_response(204)
                self.send_header("Access-Control-Allow-Origin", self.headers["Origin"])
                self.send_header("Access-Control-Allow-Credentials", "true")
                self.send_header("Access-Control-Allow-Headers", preflights[-1])
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def accept(self) -> Asked:
        """
        Wait for the next request.

        Raises:
            queue.Empty: None came in time.
        """
        return self._asked.get(timeout=PATIENCE)

    def is_idle(self) -> bool:
        """Tell whether no request came that `accept` did not return."""
        return self._asked.empty()

    def stop(self) -> None:
        """End it, and all answers."""
        self._server.shutdown()
        self._thread.join()
        for each in self._all:
            each.end()
        self._server.server_close()
