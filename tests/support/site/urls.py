"""The pages of the small Django project: one for each thing that can go well or wrong."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import re_path

#: Bytes of a piece of the large page.
PIECE = 65536


def hello(request: HttpRequest) -> HttpResponse:
    """A short page."""
    return HttpResponse("hello")


def environ(request: HttpRequest) -> HttpResponse:
    """The strings and flags of the WSGI environment of the request."""
    found = {name: value for name, value in request.META.items() if isinstance(value, (str, bool))}
    return HttpResponse(json.dumps(found), content_type="application/json")


def echo(request: HttpRequest) -> HttpResponse:
    """The body that was sent."""
    return HttpResponse(request.body, content_type="application/octet-stream")


def large(request: HttpRequest) -> StreamingHttpResponse:
    """A stream of as many bytes as the query says; a line in the log marks its end."""

    def make() -> Iterator[bytes]:
        made = 0
        try:
            while made < int(request.GET["size"]):
                made += PIECE
                yield bytes(PIECE)
        finally:
            print(f"large ended at {made}", file=sys.stderr, flush=True)

    return StreamingHttpResponse(make())


def file(request: HttpRequest) -> FileResponse:
    """This file."""
    return FileResponse(open(__file__, "rb"))


def fails(request: HttpRequest) -> HttpResponse:
    """A page with a mistake."""
    raise ZeroDivisionError("a secret of the page")


def breaks(request: HttpRequest) -> StreamingHttpResponse:
    """A page that fails half-way."""

    def make() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError("a secret of the page")

    return StreamingHttpResponse(make())


def short(request: HttpRequest) -> HttpResponse:
    """A page that is shorter than it says."""
    return HttpResponse("short", headers={"Content-Length": "10"})


def hangs(request: HttpRequest) -> HttpResponse:
    """A page that never comes."""
    print("hanging", file=sys.stderr, flush=True)
    threading.Event().wait()
    return HttpResponse()


def sleeps(request: HttpRequest) -> HttpResponse:
    """A page that waits for 50 ms, as for a database."""
    time.sleep(0.05)
    return HttpResponse("slept")


def burns(request: HttpRequest) -> HttpResponse:
    """A page that computes for 10 ms of the time of its thread."""
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass
    return HttpResponse("burnt")


def not_modified(request: HttpRequest) -> HttpResponse:
    """A page that the client has already."""
    return HttpResponse(status=304, headers={"ETag": '"x"'})


def _urls(**pages: Any) -> list[Any]:
    return [re_path(f"^{name}", view) for name, view in pages.items()]


urlpatterns = _urls(
    hello=hello,
    environ=environ,
    echo=echo,
    large=large,
    file=file,
    fails=fails,
    breaks=breaks,
    short=short,
    hangs=hangs,
    sleeps=sleeps,
    burns=burns,
    not_modified=not_modified,
)
