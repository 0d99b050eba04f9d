"""How Sphinx builds this documentation: sphinx-build -n -W -b html docs docs/_build/html"""

from __future__ import annotations

import sys
from pathlib import Path

# A checkout is documented as it is, installed or not; directives.py lies beside this file.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from sphinx.application import Sphinx

import wsredis

project = "wsredis"
author = "The wsredis authors"
copyright = "2026, The wsredis authors"
version = release = wsredis.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "directives"]
exclude_patterns = ["_build", "examples", "newsfragments"]
html_theme = "alabaster"
html_theme_options = {"description": "WebSockets for Redis pub/sub"}
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
# Types of other projects have their own documentation; ours must resolve.
nitpick_ignore_regex = [
    ("py:.*", r"(?!wsredis).*"),
    # Ours, but no part of the public interface.
    ("py:.*", r"wsredis\.gateway\.(broker|client|encoding|hub|metrics)\..*"),
    ("py:.*", r"wsredis\.(transports|web)\..*"),
]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    # Before napoleon, which would take "Returns:" with words behind it for plain text.
    app.connect("autodoc-process-docstring", _separate_returns, priority=400)


def _separate_returns(*words: object) -> None:
    lines = words[-1]
    assert isinstance(lines, list)
    for number in reversed(range(len(lines))):
        if lines[number].startswith("Returns: "):
            lines[number : number + 1] = ["", lines[number].replace("Returns:", ":returns:", 1)]
        elif lines[number] == "Raises:":
            lines.insert(number, "")
