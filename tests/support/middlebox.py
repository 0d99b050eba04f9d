"""A web proxy in threads between browsers and a gateway, one that does not let everything pass."""

from __future__ import annotations

import re
import socket
import threading
from typing import Literal

__all__ = ["Middlebox"]

_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Middlebox:
    """
    A proxy from a free port of localhost to another port. It carries one request per connection.

    Args:
        port: The port that it leads to.
        websocket_port: The port that WebSockets are led to. If None, the same one.

    Attributes:
        port: The port on which it listens.
        upgrade: Its way with WebSocket handshakes: it lets them pass, answers them with 403, or
            never answers.
        answers: Its way with other answers: it lets them pass as they come, holds back the body
            until it is complete, or holds back everything.
        upgrades: The number of WebSocket handshakes that came.
        requests: The first line of each other request.
    """

    def __init__(self, port: int, websocket_port: int | None = None) -> None:
        self._ports = (port, websocket_port or port)
        self.upgrade: Literal["pass", "refuse", "hang"] = "refuse"
        self.answers: Literal["pass", "body", "all"] = "pass"
        self.upgrades = 0
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections that it carries now."""
        with self._lock:
            for each in self._sockets:
                _end(each)

    def stop(self) -> None:
        """End all connections, and take no more."""
        _end(self._listening)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with self._lock:
            self._sockets.add(near)
        try:
            self._carry(near)
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets.discard(near)
            near.close()

    def _carry(self, near: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = near.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        if re.search(rb"\r\nupgrade: *websocket", head, re.I):
            self.upgrades += 1
            if self.upgrade == "refuse":
                near.sendall(_REFUSAL)
                return
            if self.upgrade == "hang":
                while near.recv(65536):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self._ports[1])) as far:
                far.sendall(data)
                self._pump_both(near, far)
            return
        self.requests.append(head.partition(b"\r\n")[0].decode())
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
        while length and len(body) < int(length[1]):
            body += near.recv(65536)
        head = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.I)
        with socket.create_connection(("127.0.0.1", self._ports[0])) as far:
            far.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            if self.answers == "pass":
                self._pump_both(near, far)
            else:
                self._hold(near, far)

    def _hold(self, near: socket.socket, far: socket.socket) -> None:
        """Carry an answer when it is complete."""
        watcher = threading.Thread(target=_pump, args=(near, far), daemon=True)
        watcher.start()
        data, held = b"", self.answers
        while more := far.recv(65536):
            data += more
            if held == "body" and b"\r\n\r\n" in data:
                head, separator, data = data.partition(b"\r\n\r\n")
                near.sendall(head + separator)
                held = "all"
        near.sendall(data)
        _end(near)
        watcher.join()

    def _pump_both(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    _end(source)
    _end(sink)


def _end(one: socket.socket) -> None:
    """Wake the thread that reads from it."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
