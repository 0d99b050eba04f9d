"""Settings of the project. Those for Channels and wsredis stand at the end."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parents[1]

# These three are for development: change them before anybody else can reach the site.
SECRET_KEY = "django-insecure-known-to-everybody"
DEBUG = True
ALLOWED_HOSTS = []

INSTALLED_APPS = [
    "chat",
    "wsredis.django",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True},
]
ROOT_URLCONF = "mysite.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"

# -- Channels and wsredis

# The gateway serves this application, also in runserver.
ASGI_APPLICATION = "mysite.asgi.application"
# The one setting that changes when a project moves from channels_redis.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "wsredis.layer.ChannelLayer",
        "CONFIG": {"hosts": [os.environ.get("WSREDIS_REDIS", "redis://localhost:6379")]},
    }
}
