"""ASGI applications: their loop, their calls, and what travels between them and the gateway."""
