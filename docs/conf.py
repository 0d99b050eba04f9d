"""How Sphinx builds this documentation: sphinx-build -n -W -b html docs docs/_build/html"""

from __future__ import annotations

import sys
from pathlib import Path

# A checkout is documented as it is, installed or not; directives.py lies beside this file.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import wsredis

project = "wsredis"
author = "wsredis contributors"
copyright = "2026, wsredis contributors"
version = release = wsredis.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "directives",
    "entries",
]
exclude_patterns = ["_build", "examples", "newsfragments", "package-page.rst"]
# A block without a language is what a program prints.
highlight_language = "none"
html_theme = "furo"
html_title = "wsredis"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
# Both have enough contrast on their backgrounds (WCAG AA).
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

# The button of a console copies the command: no prompt, and none of its output.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

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
