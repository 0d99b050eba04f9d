"""Identities from the sessions of a Django project, and the hooks of django-websocket-redis."""
