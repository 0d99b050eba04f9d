"""A chat with rooms, on Django Channels."""
