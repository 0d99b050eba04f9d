"""
A pytest plugin that runs the applications of Starlette's own tests on our server.

They reach their applications only by ``starlette.testclient.TestClient``, which calls them. Here
it is a client of a server: what it sends goes over TCP, and what it says of itself and cannot be
sent (an address of its own, https, the path of a mount) is put into the scope.
"""

from __future__ import annotations

import itertools
import socket
import ssl
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

_CLIENT = "sends or takes something that a client of HTTP refuses"
_HOST = "sends a Host that our reader of heads refuses: its port has up to five digits"
_TEMPLATE = "wants http.response.debug, an extension for test clients"
_TRAILERS = "wants trailers; this client does not ask for them, and would not show them"
_BY_HAND = "hands the application an event that no server sends"

_LEFT_OUT = {
    "test_body_limit.py::test_received_bytes_are_counted_with_unreliable_content_length[*": _CLIENT,
    "test_gzip.py::test_gzip_trailers[*": _TRAILERS,
    "test_gzip.py::test_gzip_excluded_content_type_trailers[*": _TRAILERS,
    "test_https_redirect.py::test_https_redirect_middleware[*": _HOST,
    "test_trusted_host.py::test_trusted_host_middleware_ipv6[asyncio-[v1.foo]-200]": (
        "sends a Host with an address of a future version of IP, which our reader refuses"
    ),
    "test_trusted_host.py::test_trusted_host_middleware_ipv6[asyncio-api_service:000080-*": _HOST,
    "test_trusted_host.py::test_trusted_host_middleware_ipv6[asyncio-api_service:100000-*": _HOST,
    "test_concurrency.py::test_accessing_context_from_threaded_*": (
        "reads a context variable of the thread of the test"
    ),
    "test_endpoints.py::test_http_endpoint_does_not_dispatch_non_verb_method[*": (
        "sends a method that begins with an underscore; a request begins with a letter here"
    ),
    "test_endpoints.py::test_websocket_endpoint_on_disconnect[*": (
        "closes a WebSocket whose client has closed it, which is an OSError"
    ),
    "test_exceptions.py::test_force_500_response[*": "wants an answer 500 without a text",
    "test_requests.py::test_request_headers[*": "compares the headers of its own client",
    "test_requests.py::test_cookies_invalid[asyncio-  =  b  *": _CLIENT,
    "test_requests.py::test_request_send_push_promise[*": "wants http.response.push",
    "test_responses.py::test_response_phrase[*": "wants an informational status as the last one",
    "test_routing.py::test_host_routing_rejects_invalid_hosts[asyncio-api.example.org:evil]": _HOST,
    "test_routing.py::test_host_routing_ignores_port[asyncio-api.example.org:000080]": _HOST,
    "test_routing.py::test_host_routing_ignores_port[asyncio-api.example.org:100000]": _HOST,
    "test_routing.py::test_host_routing_ip_literals[*": (
        "sends a Host with an address of a future version of IP, which our reader refuses"
    ),
    "test_staticfiles.py::test_staticfiles_304_with_if_none_match_wildcard[asyncio- ?t*": _CLIENT,
    "test_staticfiles.py::test_staticfiles_with_invalid_dir_permissions_returns_401[*": (
        "root may read every folder"
    ),
    "test_templates.py::test_templates[*": _TEMPLATE,
    "test_templates.py::test_calls_context_processors[*": _TEMPLATE,
    "test_templates.py::test_template_with_middleware[*": _TEMPLATE,
    "test_templates.py::test_templates_with_directories[*": _TEMPLATE,
    "test_templates.py::test_templates_with_environment[*": _TEMPLATE,
    "test_websockets.py::test_websocket_headers[*": "compares the headers of its own client",
    "test_websockets.py::test_websocket_concurrency_pattern[*": (
        "closes a WebSocket whose client has closed it, which is an OSError"
    ),
    "test_websockets.py::test_receive_wrong_message_type[*": _BY_HAND,
}

#: The header by which a call finds its application.
_CALL = b"x-peers-call"

#: A client makes one for itself else, which takes longer than a request.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

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
        wire = httpx2.HTTPTransport(verify=_NO_TLS)
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
        # The application has its answer to the last message, as if it had been called.
        the_ground().settle()
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
