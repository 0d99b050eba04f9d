"""
A pytest plugin that puts our server in the place of Daphne in Daphne's own tests.

They reach the server only by ``daphne.testing.DaphneProcess``, a process that is forked for each
request, and look at the scope and the events that its application got.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import pytest
from peers.grounds import Settings
from peers.left_out import LeftOut

_LEFT_OUT: dict[str, str] = {}

#: Keys of scopes that are in the specification, and not in Daphne.
_MORE_KEYS = {"extensions", "http_version", "state"}

#: Names of headers that servers add as they like.
_OF_THE_SERVER = (b"date", b"server")


def pytest_configure(config: pytest.Config) -> None:
    """Put our server in its place before the tests are imported."""
    config.pluginmanager.register(LeftOut(_LEFT_OUT))
    if os.environ.get("PEERS_SERVER") == "daphne":
        return

    from daphne import testing

    testing.DaphneProcess.run = _run
    testing.BaseDaphneTestingInstance.startup_timeout = 30


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the tests know more keys and headers than Daphne has."""
    from http_base import DaphneTestCase

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
    if "proxy_forwarded_address_header" in words:
        options["trusted-proxy"] = "127.0.0.1"
    return Settings("auto", options)


def _run(process: Any) -> None:
    """What the forked process does: serve until it is killed."""
    try:
        # The reactor of the parent is not used, and may not be shared.
        sys.modules.pop("twisted.internet.reactor", None)
        from twisted.internet import epollreactor

        epollreactor.install()
        from peers.our_server import make_service, port_of
        from twisted.internet import reactor

        service = make_service(process.get_application(), _settings(process.kwargs))
        # A test looks for the connections of Daphne's server when its process ends.
        process.server = service
        service.connections = {}

        def started() -> None:
            process.port.value = port_of(service)
            process.ready.set()

        if process.setup is not None:
            process.setup()
        service.startService()
        reactor.callWhenRunning(started)
        try:
            reactor.run()
        finally:
            if process.teardown is not None:
                process.teardown()
    except BaseException as error:
        process.errors.put((error, traceback.format_exc()))
