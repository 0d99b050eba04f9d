"""The handshake as a request of Django."""

from __future__ import annotations

import io
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from wsredis.config.networks import split_address
from wsredis.config.origins import HOST_HEADER, default_port
from wsredis.gateway.identity import Handshake

__all__ = ["django_request", "has_cookie"]


def has_cookie(handshake: Handshake, name: str) -> bool:
    """Tell whether a request of *handshake* has a cookie, by Django's way to read the header."""
    given = handshake.headers.get("cookie", "")
    # In a header, each character stands for one byte.
    if name.encode().decode("latin-1") not in given:
        return False
    from django.http import parse_cookie

    return name in parse_cookie(given.encode("latin-1").decode(errors="replace"))


def django_request(handshake: Handshake) -> Any:
    """
    Make the request of *handshake*, as a WSGI server would pass it to Django.

    Links that hooks make in this thread begin as in pages, with ``FORCE_SCRIPT_NAME``.
    """
    from django.core.handlers.wsgi import WSGIRequest
    from django.urls import set_script_prefix

    host, port = split_address(handshake.peer)
    own = HOST_HEADER.fullmatch(handshake.headers.get("host", "").lower())
    scheme = "https" if handshake.secure else "http"
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(handshake.path).decode("latin-1"),
        "QUERY_STRING": handshake.query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": own[1] if own else "localhost",
        "SERVER_PORT": (own and own[2]) or default_port(scheme),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for header, value in handshake.headers.items():
        # X_Forwarded_Proto would pass for X-Forwarded-Proto, which only a proxy may set.
        if "_" not in header and header not in ("content-type", "content-length"):
            environ[f"HTTP_{header.upper().replace('-', '_')}"] = value
    request = WSGIRequest(environ)
    set_script_prefix(request.META["SCRIPT_NAME"])
    return request
