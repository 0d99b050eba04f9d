"""
Make users, sessions and tokens for the clients of a run.

    PYTHONPATH=. python benchmarks/identities.py FOLDER COUNT

Into FOLDER go a database of the Django project of the tests, and a file for each kind of identity,
with a header for each of COUNT clients. The sessions are left out if Django is not installed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
from pathlib import Path

SETTINGS = "tests.support.project.settings"
SECRET = "a secret of the benchmarks, which is long enough"
#: Channels of a client of the kind "groups".
GROUPS = 50


def encoded(data: bytes) -> str:
    """Return base64 as in RFC 7515."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims: object) -> str:
    """Sign a token that expires in the year 2100."""
    head, body = ({"alg": "HS256", "typ": "JWT"}, {"exp": 4102444800, **claims})
    text = ".".join(encoded(json.dumps(part).encode()) for part in (head, body))
    return f"{text}.{encoded(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha256))}"


def environment(folder: Path) -> dict[str, str]:
    """The variables that the Django project needs."""
    return {"TEST_PROJECT": json.dumps({"FOLDER": str(folder)})}


def sessions(folder: Path, count: int) -> list[str]:
    """Make users who are logged in, and return their session keys."""
    os.environ.update(environment(folder) | {"DJANGO_SETTINGS_MODULE": SETTINGS})
    import django

    django.setup()
    from django.contrib import auth
    from django.contrib.auth.models import Group, User
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command
    from django.db import transaction

    call_command("migrate", verbosity=0)
    keys = []
    with transaction.atomic():
        group = Group.objects.create(name="readers")
        User.objects.bulk_create(
            User(username=f"user{number}", password="!") for number in range(count)
        )
        for user in User.objects.all():
            group.user_set.add(user)
            session = SessionStore()
            session[auth.SESSION_KEY] = str(user.pk)
            session[auth.BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
            session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
            session.create()
            keys.append(session.session_key)
    return keys


def main() -> None:
    """The command."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "jwt.key").write_text(SECRET)
    tokens = {
        "jwt": [token(sub=f"user{number}", groups=["readers"]) for number in range(count)],
        "groups": [
            token(groups=[f"c{number * GROUPS + each}" for each in range(GROUPS)])
            for number in range(count)
        ],
    }
    for name, each in tokens.items():
        text = "".join(f"Authorization: Bearer {one}\n" for one in each)
        (folder / f"{name}.headers").write_text(text)
    try:
        keys = sessions(folder, count)
    except ImportError:
        return
    (folder / "django.headers").write_text("".join(f"Cookie: sessionid={key}\n" for key in keys))


if __name__ == "__main__":
    main()
