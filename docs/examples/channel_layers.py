"""The layer, in the settings of a project."""

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "wsredis.layer.ChannelLayer",
        "CONFIG": {"hosts": ["redis://localhost:6379"]},
    }
}
