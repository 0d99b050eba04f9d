"""The rights of clients on channels."""


def allowed_channels(request, channels):
    """
    Choose among the flags that a WebSocket requests.

    In ``chat`` everybody may listen and publish. In ``userchat`` users may listen after a login;
    they publish through the form, because its view knows the user.
    """
    if request.path_info == "/ws/chat":
        return channels
    if request.user.is_authenticated:
        return [channel for channel in channels if channel.startswith("subscribe-")]
    return []
