"""The configuration of the app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks

__all__ = ["WsredisConfig"]


class WsredisConfig(AppConfig):
    """``wsredis.django`` in INSTALLED_APPS."""

    name = "wsredis.django"
    label = "wsredis"

    def ready(self) -> None:
        """Listen to signals, and check the settings."""
        # What they import needs the models of all apps.
        from wsredis.django.checks import check_settings
        from wsredis.django.control import control
        from wsredis.django.signals import Watch

        self._watch = Watch(control)
        checks.register(check_settings, "wsredis")
