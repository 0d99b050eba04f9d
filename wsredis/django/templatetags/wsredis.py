"""``{% load wsredis %}``."""

from __future__ import annotations

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured

from wsredis.django.browser import script

__all__ = ["wsredis_script"]

register = template.Library()


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]
def wsredis_script(context: Any) -> Any:
    """
    ``{% wsredis_script %}``: ``wsredis.js`` and its configuration.

    A nonce that django-csp or Django made for the page is used.

    Raises:
        ImproperlyConfigured: There is no request to take the host from.
    """
    request = context.get("request")
    if request is None:
        request = getattr(context, "request", None)
    if request is None:
        raise ImproperlyConfigured(
            "{% wsredis_script %} needs the request: render the template with it"
        )
    # Nonces are lazy, and are false until somebody uses them.
    nonce = getattr(request, "csp_nonce", None)
    return script(request, context.get("csp_nonce") if nonce is None else nonce)
