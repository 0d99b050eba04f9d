"""The gateway as a part of a Twisted application: twistd -n -y application.py"""

from __future__ import annotations

from twisted.application.service import Application

from wsredis import GatewayConfig, GatewayService, Limits, RedisConfig

config = GatewayConfig(
    port=("tcp:8080:interface=127.0.0.1",),
    prefix="shop",
    redis=RedisConfig(url="redis://localhost:6379/1"),
    limits=Limits(max_connections=5000),
)

application = Application("shop")
GatewayService(config).setServiceParent(application)
