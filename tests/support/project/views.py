"""Pages to log in and out with; without protection against forged requests, for tests."""

from __future__ import annotations

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.template import engines

from tests.support.project.hooks import cookies_of


def whoami(request: HttpRequest) -> HttpResponse:
    """The name of the user, or ``nobody``."""
    return HttpResponse(request.user.get_username() or "nobody")


def cookies(request: HttpRequest) -> HttpResponse:
    """What a page sees of cookies and user."""
    return HttpResponse(cookies_of(request))


def listen(request: HttpRequest) -> HttpResponse:
    """A page with the browser script, and the policy that the documentation recommends."""
    text = '<!doctype html><link rel="icon" href="data:,">{% load wsredis %}{% wsredis_script %}'
    policy = "default-src 'none'; img-src data:; script-src 'self'; connect-src 'self'"
    page = engines["django"].from_string(text).render({}, request)
    return HttpResponse(page, headers={"Content-Security-Policy": policy})


def log_in(request: HttpRequest) -> HttpResponse:
    """Log in as ``?user=NAME&password=PASSWORD`` says."""
    user = auth.authenticate(
        request, username=request.GET.get("user"), password=request.GET.get("password")
    )
    if user is None:
        return HttpResponse("no such user", status=403)
    auth.login(request, user)
    return HttpResponse(user.get_username())


def log_out(request: HttpRequest) -> HttpResponse:
    """Log out."""
    auth.logout(request)
    return HttpResponse("nobody")


def change_password(request: HttpRequest) -> HttpResponse:
    """Change the password to ``?password=PASSWORD``; only this session goes on."""
    request.user.set_password(request.GET["password"])
    request.user.save()
    auth.update_session_auth_hash(request, request.user)
    return HttpResponse("changed")
