"""The pages of the chat."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def rooms(request: HttpRequest) -> HttpResponse:
    """Ask which room to enter."""
    return render(request, "chat/rooms.html")


async def room(request: HttpRequest, name: str) -> HttpResponse:
    """Show a room."""
    return render(request, "chat/room.html", {"name": name})
