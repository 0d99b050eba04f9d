"""
A pytest plugin that puts our server in the place of uvicorn in uvicorn's own tests.

Tests of WebSockets reach the server only by ``tests.utils.run_server``, those of HTTP only by
``get_connected_protocol``, those of lifespan by ``LifespanOn`` and ``LifespanOff``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from peers.grounds import Settings, run, the_ground
from peers.left_out import LeftOut
from peers.lifespans import LifespanOff, LifespanOn
from peers.wire import open_wires

_make_wire, _end_wires = open_wires()

#: The parameters choose a parser of uvicorn's; one pair of them is enough. That of websockets is
#: the one that, as we do, sends the start of a denial together with its body.
_VARIANTS = ("[h11", "h11]", "-h11-", "-h11]", "zttp", "[wsproto", "-wsproto")

_LOG = "compares lines of uvicorn's log"
_PARTS = "looks into objects of uvicorn, which are not there"
_UVICORN_ITSELF = "drives a protocol object of uvicorn by hand, not a server"
_NAME = "wants the name of uvicorn in a header"
_OPTION = "sets an option of uvicorn that we do not have"
_AT_ONCE = (
    "our start of an answer waits for its first part, so a mistake between the two is a 500; "
    "uvicorn has promised a status by then, and cuts the connection"
)
_COMPLETE = "the answer was complete and the client has it: we keep the connection"

_LEFT_OUT = {
    "test_http.py::test_invalid_header_name[*": _AT_ONCE,
    "test_http.py::test_partial_response_returned[*": _AT_ONCE,
    "test_http.py::test_response_header_splitting[*": _AT_ONCE,
    "test_http.py::test_duplicate_start_message[*": _AT_ONCE,
    "test_http.py::test_message_after_body_complete[*": _COMPLETE,
    "test_http.py::test_value_returned[*": _COMPLETE,
    "test_http.py::test_request_logging[*": _LOG,
    "test_http.py::test_header_upgrade_is_*": _LOG,
    "test_http.py::test_unsupported_ws_upgrade_request_warn_on_auto[*": _LOG,
    "test_http.py::test_unsupported_ws_upgrade_request[*": "switches WebSockets off: " + _OPTION,
    "test_http.py::test_keepalive_timeout[*": "moves the clock of a mock loop",
    "test_http.py::test_keepalive_timeout_with_pipelined_*": _PARTS,
    "test_http.py::test_shutdown_during_*": _PARTS,
    "test_http.py::test_large_post_request[*": (
        "wants reading paused after 100 kB, which are two reads here: ours pauses after 64 KiB, "
        "and has both by then"
    ),
    "test_http.py::test_chunked_encoding[*": (
        "wants the header transfer-encoding of an application obeyed; the specification has it "
        "ignored"
    ),
    "test_http.py::test_chunked_encoding_empty_body[*": "as test_chunked_encoding",
    "test_http.py::test_max_concurrency[*": (
        "with a limit of 1 uvicorn answers the first request with 503, and byte for byte so"
    ),
    "test_http.py::test_100_continue_sent_when_body_consumed[*": (
        "the body comes with the head, so nobody waits for the 100, and RFC 9110 lets us omit it"
    ),
    "test_http.py::test_scopes[*": "compares the version of the specification, 2.3; ours is 2.5",
    "test_http.py::test_invalid_http_request[*": "compares the text of an answer 400",
    "test_http.py::test_huge_headers_h11protocol_failure*": "wants 400, and gets 431",
    "test_http.py::test_huge_headers_httptools*": "sends a head of 64 KiB; our limit is 16 KiB",
    "test_http.py::test_fragmentation": "starts uvicorn by its class, in a thread",
    "test_websocket.py::test_duplicate_handshake[*": "wants no close frame, and gets 1011",
    "test_websocket.py::test_asgi_return_value[*": "wants no close frame, and gets 1000",
    "test_websocket.py::test_close_transport_on_asgi_return[*": "as test_asgi_return_value",
    "test_websocket.py::test_server_reject_connection_with_invalid_status[*": (
        "compares the text of an answer 500"
    ),
    "test_websocket.py::test_server_reject_connection_with_invalid_msg[*": "skipped by uvicorn",
    "test_websocket.py::test_server_reject_connection_with_missing_body[*": "skipped by uvicorn",
    "test_websocket.py::test_server_multiple_websocket_http_response_start_events[*": (
        "skipped by uvicorn"
    ),
    "test_websocket.py::test_default_server_headers[*": _NAME,
    "test_websocket.py::test_multiple_server_header[*": _NAME,
    "test_websocket.py::test_server_keepalive_*": "wants a ping each 0.1 s, or looks into uvicorn",
    "test_websocket.py::test_frame_after_close_handshake_is_ignored[*": _PARTS,
    "test_websocket.py::test_send_respects_write_backpressure[*": _UVICORN_ITSELF,
    "test_websocket.py::test_close_waits_for_the_peer_close_frame[*": _UVICORN_ITSELF,
    "test_websocket.py::test_close_resumes_reads_paused_on_*": _UVICORN_ITSELF,
    "test_websocket.py::test_data_frame_while_closing_does_not_*": _UVICORN_ITSELF,
    "test_websocket.py::test_data_frame_and_peer_close_frame_*": _UVICORN_ITSELF,
    "test_websocket.py::test_ping_while_closing[*": _UVICORN_ITSELF,
    "test_websocket.py::test_close_gives_up_when_the_peer_*": _UVICORN_ITSELF,
    "test_websocket.py::test_connection_lost_cancels_the_*": _UVICORN_ITSELF,
    "test_websocket.py::test_shutdown_while_the_close_reply_*": _UVICORN_ITSELF,
    "test_websocket.py::test_send_after_peer_close_raises_*": _UVICORN_ITSELF,
    "test_websocket.py::test_connection_lost_unblocks_*": _UVICORN_ITSELF,
    "test_lifespan.py::test_lifespan_scope_asgi3app": (
        "its application returns from the call, and with lifespan on: we say that it did not start"
    ),
    "test_ssl.py::test_run_password": _OPTION,
    "test_ssl.py::test_run_ssl_context_factory_*": _OPTION,
    "test_ssl.py::test_ssl_context_factory_*": _OPTION,
    "test_ssl.py::test_default_ssl_context_factory_*": _OPTION,
    "test_ssl.py::test_ssl_ciphers_applied_when_set": _OPTION,
    "test_ssl.py::test_is_ssl_true_when_only_factory_set": _OPTION,
}


def pytest_configure(config: pytest.Config) -> None:
    """Put our server in its place before the tests are imported."""
    config.pluginmanager.register(LeftOut(_LEFT_OUT, _VARIANTS))
    config.addinivalue_line("markers", "anyio: is run in the loop of the application")

    import uvicorn.lifespan.off
    import uvicorn.lifespan.on

    import tests.utils

    tests.utils.run_server = _run_server
    uvicorn.lifespan.on.LifespanOn = LifespanOn
    uvicorn.lifespan.off.LifespanOff = LifespanOff


def pytest_collection_finish(session: pytest.Session) -> None:
    """Replace what the module of the tests of HTTP defines itself."""
    for item in session.items:
        module = getattr(item, "module", None)
        if hasattr(module, "get_connected_protocol"):
            module.get_connected_protocol = _connected


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine: in the loop of the application, unless it uses a `Wire`."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    coroutine = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    if hasattr(pyfuncitem.module, "get_connected_protocol"):
        asyncio.run(coroutine)
    else:
        run(the_ground(), coroutine)
    return True


@pytest.fixture(autouse=True)
def _wires() -> Iterator[None]:
    yield
    _end_wires()


def _settings(config: Any) -> Settings:
    """Translate uvicorn's settings into ours."""
    options: dict[str, Any] = {
        "asgi-root-path": config.root_path,
        "max-message": config.ws_max_size,
        "compress": config.ws_per_message_deflate,
    }
    if config.h11_max_incomplete_event_size:
        # Ours is the limit of a whole head.
        options["max-head"] = 2 * config.h11_max_incomplete_event_size
    if config.ssl_certfile:
        options["tls-cert"] = config.ssl_certfile
        options["tls-key"] = config.ssl_keyfile or config.ssl_certfile
    return Settings(config.lifespan, options)


class _Running:
    """What ``run_server`` gives to a test."""

    def __init__(self, site: Any) -> None:
        self._site = site

    async def shutdown(self) -> None:
        """Stop."""
        await self._site.stop()


@asynccontextmanager
async def _run_server(config: Any, sockets: Any = None) -> AsyncIterator[_Running]:
    site = await the_ground().start(_as_of_24(config.app), _settings(config), config.port)
    try:
        yield _Running(site)
    finally:
        await site.stop()
        # uvicorn looks each tenth of a second whether all have gone; clients notice meanwhile.
        await asyncio.sleep(0.05)


def _as_of_24(app: Any) -> Any:
    """
    Return an application that gets the events of uvicorn's version of the specification.

    In it a disconnect had no reason, and uvicorn has one only if the client has closed.
    """

    async def call(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            event = await receive()
            if event["type"] == "websocket.disconnect" and event["code"] in (1006, 1012):
                del event["reason"]
            return event

        await app(scope, received, send)

    return call


def _connected(app: Any, http_protocol_cls: Any, lifespan: Any = None, **kwargs: Any) -> Any:
    import uvicorn

    settings = _settings(uvicorn.Config(app, lifespan="off", log_config=None, **kwargs))
    if lifespan is None:
        return _make_wire(the_ground(), app, settings)
    state = lifespan.state

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"].update(state)
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await app(scope, receive, send)

    return _make_wire(the_ground(), with_state, Settings("on", settings.options))
