"""WebSockets (RFC 6455), on Autobahn."""
