"""
An ASGI application without any framework: it answers "ping" with "pong!".

    wsredis serve --asgi pingpong:application

http://localhost:8080/ping answers a request, ws://localhost:8080/ping a message of a WebSocket.
"""

from __future__ import annotations


async def application(scope, receive, send):
    """Called once for each request, for each WebSocket, and for the life of the server."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["path"] != "/ping":
        await not_found(scope, send)
    elif scope["type"] == "http":
        await answer(send, 200, b"pong!")
    else:
        await talk(receive, send)


async def live(receive, send):
    """Take note of the start and of the stop of the server."""
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def talk(receive, send):
    """Answer the messages of a WebSocket until it is closed."""
    event = await receive()
    await send({"type": "websocket.accept"})
    while event["type"] != "websocket.disconnect":
        event = await receive()
        if event.get("text") == "ping":
            await send({"type": "websocket.send", "text": "pong!"})


async def answer(send, status, body):
    """Answer a request with a text."""
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def not_found(scope, send):
    """Refuse a path that does not exist."""
    if scope["type"] == "http":
        await answer(send, 404, b"only /ping is here")
    else:
        # Before it was accepted, this is the status 403.
        await send({"type": "websocket.close"})
