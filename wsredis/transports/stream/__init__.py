"""Clients without WebSockets: Server-Sent Events, long polling, publishing by POST."""
