"""
The Django project of `tests.support.project`, with a database of its own.

`Project` is a project outside of this process: its code runs in child processes. `configured` is
the project of Django in this process, which can have only one.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.support.children import PATIENCE, Gateway, clean_environment

__all__ = ["PASSWORD", "SETTINGS", "Project", "configured", "missing_django"]

#: The settings module.
SETTINGS = "tests.support.project.settings"

#: Of all users.
PASSWORD = "secret"

_SET_UP = """
import django
django.setup()
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
"""

_CREATE = f"""
from django.core.management import call_command
call_command("migrate", verbosity=0)
for name, groups in (("john", ["chatters"]), ("mary", ["chatters", "staff"]), ("paul", [])):
    user = User.objects.create_user(name, password={PASSWORD!r})
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
"""


def missing_django() -> str | None:
    """
    Return the reason to skip a test that needs Django, or None.

    Raises:
        RuntimeError: It is missing, and ``WSREDIS_REQUIRE`` names it.
    """
    if importlib.util.find_spec("django") is not None:
        return None
    if "django" in os.environ.get("WSREDIS_REQUIRE", "").split(","):
        raise RuntimeError("WSREDIS_REQUIRE names django, and it is not installed")
    return "Django is not installed"


@cache
def _template() -> Path:
    """A database with the users john, mary (both in chatters, she in staff too) and paul."""
    folder = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _run(folder, {}, _CREATE)
    return Path(folder) / "db.sqlite3"


def _environment(folder: str, settings: dict[str, object]) -> dict[str, str]:
    replaced = json.dumps({"FOLDER": folder, **settings})
    return {"DJANGO_SETTINGS_MODULE": SETTINGS, "TEST_PROJECT": replaced}


def _run(folder: str, settings: dict[str, object], code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _SET_UP + code],
        env=clean_environment(_environment(folder, settings)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


class Project:
    """
    A project with the users john, mary (both in the group chatters, she in staff too) and paul.

    Args:
        settings: Replace the ones of `SETTINGS`.

    Attributes:
        folder: Where the database, files of sessions and the cache are.
        environ: The variables that a process of the project needs, beside those of the machine.
    """

    def __init__(self, **settings: object) -> None:
        self.folder = tempfile.mkdtemp(prefix="wsredis-test-")
        self.settings = settings
        shutil.copy(_template(), self.folder)

    @property
    def environ(self) -> dict[str, str]:
        """See the class."""
        return _environment(self.folder, self.settings)

    def run(self, code: str) -> str:
        """
        Run Python in the project; it has ``settings``, ``User``, ``Group`` and ``Client``.

        Returns: Its output.
        """
        return _run(self.folder, self.settings, code)

    def log_in(self, *names: str) -> list[str]:
        """
        Begin sessions.

        Args:
            names: Of the users. An empty one makes a session without a user.
        Returns: The values of their session cookies.
        """
        code = """
for name in NAMES:
    client = Client()
    if name:
        client.force_login(User.objects.get(username=name))
        print(client.cookies[settings.SESSION_COOKIE_NAME].value)
    else:
        session = client.session
        session["visits"] = 1
        session.save()
        print(session.session_key)
"""
        return self.run(f"NAMES = {names!r}\n{code}").split("\n")

    def gateway(self, redis_url: str | None, *options: str) -> Gateway:
        """
        Start ``twistd wsredis --django`` for this project.

        Args:
            redis_url: The Redis. If None, the one of the settings of the project.
        """
        words = ["--django", SETTINGS, *options]
        if redis_url is not None:
            words += ["--redis", redis_url]
        environ = self.environ
        # The gateway finds the module by its option alone.
        del environ["DJANGO_SETTINGS_MODULE"]
        return Gateway(*words, environ=environ)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@cache
def configured() -> Project:
    """
    The project that Django has in this process; use ``django.test.override_settings`` to vary it.

    Nothing that a test writes into it is taken back.
    """
    project = Project()
    atexit.register(project.remove)
    os.environ.update(project.environ)
    import django

    django.setup()
    return project
