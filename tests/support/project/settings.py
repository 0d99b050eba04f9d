"""
The settings of the project: those in the JSON object of ``TEST_PROJECT`` replace the ones here.

Some names of that object are not Django's: ``FOLDER`` is the directory of all files,
``MORE_APPS`` is added to the installed apps, ``CONN_MAX_AGE`` is that of the database, and
``FUNCTIONS`` has the dotted names of functions that settings hold themselves.
"""

from __future__ import annotations

import json
import os
from typing import Any

from django.utils.module_loading import import_string

_replaced: dict[str, Any] = json.loads(os.environ["TEST_PROJECT"])
FOLDER = _replaced.pop("FOLDER")

SECRET_KEY = "for tests only"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    *_replaced.pop("MORE_APPS", []),
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.support.project.urls"
WSGI_APPLICATION = "tests.support.project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{FOLDER}/db.sqlite3",
        "CONN_MAX_AGE": _replaced.pop("CONN_MAX_AGE", 60),
        "OPTIONS": {"timeout": 20},
    }
}
# A cache that all processes share.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": f"{FOLDER}/cache",
    }
}
SESSION_FILE_PATH = FOLDER
# Slow hashes of passwords would only delay the tests.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
USE_TZ = True
TIME_ZONE = "UTC"
WEBSOCKET_URL = "/ws/"

for _setting, _function in _replaced.pop("FUNCTIONS", {}).items():
    globals()[_setting] = import_string(_function)
globals().update(_replaced)
