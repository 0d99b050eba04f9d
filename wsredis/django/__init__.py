"""The Django app, for INSTALLED_APPS."""
