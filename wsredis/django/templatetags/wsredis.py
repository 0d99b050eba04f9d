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
    ``{% wsredis_script %}``: put ``wsredis.js`` and its configuration into the page.

    If django-csp or Django made a nonce for the page, the script has it.

    Raises:
        ImproperlyConfigured: The context has no request, so that the host is not known.
    """
    request = context.get("request")
    if request is None:
        request = getattr(context, "request", None)
    if request is None:
        raise ImproperlyConfigured(
            "{% wsredis_script %} needs the request: render the template with it"
        )
    # Nonces are lazy: they are false until they are used.
    nonce = getattr(request, "csp_nonce", None)
    return script(request, context.get("csp_nonce") if nonce is None else nonce)
