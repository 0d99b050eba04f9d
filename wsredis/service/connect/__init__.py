"""``wsredis connect``: a WebSocket client for people, on a terminal or in a pipe."""
