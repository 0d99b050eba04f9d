"""
A channel layer for Django Channels, on pub/sub and lists of Redis; no Twisted where there is none.

``CHANNEL_LAYERS = {"default": {"BACKEND": "wsredis.layer.ChannelLayer", "CONFIG": {...}}}``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsredis.group_names import gateway_group
from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable

if TYPE_CHECKING:
    from wsredis.layer.channel_layer import ChannelLayer
else:  # to a type checker, a name that is not above does not exist

    def __getattr__(name: str) -> Any:
        # Loaded late, since it brings Channels and Django.
        if name != "ChannelLayer":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from wsredis.layer.channel_layer import ChannelLayer

        return ChannelLayer


__all__ = ["ChannelLayer", "LayerOutcomeUnknown", "LayerUnavailable", "gateway_group"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
