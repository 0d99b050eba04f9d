"""
A plugin for pytest that runs the tests of channels_redis against the layer of wsredis.

It puts our layer in the place of theirs before their tests import it, leaves tests out that look
into their inner parts, each with a reason, and lets the others use the Redis of ``LAYER_PORT``.
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

from wsredis.layer import ChannelLayer

#: Tests that are left out, and why. Not more than these: a new one needs a reason.
LEFT_OUT = {
    "test_core.py::test_default_group_key_format": "the key of a set; ours is a subscription",
    "test_core.py::test_custom_group_key_format": "the key of a set; ours is a subscription",
    "test_core.py::test_receive_buffer_respects_capacity": "an attribute with their buffers",
    "test_pubsub.py::test_receive_on_non_owned_general_channel": "sends a str; messages are dicts",
    "test_pubsub.py::test_loop_instance_channel_layer_reference": "their object for each loop",
    "test_pubsub.py::test_multi_event_loop_garbage_collection": "their objects for each loop",
    "test_pubsub.py::test_auto_reconnect": "closes the client of redis-py in their inner parts",
}

#: The port that their tests name.
_THEIRS = "redis://localhost:6379"


class _Layer(ChannelLayer):
    """Our layer, on another port than the one that is fixed in their tests."""

    def __init__(self, hosts: Any = None, **config: Any) -> None:
        port = os.environ["LAYER_PORT"]
        ours = f"redis://127.0.0.1:{port}"
        found = [host.replace(_THEIRS, ours) for host in hosts or [_THEIRS]]
        super().__init__(hosts=found, **config)


def pytest_configure(config: pytest.Config) -> None:
    """Put our layer in the place of theirs."""
    channels_redis.core.RedisChannelLayer = _Layer
    channels_redis.pubsub.RedisPubSubChannelLayer = _Layer
    if "async_timeout" not in sys.modules:
        # Part of Python since 3.11.
        substitute = types.ModuleType("async_timeout")
        substitute.timeout = asyncio.timeout  # type: ignore[attr-defined]
        sys.modules["async_timeout"] = substitute


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is left out."""
    for item in items:
        name = f"{item.path.name}::{item.name.partition('[')[0]}"
        if name in LEFT_OUT:
            item.add_marker(pytest.mark.skip(reason=LEFT_OUT[name]))
