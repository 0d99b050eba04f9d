"""Settings of the project. ``LAYER_URL`` of the environment says where Redis is."""

from __future__ import annotations

import os

SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "tests.support.layer_site.asgi"
ASGI_APPLICATION = "tests.support.layer_site.asgi.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "wsredis.layer.ChannelLayer",
        "CONFIG": {"hosts": [os.environ["LAYER_URL"]]},
    }
}
