"""Variables for templates, under the names of django-websocket-redis."""

from __future__ import annotations

from typing import Any

from wsredis.django.browser import heartbeat, literal, uri

__all__ = ["default"]


def default(request: Any) -> dict[str, Any]:
    """
    Return the variables that a page needs for ``ws4redis.js`` or ``wsredis.js``.

    Args:
        request: The request of the page.

    Returns:
        ``WEBSOCKET_URI``, and ``WS4REDIS_HEARTBEAT`` as a JavaScript literal.
    """
    return {"WEBSOCKET_URI": uri(request), "WS4REDIS_HEARTBEAT": literal(heartbeat())}
