"""The WebSockets of the chat."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class Room(AsyncJsonWebsocketConsumer):
    """One reader in a room. All readers of a room are in one group."""

    async def connect(self):
        """Enter the room."""
        self.group = f"room.{self.scope['url_route']['kwargs']['name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        """Leave it."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        """Tell the room what this reader says."""
        text = str(content.get("text", ""))[:500]
        if text:
            await self.channel_layer.group_send(self.group, {"type": "said", "text": text})

    async def said(self, event):
        """Hear what somebody said: a message of the group with the type "said"."""
        await self.send_json({"text": event["text"]})

    async def layer_gap(self, event):
        """Hear that messages may be lost, because Redis was away."""
        await self.send_json({"gap": True})
