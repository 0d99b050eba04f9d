"""``wsredis check-project`` on projects that were written for django-websocket-redis."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE, clean_environment
from tests.support.django_project import missing_django
from tests.support.ws4redis import missing_package

_SETTINGS = """
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.staticfiles", "ws4redis", "chat",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "OPTIONS": {"context_processors": ["ws4redis.context_processors.default"]},
}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "/static/"
WEBSOCKET_URL = "/ws/"
WS4REDIS_PREFIX = "ws"
WS4REDIS_EXPIRE = 7200
WS4REDIS_HEARTBEAT = "--heartbeat--"
WS4REDIS_CONNECTION = {"host": "localhost", "port": "6379", "password": "secret"}
WS4REDIS_ALLOWED_CHANNELS = "chat.hooks.allowed"
"""

_HOOKS = """
from django.core.exceptions import PermissionDenied

def allowed(request, channels):
    if not request.user or not request.user.is_authenticated:
        raise PermissionDenied("users only")
    return set(channels) & {"subscribe-user", "publish-user"}
"""

_VIEWS = """
from ws4redis.publisher import RedisPublisher
from ws4redis.redis_store import RedisMessage

def view(request):
    RedisPublisher(facility="chat", broadcast=True).publish_message(RedisMessage("x"))
"""

_PAGE = "<script src=\"{% static 'js/ws4redis.js' %}\"></script>"

#: What the guide shows.
_EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "check-project.txt"

#: As the documentation of the original shows it.
_DISPATCHER = """
from django.core.wsgi import get_wsgi_application
from ws4redis.uwsgi_runserver import uWSGIWebsocketServer

_django_app = get_wsgi_application()
_websocket_app = uWSGIWebsocketServer()
"""


_CHAT = Path(__file__).parents[2] / "examples" / "django_chat"


def check(folder: Path, *words: str) -> tuple[int, list[str], str]:
    """
    Run the command in a folder.

    Returns: The status, the lines, and what was written to standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "wsredis", "check-project", *words],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


class ExampleTests(SynchronousTestCase):
    """The project among the examples, which never had the original."""

    skip = missing_django()

    def test_example(self) -> None:
        """There is nothing to change, and nothing to know."""
        status, lines, errors = check(_CHAT, "mysite.settings", "--wsgi", "mysite.wsgi:application")
        self.assertEqual((0, ""), (status, errors), lines)
        self.assertEqual({"works", "unchanged:"}, {line.split()[0] for line in lines})


class CheckProjectTests(SynchronousTestCase):
    """The command, in the folder of ``manage.py``."""

    skip = missing_package()

    def setUp(self) -> None:
        """Have a project that uses the original."""
        self.folder = Path(tempfile.mkdtemp(prefix="wsredis-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        for name, text in {
            "mysite/__init__.py": "",
            "mysite/settings.py": _SETTINGS,
            "chat/__init__.py": "",
            "chat/hooks.py": _HOOKS,
            "chat/views.py": _VIEWS,
            "chat/templates/chat.html": _PAGE,
        }.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a file of the project; what was there stays before it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)

    def check(self, *words: str) -> tuple[int, list[str], str]:
        """Run the command for the project; it never shows a password."""
        status, lines, errors = check(self.folder, *words)
        self.assertNotIn("secret", " ".join([*lines, errors]))
        return status, lines, errors

    def test_unchanged(self) -> None:
        """A project as the documentation of the original shows it works unchanged."""
        status, lines, errors = self.check("mysite.settings")
        self.assertEqual((0, ""), (status, errors), lines)
        for line in (
            "works   WS4REDIS_ALLOWED_CHANNELS: called for each handshake, in a thread",
            "works   the gateway starts with this project",
            "works   ws4redis.publisher: imported by chat/views.py:2",
            "works   ws4redis.js: named by chat/templates/chat.html",
        ):
            self.assertIn(line, lines)
        self.assertEqual([], [line for line in lines if line.startswith("change")])

    def test_changes(self) -> None:
        """Each thing that does not work has its line, with what to do; the guide shows them."""
        self.write("mysite/settings.py", "WS4REDIS_PROCESS_REQUESTS = 'chat.hooks.process'\n")
        self.write("mysite/wsgi.py", _DISPATCHER)
        self.write("chat/views.py", "    return request.user.is_authenticated()\n")
        command, *expected = _EXAMPLE.read_text("utf-8").splitlines()
        words = command.removeprefix("$ wsredis check-project ").split()
        status, lines, errors = self.check(*words)
        self.assertEqual((1, "", expected), (status, errors, lines))

    def test_runserver(self) -> None:
        """The runserver of the original, which very many settings name, is told."""
        old = "ws4redis.django_runserver.application"
        self.write("mysite/settings.py", f"WSGI_APPLICATION = '{old}'\n")
        status, lines, _ = self.check("mysite.settings")
        self.assertEqual(1, status)
        self.assertTrue(any(line.startswith("change  WSGI_APPLICATION") for line in lines), lines)

    def test_moved(self) -> None:
        """A hook that is assigned to the settings of the original is found where it is."""
        self.write(
            "chat/__init__.py",
            "from ws4redis import settings\n"
            "settings.WS4REDIS_PROCESS_REQUEST = lambda request, other: None\n",
        )
        status, lines, _ = self.check("mysite.settings")
        self.assertEqual(1, status)
        (line,) = [line for line in lines if line.startswith("change")]
        self.assertIn("WS4REDIS_PROCESS_REQUEST: the function is called with (request)", line)

    def test_unreadable(self) -> None:
        """A project that cannot be loaded is one line and status 2."""
        self.write("chat/__init__.py", "import no_such_module\n")
        status, lines, errors = self.check("mysite.settings")
        self.assertEqual((2, []), (status, lines))
        self.assertEqual(
            "wsredis check-project: django: mysite.settings: ModuleNotFoundError: No "
            "module named 'no_such_module'\n",
            errors,
        )
