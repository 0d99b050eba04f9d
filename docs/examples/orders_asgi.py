"""A worker that hears what clients of plain sockets say, and answers them."""

from itertools import count

from channels.consumer import AsyncConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter

from wsredis.layer import gateway_group

_numbers = count(1)


class OrdersConsumer(AsyncConsumer):
    """Takes the events of the worker channel ``orders``, one at a time."""

    async def gateway_receive(self, event):
        """Somebody has said something on a facility such as ``orders/pizza``."""
        if event["user"] is None:
            return
        order = f"{event['user']} orders {event['text']}"
        if event["reply"] is not None:
            await self.say(event["reply"], f"your order has the number {next(_numbers)}")
        await self.say(gateway_group("group", "staff", event["facility"]), order)

    async def say(self, group, text):
        """Send a text to the sockets that hear *group*."""
        await self.channel_layer.group_send(group, {"type": "websocket.send", "text": text})


application = ProtocolTypeRouter(
    {"channel": ChannelNameRouter({"orders": OrdersConsumer.as_asgi()})}
)
