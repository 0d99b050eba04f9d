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
        """Connect to the signals of Django, and register the system checks."""
        # These modules import models, which are loaded now.
        from wsredis.django.checks import check_settings
        from wsredis.django.control import control
        from wsredis.django.signals import SignalReceiver

        # Signals have weak references only.
        self._receiver = SignalReceiver(control)
        checks.register(check_settings, "wsredis")
