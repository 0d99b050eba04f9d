"""The Django app: runserver with WebSockets, template tags, system checks, and signals."""
