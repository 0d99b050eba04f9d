"""A small Django project with users, groups and sessions, for tests."""
