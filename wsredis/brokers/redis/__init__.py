"""The broker on Redis: the only package that knows txredisapi and hiredis."""
