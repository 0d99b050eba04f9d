"""The accounts: a cookie says to the pages who somebody is, a token says it to the gateway."""

import json
import secrets
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import jwt
from fastapi import APIRouter, Body, Cookie, Depends, HTTPException, Request, Response

router = APIRouter(prefix="/api")

#: A real application keeps hashes of passwords, and all of this in a database.
PASSWORDS = {"john": "notes", "mary": "notes", "paul": "notes"}

#: Seconds for which a token opens a WebSocket, and for which the WebSocket lives.
LIFETIME = 600

KEY = Path(__file__).with_name("token.key").read_bytes().removesuffix(b"\n")


class Session(NamedTuple):
    """
    A login.

    Attributes:
        user: The name of the user.
        name: Names the session in tokens. Unlike the key in the cookie it is no secret.
    """

    user: str
    name: str


#: The sessions by their keys.
sessions: dict[str, Session] = {}


SessionKey = Annotated[str, Cookie(alias="session")]


def current(key: SessionKey = "") -> Session:
    """The session of a request, or 401."""
    if key not in sessions:
        raise HTTPException(401, "log in first")
    return sessions[key]


Current = Annotated[Session, Depends(current)]


@router.post("/login", status_code=204)
async def login(
    user: Annotated[str, Body()], password: Annotated[str, Body()], response: Response
) -> None:
    """Begin a session. Its key is in a cookie that no script can read."""
    if user not in PASSWORDS or not secrets.compare_digest(
        PASSWORDS[user].encode(), password.encode()
    ):
        raise HTTPException(401, "wrong name or password")
    key = secrets.token_urlsafe()
    sessions[key] = Session(user, secrets.token_urlsafe())
    # A public site adds secure=True.
    response.set_cookie("session", key, httponly=True, samesite="lax")


@router.get("/token")
async def token(session: Current) -> dict[str, str]:
    """Return the name of the user, and a token for the next WebSocket."""
    claims = {"sub": session.user, "sid": session.name, "exp": int(time.time()) + LIFETIME}
    return {"user": session.user, "token": jwt.encode(claims, KEY, algorithm="HS256")}


@router.post("/logout", status_code=204)
async def logout(session: Current, key: SessionKey, request: Request, response: Response) -> None:
    """End the session, and with it the WebSockets of all its pages."""
    del sessions[key]
    response.delete_cookie("session")
    command = json.dumps({"end": {"session": session.name}})
    async with request.app.state.redis.pipeline() as pipeline:
        # For gateways that are not connected at this moment, as long as a token may live.
        pipeline.xadd("wsredis-ended", {"command": command}, maxlen=10000)
        pipeline.expire("wsredis-ended", 86400)
        pipeline.publish("wsredis-control", command)
        await pipeline.execute()
