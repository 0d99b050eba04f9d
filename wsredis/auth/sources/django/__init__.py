"""Identities from the sessions of a Django project, and its settings."""
