"""A room in which all hear what one says, and a worker that does jobs for it."""

from __future__ import annotations

import os
from typing import Any

import django
from asgiref.sync import async_to_sync
from channels.consumer import SyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

django.setup(set_prefix=False)

urlpatterns: list[Any] = []


class Room(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A WebSocket in the room."""

    async def connect(self) -> None:
        """Enter."""
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave."""
        await self.channel_layer.group_discard("room", self.channel_name)

    async def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        """Say something to all, or ask for a job."""
        verb, _, text = text_data.partition(" ")
        if verb == "say":
            await self.channel_layer.group_send("room", {"type": "room.said", "text": text})
        else:
            job = {"type": "do.job", "text": text, "reply": self.channel_name}
            await self.channel_layer.send("jobs", job)

    async def room_said(self, event: dict[str, Any]) -> None:
        """Hear something."""
        await self.send(event["text"])

    async def layer_gap(self, event: dict[str, Any]) -> None:
        """Something may have been missed."""
        await self.send("gap")


class SyncRoom(WebsocketConsumer):  # type: ignore[misc]
    """The same in synchronous code, without an ear for gaps."""

    groups = ["room"]

    def receive(self, text_data: str = "", bytes_data: bytes | None = None) -> None:
        """Say something to all."""
        message = {"type": "room.said", "text": text_data.partition(" ")[2]}
        async_to_sync(self.channel_layer.group_send)("room", message)

    def room_said(self, event: dict[str, Any]) -> None:
        """Hear something."""
        self.send(event["text"])


class Worker(SyncConsumer):  # type: ignore[misc]
    """Does jobs."""

    def do_job(self, job: dict[str, Any]) -> None:
        """Do one."""
        message = {"type": "room.said", "text": f"{job['text']} by {os.getpid()}"}
        async_to_sync(self.channel_layer.send)(job["reply"], message)


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Choose a consumer."""
    consumer = SyncRoom if scope["path"] == "/sync" else Room
    await consumer.as_asgi()(scope, receive, send)


application = ProtocolTypeRouter(
    {"websocket": websocket, "channel": ChannelNameRouter({"jobs": Worker.as_asgi()})}
)
