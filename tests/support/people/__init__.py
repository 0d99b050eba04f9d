"""A Django app with models of users that are not Django's, for tests."""
