"""
The application of granian's tests, with the version of the specification that they compare.

Their version is 2.3, and ours is a later one.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

_module, _name = os.environ["PEERS_TARGET"].split(":")
_application = getattr(import_module(_module), _name)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application."""
    if scope["type"] != "lifespan":
        assert scope["asgi"]["spec_version"] == "2.5"
        scope["asgi"]["spec_version"] = "2.3"
    await _application(scope, receive, send)
