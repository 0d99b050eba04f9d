"""A subscriber class: rooms for staff, an audience of its own, and how many are in a room."""

from django.core.exceptions import PermissionDenied

from wsredis.django import Subscriber


class ChatSubscriber(Subscriber):
    subscription_channels = [*Subscriber.subscription_channels, "subscribe-server"]

    counter = None

    def set_pubsub_channels(self, request, channels):
        if request.facility.startswith("staff-") and not request.user.is_staff:
            raise PermissionDenied("for staff only")
        super().set_pubsub_channels(request, channels)
        if "subscribe-server" in channels:
            self._subscription.subscribe(f"{self.get_prefix()}server:news")
        self.counter = f"{self.get_prefix()}present:{request.facility}"
        self._connection.incr(self.counter)

    def send_persisted_messages(self, websocket):
        websocket.send("welcome")
        super().send_persisted_messages(websocket)

    def publish_message(self, message, expire=None):
        if message.startswith(b"/"):
            raise PermissionDenied("no commands here")
        super().publish_message(message.strip(), expire)

    def release(self):
        # None if the client was refused.
        if self.counter is not None:
            self._connection.decr(self.counter)
        super().release()
