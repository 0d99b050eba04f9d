"""A consumer of Django Channels that hears what the gateway's sockets hear."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from wsredis.layer import gateway_group


class BoardConsumer(AsyncJsonWebsocketConsumer):
    """Shows the staff all orders of pizzas."""

    orders = gateway_group("group", "staff", "orders/pizza")

    async def connect(self):
        """Hear the channel of the gateway."""
        await self.channel_layer.group_add(self.orders, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        """Hear it no more."""
        await self.channel_layer.group_discard(self.orders, self.channel_name)

    async def gateway_message(self, event):
        """Somebody has published a message there."""
        await self.send_json({"channel": event["channel"], "order": event["text"]})
