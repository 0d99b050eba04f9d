"""Views of Django that publish a message, and read the stored message."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from wsredis.publisher import SELF, RedisPublisher


def order(request: HttpRequest) -> HttpResponse:
    RedisPublisher(facility="orders", groups=["staff"]).publish_message("a new order")
    buyer = RedisPublisher(facility="orders", request=request, users=[SELF])
    buyer.publish_message("thank you", expire=600)
    return HttpResponse(status=204)


def last(request: HttpRequest) -> HttpResponse:
    kept = RedisPublisher().fetch_message(request, "orders", "user")
    return HttpResponse(kept or b"nothing yet")
