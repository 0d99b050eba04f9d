"""
A pytest plugin that runs the applications of Starlette's own tests on our server.

They reach their applications only by ``starlette.testclient.TestClient``, which calls them. Here
it is a client of a server: what it sends goes over TCP, and what it says of itself and cannot be
sent (an address of its own, https, the path of a mount) is put into the scope.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from peers.grounds import PATIENCE, Settings, Site, run, the_ground
from peers.left_out import LeftOut
from starlette import testclient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

_LEFT_OUT: dict[str, str] = {}

#: The header by which a call finds its application.
_CALL = b"x-peers-call"

_numbers = itertools.count()
_calls: dict[bytes, _Call] = {}
_sites: list[Site] = []


def pytest_configure(config: pytest.Config) -> None:
    """Keep account of the tests, and start the server."""
    config.pluginmanager.register(LeftOut(_LEFT_OUT, ("trio",)))
    _sites.append(run(the_ground(), the_ground().start(_dispatch, Settings("off"))))


class _Call:
    """
    One call of an application.

    Attributes:
        name: Its number, as it stands in the header.
        events: What the application sent.
    """

    def __init__(self, app: Any, changes: dict[str, Any]) -> None:
        self.name = str(next(_numbers)).encode()
        self.events: list[Any] = []
        self._app = app
        self._changes = changes
        self._began = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        _calls[self.name] = self

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application."""
        self._began.set()

        async def watched(event: Any) -> None:
            self.events.append(event)
            await send(event)

        try:
            await self._app({**scope, **self._changes}, receive, watched)
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._ended.set()

    def end(self, is_raising: bool, status: int = 200) -> None:
        """
        Wait for its end, and raise what came out of it.

        Args:
            status: That of the answer. The server refuses some requests by itself.
        """
        _calls.pop(self.name, None)
        if status == 400 and not self._began.is_set():
            return
        if not self._ended.wait(5.0):
            raise AssertionError("the application did not end")
        if is_raising and isinstance(self._error, Exception):
            raise self._error


async def _dispatch(scope: Any, receive: Any, send: Any) -> None:
    scope["headers"] = [each for each in scope["headers"] if each[0] != _CALL or _pick(each, scope)]
    await scope.pop("call").run(scope, receive, send)


def _pick(header: Any, scope: Any) -> bool:
    scope["call"] = _calls[bytes(header[1])]
    return False


class _Stream(httpx2.SyncByteStream):
    """The body of an answer; at its end the application has ended, too."""

    def __init__(self, inner: Any, end: Callable[[], None]) -> None:
        self._inner = inner
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner

    def close(self) -> None:
        self._inner.close()
        self._end()


class _Transport(httpx2.BaseTransport):
    """Sends the requests of a client to the server."""

    def __init__(self, client: _Client, is_raising: bool, changes: dict[str, Any]) -> None:
        self._client = client
        self._is_raising = is_raising
        self._changes = changes

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """See httpx."""
        changes = self._changes | {
            "scheme": request.url.scheme,
            "state": self._client.app_state.copy(),
        }
        call = _Call(self._client.app, changes)
        if request.url.scheme in ("ws", "wss"):
            raise testclient._Upgrade(_Session(call, request))
        request.headers[_CALL.decode()] = call.name.decode()
        sent = httpx2.Request(
            request.method,
            request.url.copy_with(scheme="http", host="127.0.0.1", port=_sites[0].port),
            headers=request.headers,
            stream=request.stream,
        )
        wire = httpx2.HTTPTransport()
        answer = wire.handle_request(sent)

        def end() -> None:
            wire.close()
            call.end(self._is_raising, answer.status_code)

        answer.stream = _Stream(answer.stream, end)
        return answer


class _Session(testclient.WebSocketTestSession):
    """A WebSocket over TCP with the interface of that of the test client."""

    def __init__(self, call: _Call, request: httpx2.Request) -> None:
        self._call = call
        self._request = request
        self.accepted_subprotocol = None
        self.extra_headers: Any = None

    def __enter__(self) -> _Session:
        url = self._request.url
        ours = ("connection", "host", "sec-websocket-", "upgrade")
        headers = self._request.headers.multi_items()
        more = [pair for pair in headers if not pair[0].lower().startswith(ours)]
        protocols = self._request.headers.get("sec-websocket-protocol")
        try:
            self._socket: ClientConnection = connect(
                f"ws://{url.netloc.decode()}{url.raw_path.decode()}",
                sock=socket.create_connection(("127.0.0.1", _sites[0].port)),
                additional_headers=[*more, (_CALL.decode(), self._call.name.decode())],
                subprotocols=protocols and [each.strip() for each in protocols.split(",")],
                user_agent_header=None,
                compression=None,
                max_size=None,
                ping_interval=None,
            )
        except InvalidStatus as refused:
            self._call.end(True)
            self._raise_refused(refused.response)
        self.accepted_subprotocol = self._socket.subprotocol
        self.extra_headers = self._call.events[0].get("headers")
        return self

    def __exit__(self, *args: Any) -> None:
        self._socket.close()
        self._call.end(True)

    def _raise_refused(self, response: Any) -> None:
        event = self._call.events[0]
        if event["type"] == "websocket.close":
            assert response.status_code == 403
            raise WebSocketDisconnect(event.get("code", 1000), event.get("reason", ""))
        raise testclient.WebSocketDenialResponse(
            status_code=response.status_code,
            headers=[*response.headers.raw_items()],
            content=bytes(response.body),
        )

    def send(self, message: Any) -> None:
        """See Starlette."""
        if message["type"] == "websocket.disconnect":
            self._socket.close(message["code"], message.get("reason") or "")
        elif message.get("text") is not None:
            self._socket.send(message["text"])
        else:
            self._socket.send(message["bytes"])

    def receive(self) -> Any:
        """See Starlette."""
        try:
            data = self._socket.recv(PATIENCE)
        except ConnectionClosed as closed:
            end = closed.rcvd
            if end is None or end.code == 1011:
                self._call.end(True)
            return {
                "type": "websocket.close",
                "code": end.code if end else 1006,
                "reason": end.reason if end else "",
            }
        return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


class _Client(testclient.TestClient):
    """Starlette's test client, whose requests go to a server."""

    def __init__(
        self,
        app: Any,
        base_url: str = "http://testserver",
        raise_server_exceptions: bool = True,
        root_path: str = "",
        *args: Any,
        client: tuple[str, int] = ("testclient", 50000),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            app, base_url, raise_server_exceptions, root_path, *args, client=client, **kwargs
        )
        host = self.base_url.host
        port = self.base_url.port or {"https": 443}.get(self.base_url.scheme, 80)
        changes = {"client": client, "root_path": root_path, "server": [host, port]}
        self._transport = _Transport(self, raise_server_exceptions, changes)


# The conftest of the tests imports it before plugins are configured.
testclient.TestClient = _Client
