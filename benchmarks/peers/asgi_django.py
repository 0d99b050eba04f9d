"""The same with Django and Channels."""

from __future__ import annotations

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="for benchmarks only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()


async def hello(request: HttpRequest) -> HttpResponse:
    """An asynchronous view."""
    return HttpResponse("Hello, world!", content_type="text/plain")


def sync_hello(request: HttpRequest) -> HttpResponse:
    """A synchronous view, which runs in a thread."""
    return HttpResponse("Hello, world!", content_type="text/plain")


class Echo(AsyncWebsocketConsumer):
    """Sends back."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """See Channels."""
        await self.send(text_data)


urlpatterns = [path("", hello), path("sync", sync_hello)]
app = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": URLRouter([path("echo", Echo.as_asgi())])}
)
