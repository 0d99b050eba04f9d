"""The gateway as a Twisted service and as a program: options, ports, TLS, workers, commands."""
