"""Management of the Django app."""
