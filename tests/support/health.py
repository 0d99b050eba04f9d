"""The health of a gateway in another process, as a load balancer asks for it."""

from __future__ import annotations

import json
from typing import Any

from tests.support.raw import response

__all__ = ["health"]


def health(address: int | str, question: str = "ready") -> tuple[int, dict[str, Any]]:
    """
    Ask.

    Args:
        address: A port on localhost, or the path of a UNIX socket.
        question: The last part of the path.

    Returns: The status, and the problems by name; those of a worker as ``name/number``.
    """
    request = f"GET /health/{question} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    status, _, body = response(address, request.encode())
    answer = json.loads(body)
    assert answer[question] == (status == 200), answer
    found = {}
    for each in answer["problems"]:
        name = f"{each['name']}/{each['worker']}" if "worker" in each else each["name"]
        assert name not in found, answer
        found[name] = each
    return status, found
