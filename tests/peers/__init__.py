"""Test suites of other ASGI servers, run unmodified against ours; ``python -m tests.peers``."""
