"""``manage.py runserver`` with sockets beside the pages."""

from __future__ import annotations

import os
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from wsredis.django.server import GatewayServer, needs_redis, private_redis
from wsredis.errors import ConfigError
from wsredis.service import embedded

if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as _Runserver
else:
    from django.core.management.commands.runserver import Command as _Runserver

__all__ = ["Command"]


class Command(_Runserver):
    """
    Django's own command, with all its options; only the server is another one.

    Attributes:
        redis_port: Of localhost, where Redis is looked for and started.
    """

    help = "Starts a server for development: pages, static files and WebSockets on one port."
    server_cls = GatewayServer
    redis_port = embedded.DEFAULT_PORT

    def run(self, **options: Any) -> None:
        """Run the server, and a private Redis if there is none."""
        # With the reloader it belongs to the outer process, so that it outlives a reload.
        is_inner = os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"
        if is_inner or not needs_redis(self.redis_port):
            super().run(**options)
            return
        try:
            executable = embedded.find_server()
        except ConfigError as error:
            raise CommandError(str(error)) from None
        with private_redis(executable, self.redis_port):
            self.stdout.write("No Redis at localhost: started a private one, which keeps nothing.")
            super().run(**options)
