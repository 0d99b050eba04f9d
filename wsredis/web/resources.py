"""The resources on a gateway's port: health, scripts, pages, and short errors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.web.http import CACHED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wsredis.gateway.health import Probes
from wsredis.web.handover import take_over, wants_stream, wants_websocket
from wsredis.web.health import HealthResource

__all__ = [
    "ApplicationResource",
    "AssetResource",
    "GatewayResource",
    "PageResource",
    "RootResource",
]

_TEXT = "text/plain; charset=utf-8"

_NOTHING = b"there is nothing here\n"

#: Headers by which proxies tell that somebody else asks.
_PROXIED = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")

#: The browser script as a classic script, and as a module to import.
_SCRIPTS = ("wsredis.js", "wsredis.mjs")


class ApplicationResource(Resource):
    """A resource that answers for all paths that the gateway does not use itself."""

    isLeaf = True

    def start(self) -> None:
        """Get ready for requests. Called once, when the gateway starts."""

    def stop(self) -> None:
        """Let go of everything. Called once, when no connection is left."""


class PageResource(Resource):
    """
    An HTML page.

    Args:
        headers: Headers of its answer, besides the usual ones.
    """

    isLeaf = True

    def __init__(self, page: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._page = page.encode()
        self._headers = headers or {}

    def render_GET(self, request: Request) -> bytes:
        """Answer with the page."""
        request.setHeader("content-type", "text/html; charset=utf-8")
        request.setHeader("cache-control", "no-store")
        request.setHeader("x-content-type-options", "nosniff")
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return self._page


class AssetResource(Resource):
    """
    A file for pages; browsers may keep it, and ask whether it has changed.

    Args:
        kind: The media type, without the charset.
        is_shared: Tells whether it is for pages of other origins, too.
    """

    isLeaf = True

    def __init__(self, body: bytes, kind: str, *, is_shared: bool = False) -> None:
        super().__init__()
        self._body = body
        self._kind = kind
        self._is_shared = is_shared
        self._tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'.encode()

    def render_GET(self, request: Request) -> bytes:
        """Answer with the file, or with 304 if the browser has it."""
        request.setHeader("content-type", f"{self._kind}; charset=utf-8")
        request.setHeader("cache-control", "no-cache")
        request.setHeader("x-content-type-options", "nosniff")
        if self._is_shared:
            # Without it, pages of another origin could load a script but not import it.
            request.setHeader("access-control-allow-origin", "*")
        return b"" if request.setETag(self._tag) is CACHED else self._body


class LocalResource(Resource):
    """A resource for programs on this machine. For all others there is nothing."""

    isLeaf = True

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._resource = resource

    def render(self, request: Request) -> Any:
        """Answer as the resource would, or with 404."""
        if _is_local(request):
            return self._resource.render(request)
        request.setResponseCode(404)
        request.setHeader("content-type", _TEXT)
        return _NOTHING


class GatewayResource(Resource):
    """
    The gateway as a part of a twisted.web site.

    Put it at the path that ``url_prefix`` of the configuration names, with
    ``site.putChild(b"ws", ...)`` for ``/ws/``. It takes connections with WebSocket handshakes, and
    with requests of clients without WebSockets, away from twisted.web, and answers any other
    request with 400, as django-websocket-redis does.

    Args:
        factory: The factory of a `wsredis.service.service.GatewayService`. If None, handshakes are
            answered with 400 as well.
    """

    isLeaf = True

    def __init__(self, factory: IProtocolFactory | None = None) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: Any) -> Any:
        """Hand the connection over, or answer with the reason why not."""
        factory: Any = self._factory
        if factory is not None and wants_websocket(request):
            take_over(request, factory)
            return NOT_DONE_YET
        if getattr(factory, "streams", None) is not None and wants_stream(request):
            take_over(request, factory, factory.config.limits.max_message)
            return NOT_DONE_YET
        request.setResponseCode(400)
        request.setHeader("content-type", _TEXT)
        request.setHeader("sec-websocket-version", "13")
        reason = "Client does not wish to upgrade to a websocket"
        if request.method not in (b"GET", b"HEAD"):
            reason = f"HTTP method must be a GET. {reason}"
        return reason.encode()


class RootResource(Resource):
    """
    The root of a gateway's own port: exact paths, facilities below the prefix, the application.

    Args:
        url_prefixes: Where the facilities are. If none, the port is a private one: it has neither
            facilities nor scripts.
        probes: The answers below ``/health/``.
        pages: The gateway's own pages and their files, by their paths. If None, it has none.
        application: Answers for all other paths. If None, they are answered with 404.
        metrics: The resource at ``/metrics``. If None, the gateway has none there.
    """

    isLeaf = True

    def __init__(
        self,
        url_prefixes: tuple[str, ...],
        probes: Probes,
        pages: Mapping[str, Resource] | None,
        application: Resource | None,
        metrics: Resource | None = None,
    ) -> None:
        super().__init__()
        self._url_prefixes = tuple(each.encode() for each in url_prefixes)
        self._gateway = GatewayResource()
        self._application = application
        scripts = _SCRIPTS if url_prefixes else ()
        self._resources: dict[bytes, Resource] = {
            **{f"/{name}".encode(): _script(name) for name in scripts},
            **{path.encode(): page for path, page in (pages or {}).items()},
            **{
                f"/health/{name}".encode(): HealthResource(name, ask)
                for name, ask in probes.items()
            },
        }
        if metrics is not None:
            self._resources[b"/metrics"] = metrics
        #: For people who look whether the gateway is there.
        self._at_root = _NOTHING
        if url_prefixes:
            below = " or ".join(url_prefixes)
            self._at_root = f"sockets are below {below}; --demo has a page here\n".encode()
        # Of each request to an ASGI application it is asked whether it is one of these.
        self._paths = frozenset(path.decode() for path in self._resources)
        self._text_prefixes = url_prefixes

    def is_own(self, path: str) -> bool:
        """Tell whether a path is one of the gateway itself."""
        return path in self._paths or path.startswith(self._text_prefixes)

    def render(self, request: Request) -> Any:
        """Answer with the resource of the path, or with a short error instead of an HTML page."""
        resource = self._resources.get(request.path)
        if resource is not None:
            return resource.render(request)
        if request.path.startswith(self._url_prefixes):
            return self._gateway.render(request)
        hosts = len(request.requestHeaders.getRawHeaders(b"host", []))
        if self._application is None:
            status, reason = 404, self._at_root if request.path == b"/" else _NOTHING
        elif not request.path.startswith(b"/"):
            status, reason = 400, b"the request target is malformed\n"
        elif hosts > 1:
            # RFC 9112, 3.2. An application would see them as one.
            status, reason = 400, b"there is more than one Host\n"
        elif not hosts and request.clientproto == b"HTTP/1.1":
            status, reason = 400, b"there is no Host\n"
        else:
            return self._application.render(request)
        request.setResponseCode(status)
        request.setHeader("content-type", _TEXT)
        return reason


def _script(name: str) -> AssetResource:
    body = files("wsredis").joinpath("django", "static", "wsredis", name).read_bytes()
    return AssetResource(body, "text/javascript", is_shared=True)


def _is_local(request: Request) -> bool:
    """
    Tell whether a request comes from this machine itself, and for it.

    The name in Host counts, too: a page of another site may have made its own name lead here.
    """
    headers = request.requestHeaders
    host = headers.getRawHeaders(b"host", [b""])[0].decode("latin-1")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    peer = getattr(request.getClientAddress(), "host", "")
    return (
        _is_loopback(peer)
        and (name == "localhost" or _is_loopback(name.strip("[]")))
        and not any(map(headers.hasHeader, _PROXIED))
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.removeprefix("::ffff:")).is_loopback
    except ValueError:
        return False
