"""
Rows of the reference as targets: each has a link, an entry in the index, and is found by search.

A table is recognized by its page and by the head of its first column. `KINDS` lists them, so the
pages themselves stay plain tables. Names that other pages write as code become links to their rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode


@dataclass(frozen=True, slots=True)
class Kind:
    """
    The kind of things that the rows of a table are.

    Attributes:
        role: The role that links to a row, and the beginning of its anchor.
        words: How the index and the search call it.
        is_linked: Names that pages write as code become links.
    """

    role: str
    words: str
    is_linked: bool = False


_SETTING = Kind("setting", "setting", is_linked=True)

#: The tables: by page, and by the head of the first column.
KINDS = {
    ("reference/options", "Setting"): _SETTING,
    ("reference/codes", "Code"): Kind("close-code", "close code"),
    ("reference/codes", "Status"): Kind("status", "HTTP status"),
    ("reference/metrics", "Name"): Kind("metric", "metric", is_linked=True),
    ("reference/metrics", "Reason"): Kind("refusal", "reason of a refusal"),
    ("reference/log", "Event"): Kind("log-event", "log event", is_linked=True),
    ("reference/health", "Name"): Kind("problem", "health problem"),
    ("reference/urls", "Flag"): Kind("flag", "flag of a URL", is_linked=True),
    ("reference/urls", "Event"): Kind("stream-event", "event of a stream"),
    ("reference/redis", "Audience"): Kind("audience", "audience"),
    ("reference/limits", "What"): Kind("limit", "limit"),
    ("howto/rules", "Key"): Kind("rule-key", "key of a rule"),
    ("howto/rules", "Result of the function"): Kind("policy-result", "result of a policy"),
    ("howto/ask-the-application", "Key"): Kind("answer-key", "key of the application's answer"),
    ("howto/browser", "Option"): Kind("script-option", "option of the browser script"),
    ("howto/browser", "Callback"): Kind("script-callback", "callback of the browser script"),
    ("howto/django", "Setting of Django"): Kind("django-setting", "setting of Django", True),
}

#: Names with one of these characters are words of ours wherever they are written as code; a name
#: such as ``port`` is one only as ``--port``.
_UNMISTAKABLE = re.compile(r"^--|[-_]")


def _head(table: nodes.table) -> str:
    head = next(iter(table.findall(nodes.thead)), None)
    entry = None if head is None else next(iter(head.findall(nodes.entry)), None)
    return "" if entry is None else entry.astext()


def _names(entry: nodes.entry) -> list[str]:
    """The subjects of a row: all that its first cell has as code, or its text."""
    return [each.astext() for each in entry.findall(nodes.literal)] or [
        " ".join(entry.astext().split())
    ]


class Targets(SphinxTransform):
    """Gives the rows of the tables of `KINDS` their targets and index entries."""

    # After the tables are complete, and before the domains and the index read the page.
    default_priority = 840

    def apply(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        page = self.env.current_document.docname
        for table in list(self.document.findall(nodes.table)):
            kind = KINDS.get((page, _head(table)))
            body = next(iter(table.findall(nodes.tbody)))
            if kind is not None:
                table["classes"].append("entries")
                for row in body.findall(nodes.row):
                    self._mark(next(iter(row.findall(nodes.entry))), kind)

    def _mark(self, entry: nodes.entry, kind: Kind) -> None:
        paragraph = entry.next_node(nodes.paragraph)
        if paragraph is None or isinstance(paragraph.next_node(nodes.strong), nodes.strong):
            # A row that is a title for those below it.
            return
        index = addnodes.index(entries=[])
        paragraph.insert(0, index)
        first = ""
        for name in _names(entry):
            target = nodes.make_id(f"{kind.role}-{name}")
            if target in self.document.ids:
                continue
            first = first or target
            paragraph["ids"].append(target)
            self.document.ids[target] = paragraph
            index["entries"].append(("pair", f"{name}; {kind.words}", target, "", None))
            self._note(kind.role, name, target)
            if kind is _SETTING:
                self._note("envvar", f"WSREDIS_{name.upper().replace('-', '_')}", target)
        if first:
            link = nodes.reference("", "¶", refuri=f"#{first}", classes=["headerlink"])
            link["reftitle"] = f"Link to this {kind.words}"
            paragraph += link

    def _note(self, role: str, name: str, target: str) -> None:
        self.env.domains.standard_domain.note_object(role, name, target)


class Links(SphinxPostTransform):
    """Makes links of names of the reference: of the first one in each section and in each row."""

    # After the references are resolved, so that the text of a link does not become another link.
    default_priority = 100

    def run(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        known = self._known()
        seen: set[tuple[int, str]] = set()
        for literal in list(self.document.findall(nodes.literal)):
            text = literal.astext()
            place = known.get(text.partition(" ")[0]) if _UNMISTAKABLE.search(text) else None
            if place is None or not _is_prose(literal):
                continue
            docname, target = place
            block, anchors = _block(literal)
            if target in anchors or (id(block), target) in seen:
                continue
            seen.add((id(block), target))
            link = make_refnode(
                self.app.builder, self.env.current_document.docname, docname, target, literal.copy()
            )
            link.children[0].extend(each.deepcopy() for each in literal.children)
            literal.replace_self(link)

    def _known(self) -> dict[str, tuple[str, str]]:
        """Pages and anchors by name; a name of two kinds is that of the first kind."""
        domain: StandardDomain = self.env.domains.standard_domain
        roles = [kind.role for kind in KINDS.values() if kind.is_linked]
        known: dict[str, tuple[str, str]] = {}
        for role in dict.fromkeys((*roles, "envvar")):
            for (other, name), place in domain.objects.items():
                if other == role:
                    known.setdefault(name, place)
                    if role == "setting":
                        known.setdefault(f"--{name}", place)
        return known


class Breaks(SphinxPostTransform):
    """Lets long names in tables break after their dots and underscores, and not in words."""

    default_priority = 800
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        for entry in self.document.findall(nodes.entry):
            for text in [
                text
                for literal in entry.findall(nodes.literal)
                for text in literal.findall(nodes.Text)
            ]:
                parts = re.findall(r"[^._]*[._]+|[^._]+$", text.astext())
                broken: list[nodes.Node] = []
                for part in parts:
                    broken += [nodes.Text(part), nodes.raw("", "<wbr>", format="html")]
                if len(parts) > 1:
                    text.parent.replace(text, broken[:-1])


def _ancestors(node: nodes.Node) -> Iterator[nodes.Element]:
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def _is_prose(literal: nodes.literal) -> bool:
    """Not in a title, in a link, or in what Sphinx made from docstrings."""
    unwanted = (nodes.title, nodes.reference, addnodes.desc_signature, nodes.rubric)
    return not any(isinstance(each, unwanted) for each in _ancestors(literal))


def _block(literal: nodes.literal) -> tuple[nodes.Element | None, list[str]]:
    """The row or the section that the code is in, and the anchors of the row."""
    for each in _ancestors(literal):
        if isinstance(each, nodes.row):
            return each, [name for one in each.findall(nodes.paragraph) for name in one["ids"]]
        if isinstance(each, nodes.section):
            return each, []
    return None, []


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for kind in KINDS.values():
        app.add_object_type(kind.role, kind.role, objname=kind.words)
    app.add_transform(Targets)
    app.add_post_transform(Links)
    app.add_post_transform(Breaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
