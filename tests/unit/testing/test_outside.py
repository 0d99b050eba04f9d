"""The example of the how-to, which uses `wsredis.testing` as other programs do, is run here."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_PATH = Path(__file__).parents[3] / "docs" / "examples" / "test_rooms.py"

_spec = spec_from_file_location("test_rooms", _PATH)
assert _spec is not None and _spec.loader is not None
_rooms = module_from_spec(_spec)
_spec.loader.exec_module(_rooms)

HandlerTests = _rooms.HandlerTests
PolicyTests = _rooms.PolicyTests
PublisherTests = _rooms.PublisherTests

for _tests in (HandlerTests, PolicyTests, PublisherTests):
    # ``trial -j`` looks for a test where its name says it is.
    _tests.__module__ = __name__
del _tests
