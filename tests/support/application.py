"""An application over real HTTP whose answers a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["Application"]


class Application:
    """
    A server in threads of its own.

    Args:
        answer: Called with the headers of a request, by lower-case names; returns the status
            and the object that is written as JSON.

    Attributes:
        port: On 127.0.0.1.
        questions: The headers of all requests so far.
    """

    def __init__(self, answer: Callable[[Mapping[str, str]], tuple[int, Any]]) -> None:
        self.answer = answer
        self.questions: list[dict[str, str]] = []
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                """Serve a connection, which the gateway may close at any time."""
                with suppress(ConnectionError):
                    super().handle()

            def do_GET(self) -> None:
                """Answer."""
                headers = {name.lower(): value for name, value in self.headers.items()}
                application.questions.append(headers)
                status, reply = application.answer(headers)
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A test that fails leaves no thread to wait for.
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
