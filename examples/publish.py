"""Publish one message with redis-py, and store it for pages that connect later."""

from __future__ import annotations

import os
import sys

import redis

CHANNEL = "broadcast:news"
EXPIRE = 3600  # seconds

message = sys.argv[1] if len(sys.argv) > 1 else "Hello"
with redis.Redis.from_url(os.environ.get("WSREDIS_REDIS", "redis://localhost:6379")) as client:
    # In one transaction: a page that connects at this moment receives the message exactly once.
    with client.pipeline(transaction=True) as together:
        together.set(CHANNEL, message, ex=EXPIRE)
        together.publish(CHANNEL, message)
        _, receivers = together.execute()
print(f"{receivers} gateway(s) received it")
