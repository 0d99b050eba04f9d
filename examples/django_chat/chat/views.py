"""The chat with users and groups."""

import json
import time
from uuid import uuid4

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST
from redis import RedisError

from chat.forms import MessageForm
from wsredis.publisher import RedisPublisher


@login_required
def userchat(request):
    """The page, with a form for the receiver and the text."""
    return render(request, "chat/userchat.html", {"form": MessageForm()})


@require_POST
def send(request):
    """Publish the message of the form of ``userchat``."""
    if not request.user.is_authenticated:
        return HttpResponse("You are logged out.", status=401)
    form = MessageForm(request.POST)
    if not form.is_valid():
        return HttpResponse("Choose a receiver, and write 1 to 500 characters.", status=400)
    audience, _, name = form.cleaned_data["to"].partition(":")
    message = {
        "id": uuid4().hex,
        "at": int(time.time() * 1000),
        "from": request.user.username,
        "to": name or "everybody",
        "audience": audience,
        "text": form.cleaned_data["text"],
    }
    receivers = {
        "all": {"broadcast": True},
        "user": {"users": [name]},
        "group": {"groups": [name]},
    }[audience]
    try:
        RedisPublisher(facility="userchat", **receivers).publish_message(json.dumps(message))
    except RedisError:
        return HttpResponse("The message could not be sent. Try again later.", status=503)
    return JsonResponse(message)
