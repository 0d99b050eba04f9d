"""A change without a signal of Django, and the call that reports it to the gateway."""

from __future__ import annotations

from django.contrib.auth.models import User

from wsredis.django.control import control


def lock_out(*names: str) -> None:
    User.objects.filter(username__in=names).update(is_active=False)
    control.recheck_users(*names)
