"""``manage.py runserver`` with WebSockets on the port of the pages."""

from __future__ import annotations

import os
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from wsredis.config import RedisConfig, setting_of
from wsredis.config.imports import import_named, uwsgi_hint
from wsredis.config.ws4redis import is_of_ws4redis
from wsredis.django.server import AsgiApplication, GatewayServer, needs_redis
from wsredis.errors import ConfigError
from wsredis.service import embedded
from wsredis.service.embedded import private_redis

if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as _Runserver
else:
    from django.core.management.commands.runserver import Command as _Runserver

__all__ = ["Command"]

#: Names the Redis for the gateway and the publishers of this process, and for the inner process of
#: the reloader.
_URL = setting_of(RedisConfig, "url").variable


class Command(_Runserver):
    """
    Django's own command with all its options, and another server.

    Attributes:
        redis_port: The port of localhost at which Redis is looked for.
    """

    help = "Starts a server for development: pages, static files and WebSockets on one port."
    server_cls = GatewayServer
    redis_port = embedded.DEFAULT_PORT

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """
        Return the application of the project; that of Django itself in place of one in ws4redis.

        If the project has ASGI_APPLICATION, it is that one.

        Raises:
            OSError: Its module needs uWSGI, or ASGI_APPLICATION cannot be imported. runserver
                prints the message as one line.
        """
        name = getattr(settings, "ASGI_APPLICATION", None)
        if name:
            return AsgiApplication(self._asgi(name, **options))
        if is_of_ws4redis(settings.WSGI_APPLICATION):
            # django-websocket-redis has projects name its server there, whose place this one takes.
            settings.WSGI_APPLICATION = None
        try:
            return super().get_handler(*args, **options)
        except ImproperlyConfigured as error:
            cause = error.__cause__
            hint = "" if cause is None else uwsgi_hint(cause)
            if not hint:
                raise
            raise OSError(f"WSGI_APPLICATION: {cause}{hint}") from None

    def _asgi(self, name: str, **options: Any) -> Any:
        """Return the ASGI application of the project, with static files if they are wanted."""
        module, _, attribute = name.rpartition(".")
        try:
            application = import_named("ASGI_APPLICATION", f"{module}:{attribute}")
        except ConfigError as error:
            raise OSError(str(error)) from None
        # The two options belong to the command of django.contrib.staticfiles.
        serves_files = settings.DEBUG or options.get("insecure_serving")
        if options.get("use_static_handler") and serves_files:
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

            application = ASGIStaticFilesHandler(application)
        return application

    def run(self, **options: Any) -> None:
        """Run the server, and a private Redis if one is needed."""
        # With the reloader, Redis is a child of the outer process, so that it survives a reload.
        is_inner = os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"
        if is_inner or not needs_redis(self.redis_port):
            super().run(**options)
            return
        try:
            executable = embedded.find_server()
        except ConfigError as error:
            raise CommandError(str(error)) from None
        with private_redis(executable) as url:
            self.stdout.write(
                "No Redis at localhost: started a private one without files. "
                f"Other programs get there with {_URL}={url}"
            )
            os.environ[_URL] = url
            try:
                super().run(**options)
            finally:
                del os.environ[_URL]
