"""Between sockets and Redis, knowing neither: hub, connections, ports, and tools such as timers."""
