"""
A pytest plugin that puts our server in the place of Daphne in Daphne's own tests.

They reach the server only by ``daphne.testing.DaphneProcess``, a process that is forked for each
request, and look at the scope and the events that its application got.
"""

from __future__ import annotations

import asyncio
import os
import select
import traceback
from http.client import HTTPConnection
from typing import Any

import pytest
from hypothesis import Phase, settings
from peers.grounds import Settings
from peers.left_out import LeftOut

# All modules are imported here, and not once more in each forked process.
from peers.our_server import make_service, port_of

_ERROR = "compares the class or the text of an exception that comes out of send()"
_ROOT = "sets root_path by a header of the request; ours is an option, since anybody sends headers"
_PORT = "wants X-Forwarded-Port as the port of the client; it is the one that the client asked for"

_LEFT_OUT = {
    "test_http_request.py::TestHTTPRequest::test_request_body_chunking": (
        "wants a body in pieces of an option of Daphne; ours come as they are read"
    ),
    "test_http_request.py::TestHTTPRequest::test_root_path_header": _ROOT,
    "test_http_request.py::TestHTTPRequest::test_x_forwarded_for_parsed": _PORT,
    "test_http_response.py::TestHTTPResponse::test_headers_type": _ERROR,
    "test_http_response.py::TestHTTPResponse::test_headers_type_raw": (
        "compares the version in the status line; ours is our own, 1.1, as RFC 9110 says"
    ),
    "test_http_response.py::TestHTTPResponse::test_status_code_required": _ERROR,
    "test_websocket.py::TestWebsocket::test_root_path": _ROOT,
    "test_websocket.py::TestWebsocket::test_xff": _PORT,
}

#: Keys of scopes that are in the specification, and not in Daphne.
_MORE_KEYS = {"extensions", "http_version", "state"}

#: Names of headers that servers add as they like.
_OF_THE_SERVER = (b"connection", b"content-length", b"date", b"server")


def pytest_configure(config: pytest.Config) -> None:
    """Put our server in its place before the tests are imported."""
    config.pluginmanager.register(LeftOut(_LEFT_OUT))
    # The same examples each time, and no hours for a smaller one if one fails.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("peers", derandomize=True, phases=phases, database=None)
    settings.load_profile("peers")
    if os.environ.get("PEERS_SERVER") == "daphne":
        return

    from daphne import testing
    from twisted.internet import reactor

    assert type(reactor).__name__ == "EPollReactor"
    testing.DaphneProcess.run = _run
    testing.BaseDaphneTestingInstance.startup_timeout = 10


class _Connection(HTTPConnection):
    """Says HTTP/1.0 in a request without Host, which HTTP/1.1 forbids, and Daphne allows."""

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """See `http.client`."""
        head: list[bytes] = self._buffer  # type: ignore[attr-defined]
        if not any(line.lower().startswith(b"host:") for line in head):
            head[0] = head[0].replace(b"HTTP/1.1", b"HTTP/1.0")
        super().endheaders(*args, **kwargs)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the tests know more keys and headers than Daphne has."""
    import http_base
    from http_base import DaphneTestCase

    http_base.HTTPConnection = _Connection
    strict = DaphneTestCase.assert_key_sets

    def assert_key_sets(self: Any, required: set[str], optional: set[str], actual: Any) -> None:
        strict(self, required, optional, set(actual) - (_MORE_KEYS - required))

    DaphneTestCase.assert_key_sets = lambda self, required_keys, optional_keys, actual_keys: (
        assert_key_sets(self, required_keys, optional_keys, actual_keys)
    )
    for item in session.items:
        case = item.getparent(pytest.Class)
        normalize = getattr(case and case.obj, "normalize_headers", None)
        if normalize is not None and not hasattr(normalize, "is_ours"):
            case.obj.normalize_headers = _without_date(normalize)


def _without_date(normalize: Any) -> Any:
    def normalized(self: Any, headers: Any) -> Any:
        return [each for each in normalize(self, headers) if each[0] not in _OF_THE_SERVER]

    normalized.is_ours = True  # type: ignore[attr-defined]
    return normalized


def _settings(words: dict[str, Any]) -> Settings:
    """Translate Daphne's settings into ours."""
    names = {
        "websocket_max_message_size": "max-message",
        "websocket_max_frame_size": "max-frame",
    }
    options = {names[name]: value for name, value in words.items() if name in names}
    # The applications of the tests do not end by themselves.
    options["asgi-shutdown"] = 0.01
    if "proxy_forwarded_address_header" in words:
        options["trusted-proxy"] = "127.0.0.1"
    return Settings("off", options)


def _with_one_end(application: Any) -> Any:
    """
    Return an application that hears of its end once, as in Daphne, and then of nothing any more.

    That of the tests asks for ever, and holds a lock nearly all of the time.
    """

    async def call(scope: Any, receive: Any, send: Any) -> None:
        has_ended = False

        async def received() -> Any:
            nonlocal has_ended
            if has_ended:
                await asyncio.Event().wait()
            event = await receive()
            has_ended = event["type"] == "http.disconnect"
            return event

        await application(scope, received, send)

    return call


def _fresh_reactor() -> Any:
    """Return the reactor of the parent, which has never run, without what the two would share."""
    from twisted.internet import reactor

    reactor._poller = select.epoll(1024)
    reactor._reads, reactor._writes, reactor._selectables = set(), set(), {}
    reactor._internalReaders.clear()
    reactor.waker = None
    reactor.installWaker()
    return reactor


def _run(process: Any) -> None:
    """What the forked process does: serve until it is killed."""
    try:
        reactor = _fresh_reactor()
        service = make_service(_with_one_end(process.get_application()), _settings(process.kwargs))
        # A test looks for the connections of Daphne's server when its process ends.
        process.server = service
        service.connections = {}

        def look() -> None:
            # The port is bound when the application has started.
            process.port.value = port_of(service)
            if process.port.value:
                process.ready.set()
            else:
                reactor.callLater(0.002, look)

        if process.setup is not None:
            process.setup()
        service.startService()
        reactor.callWhenRunning(look)
        try:
            reactor.run()
        finally:
            if process.teardown is not None:
                process.teardown()
    except BaseException as error:
        process.errors.put((error, traceback.format_exc()))
