"""For tests of programs that embed the gateway or publish through it: no Redis, no network."""
