"""A project of Django and Channels in one module, to be served as an ASGI application."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="for tests only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    INSTALLED_APPS=[
        # As in Channels' own tutorial: it has a reactor of its own, which must not be used.
        "daphne",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ],
    STATIC_URL="/static/",
    STATICFILES_DIRS=[str(Path(__file__).parent / "site" / "static")],
    DEBUG=True,
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["ASGI_DATABASE"]}
    },
    # More than this of an upload goes to a file.
    FILE_UPLOAD_MAX_MEMORY_SIZE=10_000,
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "wsredis.layer.ChannelLayer",
            "CONFIG": {"hosts": [os.environ["ASGI_REDIS"]]},
        }
    },
    USE_TZ=True,
)

import django  # noqa: E402

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from channels.generic.websocket import (  # noqa: E402
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.layers import get_channel_layer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import (  # noqa: E402
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

__all__ = ["application"]


def sync_view(request: HttpRequest) -> HttpResponse:
    """Write and read the database, in a thread."""
    name = request.GET["name"]
    User.objects.create(username=name)
    known = [*User.objects.order_by("id").values_list("username", flat=True)]
    return JsonResponse({"known": known, "in thread": threading.current_thread().name})


async def async_view(request: HttpRequest) -> HttpResponse:
    """Read the database from a coroutine, and wait a little."""
    await asyncio.sleep(0.001)
    return JsonResponse({"count": await User.objects.acount()})


def visits(request: HttpRequest) -> HttpResponse:
    """Count in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Send lines one after the other."""

    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number}\n"
            await asyncio.sleep(0)

    return StreamingHttpResponse(lines(), content_type="text/plain")


@csrf_exempt  # type: ignore[untyped-decorator]
def upload(request: HttpRequest) -> HttpResponse:
    """Take a file, and say what it is."""
    taken = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in taken.chunks():
        digest.update(chunk)
    return JsonResponse({"name": taken.name, "size": taken.size, "sha256": digest.hexdigest()})


@csrf_exempt  # type: ignore[untyped-decorator]
def body(request: HttpRequest) -> HttpResponse:
    """Take a body, and say what it is."""
    content = request.body
    return JsonResponse({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


def fails(request: HttpRequest) -> HttpResponse:
    """A view with a mistake."""
    raise LookupError("the view has a mistake")


def tell(request: HttpRequest) -> HttpResponse:
    """Tell all consumers something, from a synchronous view."""
    async_to_sync(get_channel_layer().group_send)(
        "crowd", {"type": "told", "text": request.GET["text"]}
    )
    return HttpResponse("told")


class Crowd(AsyncWebsocketConsumer):
    """Hears what the crowd is told, and tells it what its client says."""

    groups = ["crowd"]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """See Channels."""
        await self.channel_layer.group_send("crowd", {"type": "told", "text": text_data})

    async def told(self, event: dict[str, Any]) -> None:
        """Hear."""
        await self.send(event["text"])


class Users(JsonWebsocketConsumer):
    """A synchronous consumer, which uses the database."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """See Channels."""
        self.send_json({"known": User.objects.filter(username=content["name"]).exists()})


class Doorman(AsyncWebsocketConsumer):
    """Lets nobody in."""

    async def connect(self) -> None:
        """See Channels."""
        await self.close()


urlpatterns = [
    path("sync", sync_view),
    path("async", async_view),
    path("visits", visits),
    path("stream", stream),
    path("upload", upload),
    path("body", body),
    path("fails", fails),
    path("tell", tell),
]
_pages = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(get_asgi_application()),
        "websocket": URLRouter(
            [
                path("crowd", Crowd.as_asgi()),
                path("users", Users.as_asgi()),
                path("doorman", Doorman.as_asgi()),
            ]
        ),
    }
)
call_command("migrate", verbosity=0)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The application, and its start and stop."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                return
    await _pages(scope, receive, send)
