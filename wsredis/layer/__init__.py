"""
A channel layer for Django Channels, on pub/sub and lists of Redis; no Twisted where there is none.

``CHANNEL_LAYERS = {"default": {"BACKEND": "wsredis.layer.ChannelLayer", "CONFIG": {...}}}``
"""

from __future__ import annotations

from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable

__all__ = ["LayerOutcomeUnknown", "LayerUnavailable"]
