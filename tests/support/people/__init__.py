"""A Django app with models of users that are none of Django's, for tests."""
