"""An application with a login of its own, which identifies clients for wsredis."""

import secrets
from pathlib import Path
from typing import Annotated

from fastapi import Body, Cookie, FastAPI, Header
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse

app = FastAPI()

GROUPS = {"john": ["staff"]}

#: Users by the keys of their sessions. A real application would keep them in a database.
sessions: dict[str, str] = {}


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("auth_page.html"))


@app.post("/login")
async def login(user: Annotated[str, Body(embed=True)]) -> PlainTextResponse:
    # A real application would check a password.
    key = secrets.token_urlsafe()
    sessions[key] = user
    response = PlainTextResponse("welcome")
    response.set_cookie("sessionid", key, httponly=True, samesite="lax")
    return response


@app.post("/logout")
async def logout(sessionid: Annotated[str | None, Cookie()] = None) -> PlainTextResponse:
    sessions.pop(sessionid or "", None)
    return PlainTextResponse("goodbye")


@app.get("/wsredis-auth")
async def wsredis_auth(
    x_wsredis_facility: Annotated[str, Header()],
    sessionid: Annotated[str | None, Cookie()] = None,
) -> JSONResponse:
    user = sessions.get(sessionid or "")
    if user is None:
        if x_wsredis_facility.startswith("private/"):
            return JSONResponse({"reason": "log in first"}, 401)
        return JSONResponse({"channels": {"*": ["subscribe-broadcast"]}})
    return JSONResponse({"user": user, "groups": GROUPS.get(user, []), "session": sessionid})
