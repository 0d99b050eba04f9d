"""Settings of the project. The settings for wsredis stand at the end."""

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
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
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
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"

# -- wsredis, with the names of django-websocket-redis

# The beginning of all names in Redis.
WS4REDIS_PREFIX = "mysite"
# Seconds for which the last message of a channel is stored for pages that connect later.
WS4REDIS_EXPIRE = 3600
# The address of Redis. The default is localhost:6379.
# WS4REDIS_CONNECTION = {"host": "redis.internal", "port": 6379, "db": 0}

# -- users

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "userchat"
LOGOUT_REDIRECT_URL = "overview"

# -- rights

# The function that decides about channels.
WS4REDIS_ALLOWED_CHANNELS = "chat.channels.allowed_channels"

# -- a content security policy

MIDDLEWARE.insert(0, "chat.policy.content_security_policy")
