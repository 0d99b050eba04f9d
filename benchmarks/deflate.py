"""
Bytes and CPU for 1 KiB of JSON to 1000 clients, with and without compression.

    PYTHONPATH=. python benchmarks/deflate.py
"""

import json
import os
import resource
from pathlib import Path
from random import Random

from tests.support.children import Gateway, RedisServer
from tests.support.deflate import OFFER
from tests.support.raw import RawClient

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
redis = RedisServer()
for burst in (1, 32):
    for options in ((), ("--compress",)):
        gateway = Gateway("--redis", redis.url, "--send-buffer", "1048576", *options)
        path, stat = "/ws/m?subscribe-broadcast", Path(f"/proc/{gateway.child.pid}/stat")
        clients = [RawClient.opened(gateway.port, path, OFFER) for _ in range(1000)]
        start = sum(map(int, stat.read_text().split()[13:15]))
        size, random = 0, Random(1)
        for _ in range(480 // burst):
            row = [{"id": random.randrange(10**9), "sum": random.random()} for _ in range(25)]
            redis.pipeline(*[("PUBLISH", "broadcast:m", json.dumps(row)[:1024])] * burst)
            size += sum(len(each.receive().payload) for each in clients for _ in range(burst))
        used = sum(map(int, stat.read_text().split()[13:15])) - start
        print(
            f"{burst} at once {options}: {size / 1e6:.0f} MB, {used / os.sysconf('SC_CLK_TCK')} s"
        )
        gateway.stop()
redis.stop()
