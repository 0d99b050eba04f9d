"""The Django app: runserver with WebSockets, template tags, system checks, signals, subscribers."""

from wsredis.django.subscriber import Subscriber

__all__ = ["Subscriber"]
