"""
The peer of Django Channels: Daphne, and a consumer with the layer of channels_redis.

    daphne daphne_app:application

The variable REDIS_PORT has the port of Redis. The layer sends messages in its own format through
Redis, so only its clients can publish.
"""

from __future__ import annotations

import os

from django.conf import settings

settings.configure(
    SECRET_KEY="for benchmarks only",
    ALLOWED_HOSTS=["*"],
    CHANNEL_LAYERS={
        "default": {
            # The layer on pub/sub, which the documentation advises for latency and throughput.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{os.environ['REDIS_PORT']}"]},
        }
    },
)

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import re_path  # noqa: E402


class Gateway(AsyncWebsocketConsumer):
    """A client that listens or publishes."""

    async def connect(self) -> None:
        """Join the group."""
        self.kind, self.name = self.scope["url_route"]["args"]
        if self.kind == "sub":
            await self.channel_layer.group_add(self.name, self.channel_name)
        await self.accept()

    async def disconnect(self, code) -> None:
        """Leave the group."""
        if self.kind == "sub":
            await self.channel_layer.group_discard(self.name, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None) -> None:
        """Publish."""
        if self.kind == "pub":
            await self.channel_layer.group_send(
                self.name, {"type": "chat.message", "text": text_data}
            )

    async def chat_message(self, event) -> None:
        """Deliver."""
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter(
    {"websocket": URLRouter([re_path(r"^(sub|pub)/(\w+)$", Gateway.as_asgi())])}
)
