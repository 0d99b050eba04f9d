"""A proxy in threads between a gateway and its Redis: it delays, refuses, cuts, talks rubbish."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass

from tests.support.children import PATIENCE

__all__ = ["Proxy"]


@dataclass(eq=False)
class _Pair:
    """
    One connection that is carried.

    Attributes:
        near: The side of the gateway.
        far: The side of Redis.
        subscribed: The gateway said SUBSCRIBE on it.
    """

    near: socket.socket
    far: socket.socket
    subscribed: bool = False


class Proxy:
    """
    A proxy from a free port of localhost to a UNIX socket.

    Args:
        path: The UNIX socket of Redis.
        delay: Seconds that each segment is held back, in both directions.
        tls: The TLS context for connections to it; Redis gets plain text.

    Attributes:
        port: The port on which it listens.
        url: For ``--redis``.
        refusing: New connections are closed at once.
        came: When each connection came, refused ones too (`time.monotonic`).
    """

    def __init__(self, path: str, *, delay: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self._path = path
        self._delay = delay
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"{'redis' if tls is None else 'rediss'}://localhost:{self.port}"
        self.refusing = False
        self.came: list[float] = []
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._pairs: list[_Pair] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, count: int, timeout: float = PATIENCE) -> list[float]:
        """
        Wait until *count* connections came since the beginning.

        Returns: When each of them came.
        Raises:
            AssertionError: They did not in time.
        """
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.came) >= count, timeout), self.came
            return self.came[:count]

    def cut(self) -> None:
        """End all connections that it carries now."""
        with self._changed:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(pair.near, pair.far)

    def inject(self, data: bytes, *, subscriber: bool) -> None:
        """
        Send *data* to the gateway, as if it came from Redis.

        Args:
            subscriber: On the connection that has subscribed; else on the others.
        """
        with self._changed:
            chosen = [pair for pair in self._pairs if pair.subscribed is subscriber]
        assert chosen, "there is no such connection"
        for pair in chosen:
            pair.near.sendall(data)

    def stop(self) -> None:
        """End all connections, and take no more."""
        self._stopped.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            with self._changed:
                self.came.append(time.monotonic())
                self._changed.notify_all()
            if self.refusing:
                near.close()
            else:
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX)
        try:
            if self._tls is not None:
                near = self._tls.wrap_socket(near, server_side=True)
            far.connect(self._path)
        except OSError:
            near.close()
            far.close()
            return
        pair = _Pair(near, far)
        with self._changed:
            self._pairs.append(pair)
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far, pair)
        back.join()
        with self._changed:
            if pair in self._pairs:
                self._pairs.remove(pair)
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, pair: _Pair | None = None) -> None:
        try:
            while data := source.recv(65536):
                if pair is not None and b"\r\nSUBSCRIBE\r\n" in data:
                    pair.subscribed = True
                if self._delay and self._stopped.wait(self._delay):
                    break
                sink.sendall(data)
        except OSError:
            pass
        _end(source, sink)


def _end(*sockets: socket.socket) -> None:
    """Wake the threads that read from these; they close them."""
    for each in sockets:
        try:
            # A TLS socket's own shutdown would wait for the thread that reads from it.
            socket.socket.shutdown(each, socket.SHUT_RDWR)
        except OSError:
            pass
