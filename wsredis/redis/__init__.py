"""The broker on Redis. Only this package knows txredisapi and hiredis."""
