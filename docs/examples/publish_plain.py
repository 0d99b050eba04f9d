"""Publish to everybody and to two users, in one round trip: python publish_plain.py"""

from __future__ import annotations

from wsredis.publisher import RedisPublisher

publisher = RedisPublisher(facility="news", broadcast=True, users=["john", "mary"])
receivers = publisher.publish_message("Hello")
print(f"{receivers} subscriber(s) received it")
print(publisher.fetch_message(None, "news"))
