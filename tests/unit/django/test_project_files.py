"""Tests for `wsredis.django.project_files`."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsredis.django.project_files import ProjectFiles, read_files


class ReadTests(SynchronousTestCase):
    """`read_files`."""

    def setUp(self) -> None:
        """Have a folder."""
        self.root = Path(self.mktemp()).resolve()
        self.root.mkdir()

    def write(self, **files: str) -> None:
        """Write files; two underscores in a name are a folder, one is the point."""
        for name, content in files.items():
            path = self.root / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def read(self) -> ProjectFiles:
        """Read the folder, and one in it again."""
        return read_files([self.root / "chat", self.root])

    def names(self, paths: list[Path]) -> list[str]:
        """Paths below the folder."""
        return [str(each.relative_to(self.root)) for each in paths]

    def test_imports(self) -> None:
        """Modules of ws4redis are found in any form of import, with the first line of each."""
        self.write(
            chat__views_py=(
                "import os\n"
                "from ws4redis.publisher import RedisPublisher\n"
                "from ws4redis import settings, redis_store\n"
                "def later():\n"
                "    import ws4redis.publisher, ws4redisx\n"
                "    from . import ws4redis\n"
            ),
            chat__models_py="import os\n",
            chat__notes_py="# ws4redis is gone\n",
        )
        (found,) = self.read().python
        self.assertEqual(self.root / "chat" / "views.py", found.path)
        expected = {"ws4redis.publisher": 2, "ws4redis.settings": 3, "ws4redis.redis_store": 3}
        self.assertEqual(expected, found.imports)
        self.assertFalse(found.serves_pages)
        self.assertIsNone(found.patch)

    def test_servers(self) -> None:
        """A dispatcher makes the application of Django; a file with gevent patches Python."""
        self.write(
            wsgi_py=(
                "from django.core.wsgi import get_wsgi_application\n"
                "from ws4redis.uwsgi_runserver import uWSGIWebsocketServer\n"
                "_django_app = get_wsgi_application()\n"
            ),
            sockets_py="from gevent import monkey; monkey.patch_all()\nmonkey.patch_thread()\n",
            traced_py="from ddtrace import patch_all\npatch_all()  # not that of ws4redis\n",
        )
        sockets, wsgi = self.read().python
        self.assertEqual(1, sockets.patch)
        self.assertFalse(sockets.serves_pages)
        self.assertEqual({"ws4redis.uwsgi_runserver": 2}, wsgi.imports)
        self.assertTrue(wsgi.serves_pages)

    def test_calls(self) -> None:
        """Calls of what were methods of users are found."""
        self.write(views_py="def view(request):\n    return request.user.is_anonymous()\n")
        (found,) = self.read().python
        self.assertEqual([(2, "is_anonymous")], found.calls)

    def test_pages(self) -> None:
        """Templates and scripts that name the script are found; the script itself is noticed."""
        self.write(
            chat__chat_html='<script src="/static/js/ws4redis.js">',
            other_html="<html>",
            bundle_js="import './ws4redis.js'",
            notes_txt="ws4redis.js",
        )
        found = self.read()
        self.assertEqual(["bundle.js", "chat/chat.html"], sorted(self.names(found.scripted)))
        self.assertFalse(found.has_script)
        self.write(static__ws4redis_js="function WS4Redis() {}  // ws4redis.js")
        found = self.read()
        self.assertEqual(2, len(found.scripted))
        self.assertTrue(found.has_script)

    def test_foreign(self) -> None:
        """Files of packages and of virtual environments are not those of the project."""
        self.write(
            env__pyvenv_cfg="",
            env__lib__a_py="import ws4redis.publisher\n",
            node_modules__x_js="ws4redis.js",
            lib__b_py="import ws4redis.publisher\n",
        )
        for name in (".git", "site-packages", "node_modules"):
            folder = self.root / "lib" / name
            folder.mkdir()
            (folder / "c.py").write_text("import ws4redis.publisher\n")
        self.assertEqual(["lib/b.py"], self.names([each.path for each in self.read().python]))

    def test_unreadable(self) -> None:
        """Files that are not Python of today are told if they matter; pipes are not waited for."""
        self.write(
            old_py="import ws4redis.publisher\nprint 'x'\n",
            other_py="import gevent\nprint 'x'\n",
            nul_py="ws4redis\0",
            escapes_py="import ws4redis.settings\nx = '\\d'\n",
        )
        os.mkfifo(self.root / "pipe.py")
        found = self.read()
        self.assertEqual(["nul.py", "old.py"], self.names(found.unreadable))
        self.assertEqual(["escapes.py"], self.names([each.path for each in found.python]))
        (self.root / "gone.py").symlink_to("nowhere")
        self.assertEqual(2, len(self.read().unreadable))

    def test_bound(self) -> None:
        """A folder with too many files is left."""
        self.write(a_py="import ws4redis.settings\n", b_py="import ws4redis.settings\n")
        self.assertTrue(read_files([self.root], 2).is_complete)
        found = read_files([self.root], 1)
        self.assertFalse(found.is_complete)
        self.assertEqual(["a.py"], self.names([each.path for each in found.python]))
