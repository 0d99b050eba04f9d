"""Send a line to a facility, and print what comes: python listen.py [URL]"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL = "ws://localhost:8080/ws/chat?subscribe-broadcast&publish-broadcast&echo"

# After these codes of the gateway, a new connection would end in the same way.
FINAL = {1000, 1002, 1007, 1008, 1009, 4400, 4401, 4403}


async def main(url: str) -> None:
    token = os.environ.get("TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # Each turn of the loop is a new connection; the waits between them grow.
    async for socket in connect(url, additional_headers=headers, subprotocols=["wsredis"]):
        try:
            await socket.send("hello from Python")
            async for message in socket:
                if message == b"":
                    # The gateway looks for a sign of life.
                    await socket.send(b"")
                elif isinstance(message, bytes) and message.startswith(b'{"hello"'):
                    print("I hear", *json.loads(message)["hello"]["subscribe"], flush=True)
                else:
                    print(message, flush=True)
        except ConnectionClosed:
            pass
        print("closed:", socket.close_code, socket.close_reason, flush=True)
        if socket.close_code in FINAL:
            return


try:
    asyncio.run(main(*sys.argv[1:] or [URL]))
except InvalidStatus as error:
    sys.exit(f"refused: {error.response.status_code} {error.response.body.decode()}")
