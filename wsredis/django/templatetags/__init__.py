"""Template tags of the Django app."""
