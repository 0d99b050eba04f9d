"""Settings of a small Django project: no database, static files, and this gateway's runserver."""

from __future__ import annotations

import os
from pathlib import Path

SECRET_KEY = "only for tests"
DEBUG = os.environ.get("SITE_DEBUG") == "1"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "mysite.urls"
USE_TZ = True
INSTALLED_APPS = ["wsredis.django", "django.contrib.staticfiles"]
DATABASES: dict[str, object] = {}
STATIC_URL = "/static/"
STATICFILES_DIRS = [Path(__file__).parent / "static"]
MIDDLEWARE = [
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.common.CommonMiddleware",
]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 28

WEBSOCKET_URL = "/ws/"
WS4REDIS_HEARTBEAT = "--heartbeat--"
if "SITE_REDIS" in os.environ:
    WS4REDIS_CONNECTION = {"unix_socket_path": os.environ["SITE_REDIS"]}
if "SITE_ASGI" in os.environ:
    ASGI_APPLICATION = "mysite.asgi.application"
