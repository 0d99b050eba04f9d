"""
The ways in which projects use django-websocket-redis, as small projects of our own.

Each function and class here is one pattern of use that public projects have, in the words of this
repository. The modules ``tests/integration/test_*patterns.py`` run them on the real program.
"""
