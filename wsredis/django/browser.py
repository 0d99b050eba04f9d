"""What a page tells the browser script: where the gateway is, and the text of its heartbeat."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.templatetags.static import static
from django.utils.html import format_html, json_script
from django.utils.safestring import mark_safe

__all__ = ["heartbeat", "literal", "script", "uri"]

#: Characters that end a script element, or begin a comment or an entity in it.
_ESCAPES = {ord(each): f"\\u{ord(each):04x}" for each in "<>&"}


def uri(request: Any) -> str:
    """
    The URL that facilities are appended to.

    ``WEBSOCKET_URL`` is a path on the host of the page, or a whole URL where it is another host.

    Raises:
        django.core.exceptions.DisallowedHost: The host of the request is none of the project's.
    """
    url = str(getattr(settings, "WEBSOCKET_URL", "/ws/"))
    if urlsplit(url).netloc:
        return url
    scheme = "wss" if request.is_secure() else "ws"
    return f"{scheme}://{request.get_host()}{url}"


def heartbeat() -> str | None:
    """The text of the heartbeat. None: there is none."""
    return getattr(settings, "WS4REDIS_HEARTBEAT", None) or None


def literal(value: str | None) -> Any:
    """A JavaScript literal of *value*, safe in a script element and marked so for templates."""
    return mark_safe(json.dumps(value).translate(_ESCAPES))


def script(request: Any, nonce: Any = None) -> Any:
    """
    The elements that put the script and its configuration into a page.

    Args:
        nonce: Of the content security policy. None: there is none.
    Raises:
        django.core.exceptions.DisallowedHost: See `uri`.
    """
    # The first element is data, which no policy is asked about.
    return format_html(
        '{}<script src="{}"{}></script>',
        json_script({"uri": uri(request), "heartbeat": heartbeat()}, "wsredis-config"),
        static("wsredis/wsredis.js"),
        "" if nonce is None else format_html(' nonce="{}"', nonce),
    )
