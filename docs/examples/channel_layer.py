"""A consumer that follows a chat, and reads what it missed after a gap."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

#: What was said, as a database would keep it.
HISTORY: list[str] = []


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One browser in the chat."""

    async def connect(self) -> None:
        """Enter, and show what was said."""
        await self.channel_layer.group_add("chat", self.channel_name)
        await self.accept()
        await self.send_json({"history": HISTORY})

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        """Keep what the browser says, and tell the others."""
        HISTORY.append(content["text"])
        message = {"type": "chat.said", "text": content["text"]}
        await self.channel_layer.group_send("chat", message)

    async def chat_said(self, event: dict[str, Any]) -> None:
        """Pass on what somebody said."""
        await self.send_json({"text": event["text"]})

    async def layer_gap(self, event: dict[str, Any]) -> None:
        """Messages may have been lost: show all once more."""
        await self.send_json({"history": HISTORY})
