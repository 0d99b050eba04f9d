"""Who may listen and speak where."""


def allowed_channels(request, channels):
    """
    Choose among the flags with which a WebSocket was asked for.

    Everybody talks in ``chat``. In ``userchat`` one listens, after a login; one speaks through the
    form, whose view knows who it is.
    """
    if request.path_info == "/ws/chat":
        return channels
    if request.user.is_authenticated:
        return [channel for channel in channels if channel.startswith("subscribe-")]
    return []
