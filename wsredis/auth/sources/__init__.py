"""Authenticators, by the source of their identities: tokens, the application, Django."""
