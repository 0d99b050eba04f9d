"""
A pytest plugin that puts our server in the place of granian in granian's own tests.

They start ``granian.Granian`` in a process of its own: ``stand_ins/granian`` has that name.
"""

from __future__ import annotations

import pytest
from peers.left_out import LeftOut

_LEFT_OUT = {
    "test_asgi.py::test_protocol_error[*": "compares the text of an exception",
    "test_ws.py::test_reject[*": (
        "wants 403 for an application that returns without an answer; ours is 500, as uvicorn's"
    ),
}

#: Parameters that choose another interface than ASGI, and the threads of granian.
_VARIANTS = ("rsgi", "wsgi", "mt]", "[mt-")


def pytest_configure(config: pytest.Config) -> None:
    """Keep account of the tests."""
    config.pluginmanager.register(LeftOut(_LEFT_OUT, _VARIANTS))
