"""A project with Django Channels on the layer of wsredis, for other servers and ``runworker``."""
