"""The configuration of the app."""

from __future__ import annotations

from django.apps import AppConfig

__all__ = ["WsredisConfig"]


class WsredisConfig(AppConfig):
    """``wsredis.django`` in INSTALLED_APPS."""

    name = "wsredis.django"
    label = "wsredis"
