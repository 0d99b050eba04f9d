"""How Sphinx builds this documentation: sphinx-build -n -W -b html docs docs/_build/html"""

from __future__ import annotations

import sys
from pathlib import Path

# A checkout is documented as it is, installed or not; directives.py lies beside this file.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

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
    ("py:.*", r"wsredis\.gateway\.(broker|client|dialect|enrolment|hub|metrics|publication)\..*"),
    ("py:.*", r"wsredis\.(transports|web)\..*"),
]
