"""Notes for everybody or for one user, after a login."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import accounts
import notes
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from redis.asyncio import Redis


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to Redis: to the one that the gateway has started, if it has."""
    url = os.environ.get("WSREDIS_REDIS", "redis://localhost:6379")
    async with Redis.from_url(url) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(accounts.router)
app.include_router(notes.router)
# The page, as "npm run build" leaves it. It comes last: it has all paths that are left.
app.mount("/", StaticFiles(directory=Path(__file__).with_name("web") / "dist", html=True))
