"""Makes ``twistd wsredis`` known. Imported by every twistd, so it imports nothing else."""

from twisted.application.service import ServiceMaker

wsredis = ServiceMaker(
    "wsredis", "wsredis.service.command", "Gateway between WebSockets and Redis pub/sub", "wsredis"
)
