"""Send to groups from synchronous code: a view, a task of Celery, a management command."""

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from wsredis.layer import gateway_group


def say(text: str) -> None:
    """Send to the consumers in a group."""
    group_send = async_to_sync(get_channel_layer().group_send)
    group_send("chat", {"type": "chat.said", "text": text})


def tell_john(text: str) -> None:
    """Send to the plain sockets of a user, which hear the text and nothing else."""
    group_send = async_to_sync(get_channel_layer().group_send)
    group_send(gateway_group("user", "john", "chat/1"), {"type": "websocket.send", "text": text})
