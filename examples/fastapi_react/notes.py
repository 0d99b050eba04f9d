"""The notes: published to everybody, or to one user."""

import json
from typing import Annotated
from uuid import uuid4

from accounts import PASSWORDS, Current
from fastapi import APIRouter, Body, HTTPException, Request

from wsredis.publisher import AsyncRedisPublisher

router = APIRouter(prefix="/api")


@router.post("/notes", status_code=202)
async def write(
    text: Annotated[str, Body(min_length=1, max_length=500)],
    to: Annotated[str, Body()],
    session: Current,
    request: Request,
) -> None:
    """Publish a note. The server knows who writes it; a page could say any name."""
    if to and to not in PASSWORDS:
        raise HTTPException(404, f"there is no {to}")
    # The writer reads it, too, in all windows.
    receivers = {"users": [to, session.user]} if to else {"broadcast": True}
    publisher = AsyncRedisPublisher(
        connection=request.app.state.redis, facility="notes", **receivers
    )
    note = {"id": uuid4().hex, "from": session.user, "to": to, "text": text}
    await publisher.publish_message(json.dumps(note))
