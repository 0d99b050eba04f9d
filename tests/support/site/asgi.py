"""The ASGI application of the small Django project: its pages, and a WebSocket that echoes."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
_pages = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve pages by Django, and echo."""
    if scope["type"] != "websocket":
        await _pages(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})
