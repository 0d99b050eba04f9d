"""The rights of clients on channels."""

from django.core.exceptions import PermissionDenied


def allowed_channels(request, channels):
    """
    Choose among the flags that a WebSocket requests.

    In ``chat`` everybody may listen and publish. In ``userchat`` users may listen after a login;
    they publish through the form, because its view knows the user.
    """
    if request.path_info == "/ws/chat":
        return channels
    if not request.user.is_authenticated:
        raise PermissionDenied("log in first")
    return [channel for channel in channels if channel.startswith("subscribe-")]
