"""Notes that everybody reads: one page, and one way to write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI
from fastapi.responses import FileResponse

from wsredis.publisher import AsyncRedisPublisher


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to Redis at the start, and not once for each note."""
    async with AsyncRedisPublisher(facility="notes", broadcast=True) as publisher:
        app.state.publisher = publisher
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/api/notes", status_code=202)
async def write(text: Annotated[str, Body(embed=True, min_length=1, max_length=500)]) -> None:
    """Publish a note. The last one is stored for pages that open later."""
    await app.state.publisher.publish_message(text)


@app.get("/")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(Path(__file__).with_name("page.html"))
