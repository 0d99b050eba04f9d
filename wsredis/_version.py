"""The version, where the build can read it without importing Twisted."""

__version__ = "26.11.0"
