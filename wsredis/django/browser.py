"""The configuration of the browser script in a page: the URL of the gateway and its heartbeat."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.templatetags.static import static
from django.utils.html import format_html, json_script
from django.utils.safestring import mark_safe

from wsredis.config.ws4redis import project_value

__all__ = ["heartbeat", "literal", "script", "uri"]

#: Characters that end a script element, or begin a comment or an entity in it.
_ESCAPES = {ord(each): f"\\u{ord(each):04x}" for each in "<>&"}


def uri(request: Any) -> str:
    """
    Return the URL that facilities are appended to.

    ``WEBSOCKET_URL`` is a path on the host of the page, or a whole URL if it is another host.

    Raises:
        ConfigError: ``WEBSOCKET_URL`` is not allowed.
        django.core.exceptions.DisallowedHost: The host of the request does not belong to the
            project.
    """
    url = str(project_value(settings, "WEBSOCKET_URL", "/ws/"))
    if urlsplit(url).netloc:
        return url
    # A browser blocks ws:// on a page of https://, so the proxy is believed here without
    # SECURE_PROXY_SSL_HEADER; only this page depends on it. The gateway believes it, too.
    passed = request.headers.get("X-Forwarded-Proto", "").partition(",")[0]
    is_secure = request.is_secure() or passed.strip().lower() == "https"
    scheme = "wss" if is_secure else "ws"
    return f"{scheme}://{request.get_host()}{url}"


def heartbeat() -> str | None:
    """
    Return the text of the heartbeat. None if there is none.

    Raises:
        ConfigError: ``WS4REDIS_HEARTBEAT`` is not allowed.
    """
    text: str | None = project_value(settings, "WS4REDIS_HEARTBEAT")
    return text


def literal(value: str | None) -> Any:
    """Return *value* as a JavaScript literal that is safe in a script element of a template."""
    return mark_safe(json.dumps(value).translate(_ESCAPES))


def script(request: Any, nonce: Any = None) -> Any:
    """
    Return the elements that put the script and its configuration into a page.

    Args:
        request: The request of the page.
        nonce: The nonce of the content security policy. If None, the element has none.

    Raises:
        ConfigError: See `uri` and `heartbeat`.
        django.core.exceptions.DisallowedHost: See `uri`.
    """
    # The first element is data; a content security policy applies to the second only.
    return format_html(
        '{}<script src="{}"{}></script>',
        json_script({"uri": uri(request), "heartbeat": heartbeat()}, "wsredis-config"),
        static("wsredis/wsredis.js"),
        "" if nonce is None else format_html(' nonce="{}"', nonce),
    )
