"""Hooks that decide about channels; the settings of a Django project name one of them."""

from django.core.exceptions import PermissionDenied


def allowed_channels(request, channels):
    """``WS4REDIS_ALLOWED_CHANNELS = "chat_hooks.allowed_channels"``"""
    if request.path_info.startswith("/ws/staff/") and not request.user.is_staff:
        raise PermissionDenied("This is for the staff.")
    if not request.user.is_authenticated:
        # Visitors without a login may listen, and may not publish.
        return [channel for channel in channels if channel == "subscribe-broadcast"]
    return channels


async def staff_of_the_moment(request, channels):
    """Read the groups from the database each time; a hook may be a coroutine function."""
    groups = request.user.groups.filter(name="staff")
    return channels if await groups.aexists() else []
