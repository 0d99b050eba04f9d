"""The tests of channels_redis, run unmodified against our layer."""
