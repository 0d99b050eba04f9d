"""Settings of the project. What wsredis reads stands at the end."""

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
    "chat.policy.content_security_policy",
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
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "userchat"
LOGOUT_REDIRECT_URL = "overview"

# -- wsredis, by the names that django-websocket-redis gave them

# Where the WebSockets are.
WEBSOCKET_URL = "/ws/"
# What all names in Redis begin with.
WS4REDIS_PREFIX = "mysite"
# For so many seconds the last message of a channel is kept for those who come later.
WS4REDIS_EXPIRE = 3600
# What pages and gateway say to each other to know that they are still there.
WS4REDIS_HEARTBEAT = "--heartbeat--"
# Who may listen and speak where.
WS4REDIS_ALLOWED_CHANNELS = "chat.channels.allowed_channels"
# Where Redis is. Not said: at localhost:6379.
# WS4REDIS_CONNECTION = {"host": "redis.internal", "port": 6379, "db": 0}
