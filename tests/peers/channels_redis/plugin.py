"""
A plugin for pytest that puts our layer in the place of those of channels_redis in their own tests.

Their tests name a Redis at ``localhost:6379``; they get the one of ``LAYER_PORT``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import types
from typing import Any

import channels_redis.core
import channels_redis.pubsub
import pytest

from tests.peers.left_out import LeftOut
from wsredis.layer import ChannelLayer

_LEFT_OUT = {
    "test_core.py::test_default_group_key_format": (
        "asks for the key of the sorted set of a group; ours is no key but a subscription"
    ),
    "test_core.py::test_custom_group_key_format": (
        "asks for the key of the sorted set of a group; ours is no key but a subscription"
    ),
    "test_core.py::test_receive_buffer_respects_capacity": (
        "fills an inner buffer; that ours is bounded is tested by their test_group_send_capacity"
    ),
    "test_pubsub.py::test_loop_instance_channel_layer_reference": (
        "looks at the object that theirs makes for each event loop; ours makes none"
    ),
    "test_pubsub.py::test_multi_event_loop_garbage_collection": (
        "counts the objects that theirs makes for each event loop; ours makes none"
    ),
    "test_pubsub.py::test_auto_reconnect": (
        "closes the inner client of redis-py; tests/integration/test_layer kills Redis instead"
    ),
}

_THEIRS = "redis://localhost:6379"


class _Layer(ChannelLayer):
    """Our layer at the Redis of this run."""

    def __init__(self, hosts: Any = None, **config: Any) -> None:
        ours = f"redis://127.0.0.1:{os.environ['LAYER_PORT']}"
        super().__init__([each.replace(_THEIRS, ours) for each in hosts or [_THEIRS]], **config)


def pytest_configure(config: pytest.Config) -> None:
    """Put our layer in the place of theirs, and keep account of the tests."""
    channels_redis.core.RedisChannelLayer = _Layer
    channels_redis.pubsub.RedisPubSubChannelLayer = _Layer
    # A library whose part of use is in Python since 3.11.
    substitute: Any = types.ModuleType("async_timeout")
    substitute.timeout = asyncio.timeout
    sys.modules.setdefault("async_timeout", substitute)
    config.pluginmanager.register(LeftOut(_LEFT_OUT))
